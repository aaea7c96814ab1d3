"""Counting what may not be tried without end. Counters are in the database, where restarts find them.

What is counted is a keyed hash; its key is made anew each day in memory, so a counter of yesterday says
nothing about anybody. Password and code are counted by account and by network. A passkey cannot be guessed,
so signing in with one is never counted, and nobody can lock its holder out.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum

from django.db.models import F, Sum

from muniment.server.accounts.models import Attempts
from muniment.server.accounts.visits import Visit
from muniment.server.transactions import writing

WINDOW_SECONDS = 600


class Tried(Enum):
    """What is counted: how often within the last ten to twenty minutes, of one account and of one network."""

    SIGN_IN = ("sign_in", 10, 60)
    CODE = ("code", 10, 60)
    SIGN_UP = ("sign_up", 5, 30)
    MAIL = ("mail", 5, 30)
    SCREEN = ("screen", 0, 60)
    CHOICE = ("choice", 0, 120)

    def __init__(self, word: str, by_account: int, by_network: int) -> None:
        self.word, self.by_account, self.by_network = word, by_account, by_network


class TooOften(Exception):
    """Wait `retry_after` seconds. Says the same whether or not there is such an account."""

    retry_after = WINDOW_SECONDS


@dataclass(slots=True)
class _DayKey:
    day: date | None = None
    key: bytes = b""

    def of(self, day: date) -> bytes:
        if self.day != day:
            self.day, self.key = day, secrets.token_bytes(32)
        return self.key


_KEY = _DayKey()


def check(tried: Tried, *, whom: str, visit: Visit, now: datetime) -> None:
    """Raises TooOften where account (`whom`: an address or an id) or network tried enough for now."""
    window = _window(now)
    for key, most in _keys(tried, whom=whom, visit=visit, now=now):
        rows = Attempts.objects.filter(key=key, window__gte=window - 1)
        if (rows.aggregate(total=Sum("count"))["total"] or 0) >= most:
            raise TooOften


def count(tried: Tried, *, whom: str, visit: Visit, now: datetime) -> None:
    """One more. Older counters go."""
    window = _window(now)
    with writing():
        for key, _ in _keys(tried, whom=whom, visit=visit, now=now):
            row, _ = Attempts.objects.get_or_create(key=key, window=window, defaults={"count": 0})
            Attempts.objects.filter(pk=row.pk).update(count=F("count") + 1)
        Attempts.objects.filter(window__lt=window - 1).delete()


def _window(now: datetime) -> int:
    return int(now.timestamp()) // WINDOW_SECONDS


def _keys(tried: Tried, *, whom: str, visit: Visit, now: datetime) -> list[tuple[bytes, int]]:
    secret = _KEY.of(now.date())
    named = [
        ("account", whom.strip().lower(), tried.by_account),
        ("network", visit.address.network, tried.by_network),
    ]
    return [
        (hmac.digest(secret, "\0".join((tried.word, kind, name)).encode(), hashlib.sha256), most)
        for kind, name, most in named
        if most and name
    ]
