"""Taking people off the list: at once, without a cookie, without signing in (RFC 8058)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.fernet import InvalidToken
from django.contrib.auth import get_user_model
from django.utils.crypto import salted_hmac

from muniment.server.mail.bounces import comes_back_since
from muniment.server.mail.models import Mail, Suppression
from muniment.server.privacy.consent.choices import Subject, choose, is_granted
from muniment.server.privacy.consent.effect import State
from muniment.server.privacy.consent.notices import notice_for
from muniment.server.privacy.holding import hold_person
from muniment.server.privacy.ledger.entries import record
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.requests.objecting import stands_against
from muniment.server.privacy.statement import read_statement
from muniment.server.sealing import box_for
from muniment.server.transactions import writing

_SALT = "muniment.mail.suppression"
_USE = "unsubscribe"
_METHOD = "one-click link in a mail"


class LinkUnknown(Exception):
    """The link was not made here."""


@dataclass(frozen=True, slots=True)
class _Recipient:
    email: str
    account: Any


def unsubscribe_token(email: str) -> str:
    """Sealed, so that nothing about the recipient can be read in the link."""
    return box_for(_USE).encrypt(email.lower().encode()).decode().rstrip("=")


def wants_no_marketing(email: str) -> bool:
    return Suppression.objects.filter(address=_hash(email)).exists()


def may_send_marketing(email: str, account: Any, *, purpose: str, now: datetime) -> bool:
    """Whether the account said yes to it and did not have it stopped since, the address did not say no, and
    mails to it do not come back.
    """
    if account is None or wants_no_marketing(email) or comes_back_since(email, now=now):
        return False
    if stands_against(account.pk, purpose):
        return False
    return is_granted(Subject(account), purpose, gpc=False, now=now)


def check_link(token: str) -> None:
    """Raises LinkUnknown."""
    _open(token)


def opt_out(token: str, *, now: datetime) -> None:
    """No marketing to the address of the link, from now on; what was queued goes. Again changes nothing.

    Raises LinkUnknown.
    """
    recipient = _open(token)
    with writing():
        if recipient.account is not None:
            hold_person(recipient.account.pk)
        _, is_new = Suppression.objects.get_or_create(address=_hash(recipient.email), defaults={"at": now})
        Mail.objects.filter(to__iexact=recipient.email).exclude(message_class="service").delete()
        if recipient.account is not None:
            _withdraw(recipient.account, now=now)
        if is_new:
            record(
                Kind.OPTED_OUT, clause="P44", payload={"method": _METHOD}, now=now, subject=recipient.account
            )


class WelcomeBack:
    """A yes that comes after opting out counts more: whoever has the address said so, signed in.

    Of the other classes nothing comes back with it: opting out withdrew each of them.
    """

    def granted(self, account: Any, purpose: str) -> None:
        messages = read_statement().messages.values()
        if any(message.opt_in and message.purpose == purpose for message in messages):
            Suppression.objects.filter(address=_hash(account.email)).delete()


def _withdraw(account: Any, *, now: datetime) -> None:
    statement = read_statement()
    for message in statement.messages.values():
        if message.opt_in and is_granted(Subject(account), message.purpose, gpc=False, now=now):
            purpose = statement.purposes[message.purpose]
            choose(
                Subject(account), purpose.name, State.WITHDRAWN, notice=notice_for(purpose, gpc=False),
                method=_METHOD, now=now,
            )  # fmt: skip


def _open(token: str) -> _Recipient:
    try:
        email = box_for(_USE).decrypt(token + "=" * (-len(token) % 4)).decode()
    except (InvalidToken, ValueError) as error:
        raise LinkUnknown from error
    return _Recipient(email, get_user_model()._default_manager.with_address(email).first())


def _hash(email: str) -> bytes:
    return salted_hmac(_SALT, email.lower(), algorithm="sha256").digest()
