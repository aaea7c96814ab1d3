"""Signing up. Known and unknown addresses get the same answer; only the mail differs.

asked → unconfirmed → confirmed          a guardian's word between the two for whoever is under 18
        unconfirmed → forgotten          after seven days
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import uuid4

from allauth.account.models import EmailAddress
from django.contrib.auth.hashers import make_password

from muniment.server.accounts import mails
from muniment.server.accounts.acceptance import accept_in_force, choose_optional
from muniment.server.accounts.models import (
    Account,
    AgeBand,
    Edition,
    Guardianship,
    Origin,
    Profile,
    SecurityEvent,
)
from muniment.server.accounts.security_log import note
from muniment.server.accounts.visits import Visit
from muniment.server.mail.send import send
from muniment.server.privacy.ledger.entries import record
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.requests.holds import hold_on, people_on_hold
from muniment.server.privacy.versions.acceptance import Method
from muniment.server.transactions import writing

Event = SecurityEvent.Kind


@dataclass(frozen=True, slots=True)
class SignUp:
    """A filled form. `details` are columns of Profile; `guardian` is a minor's guardian's address."""

    email: str
    password: str
    edition: Edition
    country: str
    band: AgeBand
    statement: int
    """The version of the statement that the person agreed to."""
    notice: str
    """Hash of the notice that stood above the form."""
    details: Mapping[str, str] = field(default_factory=dict)
    guardian: str | None = None


class GuardianMissing(Exception):
    """A minor's account needs somebody else's address."""


def sign_up(wish: SignUp, *, visit: Visit, now: datetime) -> None:
    """Make an account that waits for its confirmation, or tell the owner of the address that there is one.

    Raises GuardianMissing. Both ways hash one password, write one transaction and queue one mail, so that
    they take the same time.
    """
    email = wish.email.lower()
    if wish.band is AgeBand.MINOR and (not wish.guardian or wish.guardian.lower() == email):
        raise GuardianMissing
    hashed = make_password(wish.password)
    with writing():
        # An address that nobody confirmed belongs to nobody: who comes later may be its owner.
        unconfirmed = Account.objects.with_address(email).filter(confirmed_at=None, made_by=Origin.SELF)
        unconfirmed.exclude(pk__in=people_on_hold(now=now)).delete()
        known = Account.objects.with_address(email).first()
        if known is not None:
            note(Event.SIGN_UP_REPEATED, account=known, visit=visit, now=now)
            send(mails.AccountExists(), to=known, now=now)
            return
        account = _create(wish, email, hashed, visit=visit, now=now)
        send(mails.ConfirmAddress.of(account, now=now), to=account, now=now)


def _create(wish: SignUp, email: str, hashed: str, *, visit: Visit, now: datetime) -> Account:
    account = Account.objects.create(
        ref=uuid4(),
        email=email,
        password=hashed,
        created_at=now,
        edition=wish.edition,
        country=wish.country,
        age_band=wish.band,
        made_by=Origin.SELF,
    )
    EmailAddress.objects.create(user=account, email=email, primary=True, verified=False)
    Profile.objects.create(account=account, **wish.details)
    if wish.guardian is not None:
        Guardianship.objects.create(account=account, email=wish.guardian.lower(), asked_at=now)
    record(
        Kind.ACCOUNT_REGISTERED,
        clause="P10",
        payload={"edition": wish.edition.value, "notice": wish.notice, "fields": sorted(wish.details)},
        now=now,
        subject=account,
    )
    accept_in_force(account, version=wish.statement, method=Method.SIGN_UP, now=now)
    choose_optional(account, wish.details, method="sign-up form", now=now)
    note(Event.SIGNED_UP, account=account, visit=visit, now=now)
    return account


def confirm_address(account: Account, *, visit: Visit, now: datetime) -> None:
    """The address is the account's own. Of a minor, the guardian is asked now, not before."""
    with writing():
        address_confirmed(account, visit=visit, now=now)


def address_confirmed(account: Account, *, visit: Visit, now: datetime) -> None:
    """The same within the transaction of what showed it. Only inside `writing()`."""
    account.confirmed_at = now
    account.save(update_fields=["confirmed_at"])
    EmailAddress.objects.update_or_create(
        user=account, defaults={"email": account.email, "primary": True, "verified": True}
    )
    record(Kind.ADDRESS_CONFIRMED, clause="P11", payload={}, now=now, subject=account)
    note(Event.CONFIRMED, account=account, visit=visit, now=now)
    guardianship = Guardianship.objects.filter(account=account, agreed_at=None).first()
    if guardianship is not None and guardianship.email:  # not where the guardian had it erased
        send(
            mails.AskGuardian.of(account, guardian=guardianship.email, now=now),
            to=guardianship.email,
            now=now,
            caused_by=account,
        )


def guardian_agrees(account: Account, *, visit: Visit, now: datetime) -> None:
    with writing():
        Guardianship.objects.filter(account=account).update(agreed_at=now)
        record(Kind.GUARDIAN_AGREED, clause="P49", payload={"answer": "agreed"}, now=now, subject=account)
        note(Event.GUARDIAN_AGREED, account=account, visit=visit, now=now)
        send(mails.GuardianAgreed(), to=account, now=now)


def guardian_refuses(account: Account, *, now: datetime) -> bool:
    """Nothing of the minor's is kept: the account never could be used. False where the law keeps it for now.

    Then nobody can use it either, and `forget_unconfirmed` deletes it once it may.
    """
    email = account.email
    with writing():
        is_held = hold_on(account.pk, now=now) is not None
        if is_held:
            account.is_active = False
            account.save(update_fields=["is_active"])
        else:
            account.delete()
        record(Kind.GUARDIAN_REFUSED, clause="P49", payload={"answer": "refused"}, now=now)
        send(mails.GuardianRefused(is_held=is_held), to=email, now=now)
    return not is_held


def waits_for_guardian(account: Account) -> bool:
    return Guardianship.objects.filter(account=account, agreed_at=None).exists()
