"""Who may sign in: an address must be confirmed, and a minor's guardian have agreed."""

from __future__ import annotations

from enum import Enum

from muniment.server.accounts.models import Account
from muniment.server.accounts.sign_up import waits_for_guardian


class Standing(Enum):
    WELCOME = "may sign in"
    UNCONFIRMED = "the address is not confirmed yet"
    WAITS_FOR_GUARDIAN = "a guardian has not agreed yet"
    CLOSED = "the account is closed"


def standing_of(account: Account) -> Standing:
    if not account.is_active:
        return Standing.CLOSED
    if account.confirmed_at is None:
        return Standing.UNCONFIRMED
    if waits_for_guardian(account):
        return Standing.WAITS_FOR_GUARDIAN
    return Standing.WELCOME
