"""Agreeing to the statement, which is not consent to anything: an account cannot be made without it.

What a person chooses to tell beyond what is needed is a consent, given by telling it and withdrawn in the
preferences, which empties it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from muniment.server.accounts.models import Account, Profile
from muniment.server.privacy.consent.choices import Subject, choose
from muniment.server.privacy.consent.effect import State
from muniment.server.privacy.consent.notices import notice_for
from muniment.server.privacy.registry import Personal
from muniment.server.privacy.statement import read_statement
from muniment.server.privacy.versions import acceptance
from muniment.server.privacy.versions.in_force import in_force

OPTIONAL_PURPOSE = "demographics"


class NotInForce(Exception):
    """The form was made for another version of the statement than the one in force: show the new one."""


def version_in_force(now: datetime) -> int:
    return in_force(now).number


def accept_in_force(account: Account, *, version: int, method: acceptance.Method, now: datetime) -> None:
    """Record it, in the transaction that makes or opens the account. Raises NotInForce."""
    if version != version_in_force(now):
        raise NotInForce
    acceptance.accept(account, version, method=method, now=now)


def has_agreed(account: Account, *, now: datetime) -> bool:
    """Whether the account's owner ever accepted what holds for new accounts now, or holds for this one."""
    return acceptance.has_accepted(account, version_in_force(now)) or account.has_usable_password()


def choose_optional(account: Account, details: Mapping[str, str], *, method: str, now: datetime) -> None:
    """Somebody who tells what nobody needs agrees to its one purpose. Only inside `writing()`."""
    if not any(details.get(name) for name in OPTIONAL_COLUMNS):
        return
    choose(
        Subject(account),
        OPTIONAL_PURPOSE,
        State.GRANTED,
        notice=notice_for(read_statement().purposes[OPTIONAL_PURPOSE], gpc=False),
        method=method,
        now=now,
    )


def _is_optional(declared: object) -> bool:
    return isinstance(declared, Personal) and declared.purposes == (OPTIONAL_PURPOSE,)


OPTIONAL_COLUMNS = tuple(
    field.name for field in Profile._meta.concrete_fields if _is_optional(getattr(field, "privacy", None))
)
