"""Agreeing to the statement, which is not consent to anything: an account cannot be made without it.

What a person chooses to tell beyond what is needed is a consent, given by telling it and withdrawn in the
preferences, which empties it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from muniment.server.accounts.models import Account
from muniment.server.privacy.statement import read_statement


class NotInForce(Exception):
    """The form was made for another version of the statement than the one in force: show the new one."""


def version_in_force() -> int:
    return read_statement().version


def accept_in_force(account: Account, *, version: int, method: str, now: datetime) -> None:
    """Record it, in the transaction that makes or opens the account. Raises NotInForce."""
    if version != version_in_force():
        raise NotInForce


def has_accepted(account: Account) -> bool:
    return account.made_by == "self" or account.has_usable_password()


def record_choice_of_details(
    account: Account, details: Mapping[str, str], *, notice: str, now: datetime
) -> None:
    pass
