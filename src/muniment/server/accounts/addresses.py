"""Changing the address one signs in with: asked freshly signed in, confirmed by a link sent there."""

from __future__ import annotations

from datetime import datetime

from allauth.account.models import EmailAddress
from django.db import IntegrityError, transaction

from muniment.server.accounts import mails
from muniment.server.accounts.models import Account, SecurityEvent
from muniment.server.accounts.security_log import note
from muniment.server.accounts.visits import Visit
from muniment.server.mail.bounces import arrives_again
from muniment.server.mail.send import send
from muniment.server.transactions import writing


class AddressTaken(Exception):
    """Somebody else got an account with that address since the link was sent."""


def ask_change(account: Account, email: str, *, now: datetime) -> None:
    """Send a link there. Who owns an account under that address is told so, and the asker learns nothing."""
    email = email.lower()
    taken = Account.objects.with_address(email).exclude(pk=account.pk).first()
    with writing():
        if taken is not None:
            send(mails.AccountExists(), to=taken, now=now)
        else:
            confirm = mails.ConfirmNewAddress.of(account, email=email, now=now)
            send(confirm, to=email, now=now, caused_by=account)


def change_address(account: Account, email: str, *, visit: Visit, now: datetime) -> None:
    """The link was opened by the account's owner. The old address is told. Raises AddressTaken.

    To the same address it is a way to show that mails arrive there.
    """
    before = account.email
    with writing():
        account.email = email
        try:
            with transaction.atomic():
                account.save(update_fields=["email"])
        except IntegrityError as error:
            raise AddressTaken from error
        EmailAddress.objects.update_or_create(
            user=account, defaults={"email": email, "primary": True, "verified": True}
        )
        arrives_again(email)
        if email != before:
            note(SecurityEvent.Kind.ADDRESS_CHANGED, account=account, visit=visit, now=now)
            send(mails.AddressChanged(), to=before, now=now)
