"""Where accounts' pages are. Names with `account_` and `mfa_` that allauth reverses are allauth's."""

from __future__ import annotations

from allauth.account import views as sign_in
from allauth.mfa.base import views as factors
from allauth.mfa.recovery_codes import views as recovery_codes
from allauth.mfa.totp import views as totp
from allauth.mfa.webauthn import views as passkeys
from django.urls import path
from django.views.decorators.http import require_http_methods

from muniment.server.accounts import views
from muniment.server.accounts.visiting import bound_posts
from muniment.server.privacy.purposes import Purpose
from muniment.server.web.purposes import used_for

_form = require_http_methods(["GET", "HEAD", "POST"])

# A minor comes in only with a guardian's word.
_standing = used_for(Purpose.MINORS)
_registering = used_for(Purpose.CONTRACT, Purpose.MINORS, Purpose.DEMOGRAPHICS)

urlpatterns = [
    path("accounts/signup", views.choose_edition, name="account_signup"),
    path("accounts/signup/<str:edition>", views.age_screen, name="account_sign_up_edition"),
    path("accounts/signup/<str:edition>/register", _registering(views.register), name="account_register"),
    path("accounts/confirm", views.confirm_sent, name="account_confirm_sent"),
    path("accounts/confirm/<str:token>", _standing(views.confirm), name="account_confirm"),
    path("accounts/guardian", _standing(views.waiting_for_guardian), name="account_waits_for_guardian"),
    path("accounts/guardian/<str:token>", _standing(views.guardian), name="account_guardian"),
    path("accounts/password/reset", views.ask_reset, name="account_reset_password"),
    path("accounts/password/set/<str:token>", views.set_password, name="account_set_password"),
    path("accounts/address/<str:token>", views.new_address, name="account_new_address"),
    path("accounts/login", bound_posts(_form(sign_in.login)), name="account_login"),
    path("accounts/login/passkey", _form(passkeys.login_webauthn), name="mfa_login_webauthn"),
    path("accounts/login/second", _form(factors.authenticate), name="mfa_authenticate"),
    path("accounts/logout", _form(sign_in.logout), name="account_logout"),
    path("accounts/again", _form(sign_in.reauthenticate), name="account_reauthenticate"),
    path("accounts/again/code", _form(factors.reauthenticate), name="mfa_reauthenticate"),
    path(
        "accounts/again/passkey", _form(passkeys.reauthenticate_webauthn), name="mfa_reauthenticate_webauthn"
    ),
    path("profile/security/app/add", _form(totp.activate_totp), name="mfa_activate_totp"),
    path("profile/security/app/remove", _form(totp.deactivate_totp), name="mfa_deactivate_totp"),
    path("profile/security/codes", _form(recovery_codes.view_recovery_codes), name="mfa_view_recovery_codes"),
    path(
        "profile/security/codes/new",
        recovery_codes.generate_recovery_codes,
        name="mfa_generate_recovery_codes",
    ),
    path("profile/security/passkeys/add", _form(passkeys.add_webauthn), name="mfa_add_webauthn"),
    path(
        "profile/security/passkeys/<int:pk>/rename", _form(passkeys.edit_webauthn), name="mfa_edit_webauthn"
    ),
    path(
        "profile/security/passkeys/<int:pk>/remove",
        _form(passkeys.remove_webauthn),
        name="mfa_remove_webauthn",
    ),
]
