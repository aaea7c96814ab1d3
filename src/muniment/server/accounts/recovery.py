"""Setting a password without knowing the old one: by a link that was mailed, or printed by the operator."""

from __future__ import annotations

from datetime import datetime

from allauth.account.models import EmailAddress
from django.contrib.auth.hashers import make_password
from django.db.models import Q

from muniment.server.accounts import mails
from muniment.server.accounts.acceptance import accept_in_force
from muniment.server.accounts.links import LinkKind, make_token
from muniment.server.accounts.models import Account, Origin, SecurityEvent, WebSession
from muniment.server.accounts.security_log import note
from muniment.server.accounts.sign_up import address_confirmed
from muniment.server.accounts.visits import Visit
from muniment.server.mail.send import send
from muniment.server.privacy.versions.acceptance import Method
from muniment.server.transactions import writing

Event = SecurityEvent.Kind


def ask_reset(email: str, *, now: datetime) -> None:
    """Send a link to the address, or say there that it has no account. Answers alike, takes as long.

    One that nobody confirmed is none: a stranger may have filled its form, and the link would confirm it all.
    """
    unconfirmed = Q(confirmed_at=None, made_by=Origin.SELF)
    account = Account.objects.with_address(email).filter(is_active=True).exclude(unconfirmed).first()
    with writing():
        if account is None:
            send(mails.NoAccountHere(), to=email.lower(), now=now)
        else:
            send(mails.SetPassword.of(account, now=now), to=account, now=now)


def set_password(
    account: Account, password: str, *, statement: int | None, visit: Visit, now: datetime
) -> None:
    """Of somebody who opened a link: so the address is theirs. Every browser is signed out.

    `statement` is the version agreed to, where the account's owner had not agreed to any.
    """
    hashed = make_password(password)
    with writing():
        account.password = hashed
        account.save(update_fields=["password"])
        WebSession.objects.filter(account=account).delete()
        EmailAddress.objects.update_or_create(
            user=account, defaults={"email": account.email, "primary": True, "verified": True}
        )
        if statement is not None:
            accept_in_force(account, version=statement, method=Method.FIRST_SIGN_IN, now=now)
        note(Event.PASSWORD_CHANGED, account=account, visit=visit, now=now, method="link")
        send(mails.PasswordChanged(), to=account, now=now)
        if account.confirmed_at is None:
            address_confirmed(account, visit=visit, now=now)


def change_password(account: Account, password: str, *, visit: Visit, now: datetime) -> None:
    """Of somebody freshly signed in. Sessions in other browsers end with the old hash."""
    hashed = make_password(password)
    with writing():
        account.password = hashed
        account.save(update_fields=["password"])
        note(Event.PASSWORD_CHANGED, account=account, visit=visit, now=now, method="profile")
        send(mails.PasswordChanged(), to=account, now=now)


def first_sign_in_path(account: Account, *, now: datetime) -> str:
    """Where the owner of an account that an operator made sets the first password."""
    token = make_token(LinkKind.FIRST_SIGN_IN, account, email=account.email, now=now)
    return f"/accounts/password/set/{token}"
