"""allauth's forms in our words, codes counted in our database. Named in settings."""

from __future__ import annotations

from allauth.account import forms as sign_in_forms
from allauth.core import context
from allauth.mfa.adapter import get_adapter
from allauth.mfa.base import forms as allauth_forms
from allauth.mfa.webauthn import forms as passkey_forms
from cryptography.exceptions import InvalidSignature
from django import forms
from django.core.exceptions import ValidationError

from muniment.server.accounts import attempts
from muniment.server.accounts.adapter import AccountAdapter
from muniment.server.accounts.attempts import TooOften, Tried
from muniment.server.accounts.factors import use_once
from muniment.server.accounts.visiting import visit_of
from muniment.server.web.context import now


class _Counted:
    """Refuses before the code is looked at. What was right is counted no more."""

    def clean_code(self) -> str:
        who: str = self.user.ref.hex  # type: ignore[attr-defined]
        visit, at = visit_of(context.request), now()
        try:
            attempts.spend(Tried.CODE, whom=who, visit=visit, now=at)
        except TooOften:
            raise ValidationError(AccountAdapter.error_messages["too_many_login_attempts"]) from None
        code: str = super().clean_code()  # type: ignore[misc]
        if not use_once(self.authenticator, code):  # type: ignore[attr-defined]
            raise get_adapter().validation_error("incorrect_code")
        attempts.give_back(Tried.CODE, whom=who, visit=visit, now=at)
        return code


class CodeForm(_Counted, allauth_forms.AuthenticateForm):
    """The second step of signing in."""


class FreshCodeForm(_Counted, allauth_forms.ReauthenticateForm):
    """A fresh sign-in by code."""


class _ReadWithCare:
    """What is no answer of a passkey is refused. The libraries below raise whatever their parsers meet."""

    def clean_credential(self) -> object:
        try:
            return super().clean_credential()  # type: ignore[misc]
        except (
            TypeError,
            ValueError,
            LookupError,
            AttributeError,
            ArithmeticError,
            InvalidSignature,
        ) as error:
            raise ValidationError("This is not an answer of a passkey.") from error


class PasskeyLoginForm(_ReadWithCare, passkey_forms.LoginWebAuthnForm):
    """Signing in with a passkey alone."""


class PasskeyForm(_ReadWithCare, passkey_forms.AuthenticateWebAuthnForm):
    """A passkey as the second step."""


class FreshPasskeyForm(_ReadWithCare, passkey_forms.ReauthenticateWebAuthnForm):
    """A fresh sign-in by passkey."""


class SignInForm(sign_in_forms.LoginForm):
    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.fields["login"].label = "E-mail address"
        _plain(self.fields["login"])
        _plain(self.fields["password"])


class FreshPasswordForm(sign_in_forms.ReauthenticateForm):
    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        _plain(self.fields["password"])


def _plain(field: forms.Field) -> None:
    """A placeholder goes away when it is wanted; the label says it already."""
    field.widget.attrs.pop("placeholder", None)
