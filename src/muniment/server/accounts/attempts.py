"""Counting what may not be tried without end. Counters are in the database: a restart changes nothing, and
all processes of a server count together.

What is counted is the beginning of a keyed hash. The key is derived from the site's, another one for every
window of ten minutes: without `DATA/site.key` a counter says nothing of whom it is about, nor whether another
one is about the same. Half an hour later it is deleted. Password and code are counted by account and by
network. A passkey cannot be guessed, so signing in with one is never counted, and nobody can lock its holder
out.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from datetime import datetime
from enum import Enum

from django.db.models import F, Sum

from muniment.server.accounts.models import Attempts
from muniment.server.accounts.models.sign_in import KEY_BYTES
from muniment.server.accounts.visits import Visit
from muniment.server.sealing import key_for
from muniment.server.transactions import writing

WINDOW_SECONDS = 600


class Tried(Enum):
    """What is counted: how often within the last ten to twenty minutes, of one account and of one network."""

    SIGN_IN = ("sign_in", 10, 60)
    CODE = ("code", 10, 60)
    SIGN_UP = ("sign_up", 5, 30)
    MAIL = ("mail", 5, 30)
    CHOICE = ("choice", 0, 120)
    FORM = ("form", 0, 300)
    """Whatever strangers post, empty and wrong forms too."""

    def __init__(self, word: str, by_account: int, by_network: int) -> None:
        self.word, self.by_account, self.by_network = word, by_account, by_network


class TooOften(Exception):
    """Wait `retry_after` seconds. Says the same whether or not there is such an account."""

    retry_after = WINDOW_SECONDS


def spend(tried: Tried, *, whom: str, visit: Visit, now: datetime) -> None:
    """One more, before it is looked at: of what is tried at once no more passes than in turn.

    Raises TooOften where account (`whom`: an address or an id) or network tried enough for now. Who did so
    long ago is told without a transaction, so that a flood holds up nobody's writing.
    """
    for kind, name, most in _bounds(tried, whom=whom, visit=visit):
        if _total(tried, kind, name, now=now) >= most:
            raise TooOften
    with writing():
        _add(1, tried, whom=whom, visit=visit, now=now)
        for kind, name, most in _bounds(tried, whom=whom, visit=visit):
            if _total(tried, kind, name, now=now) > most:
                raise TooOften  # which counts it no more


def give_back(tried: Tried, *, whom: str, visit: Visit, now: datetime) -> None:
    """It was no failure. `now` is that of `spend`."""
    with writing():
        _add(-1, tried, whom=whom, visit=visit, now=now)


def forget_counters(*, now: datetime) -> int:
    """Delete what counts no more; returns how many."""
    earliest, _ = _counting(now)
    with writing():
        forgotten, _ = Attempts.objects.filter(window__lt=earliest).delete()
    return forgotten


def _add(more: int, tried: Tried, *, whom: str, visit: Visit, now: datetime) -> None:
    """Holds the rows until the transaction ends: account before network, for everybody."""
    _, window = _counting(now)
    for kind, name, _ in _bounds(tried, whom=whom, visit=visit):
        key = _key(tried, kind, name, window=window)
        row, _ = Attempts.objects.get_or_create(key=key, window=window, defaults={"count": 0})
        Attempts.objects.filter(pk=row.pk).update(count=F("count") + more)


def _total(tried: Tried, kind: str, name: str, *, now: datetime) -> int:
    keys = [_key(tried, kind, name, window=window) for window in _counting(now)]
    return Attempts.objects.filter(key__in=keys).aggregate(total=Sum("count"))["total"] or 0


def _counting(now: datetime) -> tuple[int, int]:
    """The windows that count: the one before, and that of `now`."""
    window = int(now.timestamp()) // WINDOW_SECONDS
    return window - 1, window


def _bounds(tried: Tried, *, whom: str, visit: Visit) -> Iterator[tuple[str, str, int]]:
    if whom and tried.by_account:
        yield "account", whom.strip().lower(), tried.by_account
    if visit.address.network and tried.by_network:
        yield "network", visit.address.network, tried.by_network


def _key(tried: Tried, kind: str, name: str, *, window: int) -> bytes:
    secret = key_for(f"attempts/{window}")
    return hmac.digest(secret, "\0".join((tried.word, kind, name)).encode(), hashlib.sha256)[:KEY_BYTES]
