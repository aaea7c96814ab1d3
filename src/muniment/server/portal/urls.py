"""Where the owner's pages are."""

from __future__ import annotations

from django.urls import path

from muniment.server.portal import profile, requests, security, vaults

urlpatterns = [
    path("overview", vaults.overview, name="overview"),
    path("devices", vaults.devices, name="devices"),
    path("devices/code", vaults.device_code, name="device_code"),
    path("devices/<uuid:ref>/revoke", vaults.revoke_device, name="revoke_device"),
    path("confirmations", vaults.confirmations, name="confirmations"),
    path("confirmations/<uuid:ref>/confirm", vaults.confirm_request, name="confirm_request"),
    path("confirmations/<uuid:ref>/refuse", vaults.refuse_request, name="refuse_request"),
    path("profile", profile.show, name="profile"),
    path("profile/details", profile.details, name="profile_details"),
    path("profile/country", profile.country, name="profile_country"),
    path("profile/address", profile.address, name="profile_address"),
    path("profile/delete", requests.delete_account, name="delete_account"),
    path("requests", requests.show, name="requests"),
    path("requests/copy", requests.take_copy, name="take_copy"),
    path("requests/export", requests.export, name="export"),
    path("requests/object", requests.object_to, name="object_to"),
    path("requests/<uuid:ref>/take-back", requests.take_back, name="take_back"),
    path("requests/<uuid:ref>/receipt", requests.receipt_link, name="receipt_link"),
    path("profile/security", security.show, name="mfa_index"),
    path("profile/security/passkeys", security.passkeys, name="mfa_list_webauthn"),
    path("profile/security/password", security.password, name="profile_password"),
    path("profile/security/sessions/end", security.end_others, name="end_other_sessions"),
    path("profile/security/sessions/<uuid:ref>/end", security.end_one, name="end_session"),
]
