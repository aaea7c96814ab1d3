"""What accounts write to people: service messages, each with a template of its own.

`path` is a page of ours; the renderer puts the site's own address before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from muniment.server.accounts.links import LinkKind, make_token
from muniment.server.accounts.models import Account
from muniment.server.mail.messages import Message
from muniment.server.privacy.terms import MessageClass


class ServiceMail(Message):
    __slots__ = ()
    message_class: ClassVar[MessageClass] = MessageClass.SERVICE


@dataclass(frozen=True)
class ConfirmAddress(ServiceMail):
    subject: ClassVar[str] = "Confirm your address"
    template: ClassVar[str] = "accounts/mail/confirm_address.txt"
    path: str

    @classmethod
    def of(cls, account: Account, *, now: datetime) -> ConfirmAddress:
        token = make_token(LinkKind.CONFIRM, account, email=account.email, now=now)
        return cls(f"/accounts/confirm/{token}")


@dataclass(frozen=True)
class AccountExists(ServiceMail):
    subject: ClassVar[str] = "You already have an account"
    template: ClassVar[str] = "accounts/mail/account_exists.txt"


@dataclass(frozen=True)
class NoAccountHere(ServiceMail):
    subject: ClassVar[str] = "There is no account under this address"
    template: ClassVar[str] = "accounts/mail/no_account_here.txt"


@dataclass(frozen=True)
class SetPassword(ServiceMail):
    subject: ClassVar[str] = "Set a new password"
    template: ClassVar[str] = "accounts/mail/set_password.txt"
    path: str

    @classmethod
    def of(cls, account: Account, *, now: datetime) -> SetPassword:
        token = make_token(LinkKind.PASSWORD, account, email=account.email, now=now)
        return cls(f"/accounts/password/set/{token}")


@dataclass(frozen=True)
class PasswordChanged(ServiceMail):
    subject: ClassVar[str] = "Your password was changed"
    template: ClassVar[str] = "accounts/mail/password_changed.txt"


@dataclass(frozen=True)
class AskGuardian(ServiceMail):
    subject: ClassVar[str] = "Somebody under 18 asks for your word"
    template: ClassVar[str] = "accounts/mail/ask_guardian.txt"
    path: str
    child: str

    @classmethod
    def of(cls, account: Account, *, guardian: str, now: datetime) -> AskGuardian:
        token = make_token(LinkKind.GUARDIAN, account, email=guardian, now=now)
        return cls(f"/accounts/guardian/{token}", account.email)


@dataclass(frozen=True)
class GuardianAgreed(ServiceMail):
    subject: ClassVar[str] = "Your guardian agreed"
    template: ClassVar[str] = "accounts/mail/guardian_agreed.txt"


@dataclass(frozen=True)
class GuardianRefused(ServiceMail):
    subject: ClassVar[str] = "Your account was not made"
    template: ClassVar[str] = "accounts/mail/guardian_refused.txt"
    is_held: bool = False
    """The law makes us keep it for now."""


@dataclass(frozen=True)
class NewSignIn(ServiceMail):
    subject: ClassVar[str] = "A new sign-in to your account"
    template: ClassVar[str] = "accounts/mail/new_sign_in.txt"
    browser: str
    network: str
    at: str


@dataclass(frozen=True)
class SignInChanged(ServiceMail):
    subject: ClassVar[str] = "How you sign in was changed"
    template: ClassVar[str] = "accounts/mail/sign_in_changed.txt"
    what: str


@dataclass(frozen=True)
class ConfirmNewAddress(ServiceMail):
    subject: ClassVar[str] = "Confirm your new address"
    template: ClassVar[str] = "accounts/mail/confirm_new_address.txt"
    path: str

    @classmethod
    def of(cls, account: Account, *, email: str, now: datetime) -> ConfirmNewAddress:
        token = make_token(LinkKind.ADDRESS, account, email=email, now=now)
        return cls(f"/accounts/address/{token}")


@dataclass(frozen=True)
class AddressChanged(ServiceMail):
    subject: ClassVar[str] = "The address of your account was changed"
    template: ClassVar[str] = "accounts/mail/address_changed.txt"
