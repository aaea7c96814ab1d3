"""What allauth asks of us: who may sign in, how often one may try, what counts as a fresh sign-in.

allauth signs people in by password, passkey and code, and keeps the second factors. Signing up, confirming
and resetting are ours (`sign_up`, `recovery`).
"""

from __future__ import annotations

import io
from typing import Any

import segno
from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.mfa.utils import is_mfa_enabled
from django.contrib import messages
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme

from muniment.server.accounts import attempts
from muniment.server.accounts.attempts import TooOften, Tried
from muniment.server.accounts.models import Account, SecurityEvent
from muniment.server.accounts.security_log import note
from muniment.server.accounts.standing import Standing, standing_of
from muniment.server.accounts.visiting import visit_of
from muniment.server.sealing import box_for
from muniment.server.transactions import writing
from muniment.server.web.context import now
from muniment.server.web.timing import looks_up

_STRONG = [Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN]
_NOT_YET = {
    Standing.UNCONFIRMED: "/accounts/login",
    Standing.WAITS_FOR_GUARDIAN: "/accounts/guardian",
    Standing.CLOSED: "/accounts/login",
}


class AccountAdapter(DefaultAccountAdapter):
    error_messages = {  # noqa: RUF012, allauth's own name
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": (
            "This address and password do not go together, or the address is not confirmed yet: "
            "then a mail with a link waits there."
        ),
        "incorrect_password": "This is not your password.",
        "too_many_login_attempts": (
            "Too many tries in a short time. Wait some minutes, or sign in with a passkey: that always works."
        ),
    }

    _tried: dict[str, Any]

    def add_message(self, request: HttpRequest, level: int, *args: Any, **kwargs: Any) -> None:
        """Only what failed: that somebody is signed in, they see."""
        if level >= messages.ERROR:
            messages.error(request, "That did not work. Try again, or sign in another way.", extra_tags="bad")

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False  # signing up is ours

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """What is tried is counted before anybody looks at it: many at once are many, too."""
        self._tried = {"whom": credentials.get("email", ""), "visit": visit_of(request), "now": now()}
        try:
            attempts.spend(Tried.SIGN_IN, **self._tried)
        except TooOften:
            raise self.validation_error("too_many_login_attempts") from None
        looks_up(request)

    def authenticate(self, request: HttpRequest, **credentials: Any) -> Account | None:
        """An account that nobody confirmed is answered, and counted, as a wrong password is.

        Anybody could sign up with somebody's address and then sign in with what they entered: another answer
        would say that the address had no account before.
        """
        account: Account | None = super().authenticate(request, **credentials)
        if account is None or standing_of(account) is not Standing.UNCONFIRMED or account == request.user:
            return account
        self.pre_authenticate(request, **credentials)
        self.authentication_failed(request, **credentials)
        return None

    def _rollback_login_failed_rl_usage(self) -> None:
        """It was no failure."""
        attempts.give_back(Tried.SIGN_IN, **self._tried)

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        email, visit = credentials.get("email", ""), visit_of(request)
        with writing():
            account = Account.objects.with_address(email).first()
            note(SecurityEvent.Kind.REFUSED, account=account, visit=visit, now=now(), method="password")

    def pre_login(self, request: HttpRequest, user: Account, **kwargs: Any) -> HttpResponse | None:
        standing = standing_of(user)
        return None if standing is Standing.WELCOME else redirect(_NOT_YET[standing])

    def get_login_stages(self) -> list[str]:
        return ["allauth.mfa.stages.AuthenticateStage"]

    def get_reauthentication_methods(self, user: Account | AnonymousUser) -> list[dict[str, Any]]:
        """Where there is a second factor, a password alone is no fresh sign-in."""
        methods: list[dict[str, Any]] = super().get_reauthentication_methods(user)
        strong = [method for method in methods if method["id"] != "reauthenticate"]
        return strong or methods

    def is_safe_url(self, url: str | None) -> bool:
        return bool(url) and url_has_allowed_host_and_scheme(url, allowed_hosts=None)

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Nothing of allauth's own: what is worth a mail is told in `hooks`."""

    def send_notification_mail(self, *args: Any, **kwargs: Any) -> None:
        """See `send_mail`."""


class FactorAdapter(DefaultMFAAdapter):
    def get_totp_issuer(self) -> str:
        return "Muniment"

    def _get_site_name(self) -> str:
        return "Muniment"

    def build_totp_svg(self, url: str) -> str:
        """Dark on light whatever the page's colours: readers need the contrast."""
        out = io.BytesIO()
        segno.make(url, error="m").save(
            out, kind="svg", scale=5, border=4, light="#ffffff", dark="#000000", xmldecl=False, svgns=False,
            title="Code for the authenticator app",
        )  # fmt: skip
        return out.getvalue().decode("utf-8")

    def encrypt(self, text: str) -> str:
        """Seeds and recovery codes are sealed: a copy of the database alone does not sign anybody in."""
        return box_for("second-factor").encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        return box_for("second-factor").decrypt(encrypted_text).decode()

    def generate_authenticator_name(self, user: Account, type: Authenticator.Type) -> str:
        number = Authenticator.objects.filter(user=user, type=type).count()
        return "Passkey" if number == 0 else f"Passkey {number + 1}"

    def get_public_key_credential_user_entity(self, user: Account) -> dict[str, Any]:
        entity: dict[str, Any] = super().get_public_key_credential_user_entity(user)
        return {**entity, "display_name": user.email}


def has_second_factor(account: Account) -> bool:
    return bool(is_mfa_enabled(account, _STRONG))
