"""Links that prove who opens them: sealed, bound to one purpose, dead once they did their work or got old.

A link holds the account's opaque ref and a hash of what it may change (password, address, state): when
that changes, by the link itself or otherwise, the link fits no more. A guardian's is about no password, and
there is no second one: it stays when the minor chooses another. Nothing about links is stored, and
nothing can be read in one: addresses of pages get into histories and logs.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from uuid import UUID

from cryptography.fernet import InvalidToken

from muniment.server.accounts.models import Account
from muniment.server.privacy.purposes import Purpose, purpose
from muniment.server.sealing import box_for

DAY = 86400


class LinkKind(Enum):
    """What it opens, and for how many seconds."""

    CONFIRM = ("confirm", 7 * DAY)
    GUARDIAN = ("guardian", 7 * DAY)
    PASSWORD = ("password", DAY // 4)
    FIRST_SIGN_IN = ("first-sign-in", 7 * DAY)
    ADDRESS = ("address", DAY)

    def __init__(self, word: str, seconds: int) -> None:
        self.word, self.seconds = word, seconds


class LinkDead(Exception):
    """Changed, too old, used, or of an account that is gone: the page says the same of all."""


@dataclass(frozen=True, slots=True)
class Opened:
    account: Account
    email: str
    """The address that the link was made for."""


def make_token(kind: LinkKind, account: Account, *, email: str, now: datetime) -> str:
    content = json.dumps([account.ref.hex, email, _fingerprint(kind, account)]).encode()
    return box_for(f"link/{kind.word}").encrypt_at_time(content, int(now.timestamp())).decode().rstrip("=")


def open_token(kind: LinkKind, token: str, *, now: datetime) -> Opened:
    """Raises LinkDead."""
    padded = token + "=" * (-len(token) % 4)
    try:
        content = box_for(f"link/{kind.word}").decrypt_at_time(padded, kind.seconds, int(now.timestamp()))
        ref, email, fingerprint = json.loads(content)
        account = Account.objects.get(ref=UUID(hex=ref))
    except (InvalidToken, ValueError, Account.DoesNotExist) as error:
        raise LinkDead from error
    if fingerprint != _fingerprint(kind, account) or not account.is_active:
        raise LinkDead
    return Opened(account, email)


def _fingerprint(kind: LinkKind, account: Account) -> str:
    password = "" if kind is LinkKind.GUARDIAN else account.password
    state = f"{password}\0{account.email}\0{account.confirmed_at}\0{_agreed_at(account)}"
    return hashlib.sha256(state.encode()).hexdigest()[:24]


@purpose(Purpose.MINORS)
def _agreed_at(account: Account) -> datetime | None:
    """When a minor's guardian agreed. A link tells nothing of it, whatever the page is for that makes one."""
    guardianship = getattr(account, "guardianship", None)
    return None if guardianship is None else guardianship.agreed_at
