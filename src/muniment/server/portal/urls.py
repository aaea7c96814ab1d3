"""Where the owner's pages are."""

from __future__ import annotations

from django.urls import path

from muniment.server.portal import profile, requests, security, vaults
from muniment.server.privacy.purposes import Purpose
from muniment.server.web.purposes import used_for

_vaults = used_for(Purpose.BACKUP, Purpose.METERING)
_own_data = used_for(Purpose.REQUESTS)

urlpatterns = [
    path("overview", _vaults(vaults.overview), name="overview"),
    path("devices", _vaults(vaults.devices), name="devices"),
    path("devices/code", _vaults(vaults.device_code), name="device_code"),
    path("devices/<uuid:ref>/revoke", _vaults(vaults.revoke_device), name="revoke_device"),
    path("confirmations", _vaults(vaults.confirmations), name="confirmations"),
    path("confirmations/<uuid:ref>/confirm", _vaults(vaults.confirm_request), name="confirm_request"),
    path("confirmations/<uuid:ref>/refuse", _vaults(vaults.refuse_request), name="refuse_request"),
    path("profile", _own_data(profile.show), name="profile"),
    path("profile/details", _own_data(profile.details), name="profile_details"),
    path("profile/country", _own_data(profile.country), name="profile_country"),
    path("profile/address", _own_data(profile.address), name="profile_address"),
    path("profile/delete", _own_data(requests.delete_account), name="delete_account"),
    path("requests", _own_data(requests.show), name="requests"),
    path("requests/copy", _own_data(requests.take_copy), name="take_copy"),
    path("requests/export", _own_data(requests.export), name="export"),
    path("requests/object", _own_data(requests.object_to), name="object_to"),
    path("requests/allow", _own_data(requests.allow_again), name="allow_again"),
    path("requests/<uuid:ref>/take-back", _own_data(requests.take_back), name="take_back"),
    path("requests/<uuid:ref>/receipt", _own_data(requests.receipt_link), name="receipt_link"),
    path("profile/security", security.show, name="mfa_index"),
    path("profile/security/passkeys", security.passkeys, name="mfa_list_webauthn"),
    path("profile/security/password", security.password, name="profile_password"),
    path("profile/security/sessions/end", security.end_others, name="end_other_sessions"),
    path("profile/security/sessions/<uuid:ref>/end", security.end_one, name="end_session"),
]
