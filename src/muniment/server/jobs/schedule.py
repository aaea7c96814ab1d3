"""When works run: every so often, or once a day (UTC). Pure: no clock, no database."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from muniment.server.deployment import Deployment
from muniment.server.privacy.purposes import Purpose

_FIRST_RETRY = timedelta(minutes=1)
_LAST_RETRY = timedelta(minutes=10)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Every:
    pause: timedelta

    def after(self, now: datetime) -> datetime:
        return now + self.pause

    @property
    def longest(self) -> timedelta:
        """How far away the next run is at most; farther away it was set by a clock that went back since."""
        return max(self.pause, _LAST_RETRY)


@dataclass(frozen=True, slots=True)
class Daily:
    at: time

    def after(self, now: datetime) -> datetime:
        today = self.on(now.date())
        return today if today > now else today + _DAY

    def on(self, day: date) -> datetime:
        return datetime.combine(day, self.at, UTC)

    @property
    def longest(self) -> timedelta:
        return _DAY


@dataclass(frozen=True, slots=True)
class Timed:
    """A work that runs by itself. Running it again, after a process died in its midst, has to be harmless.

    `work` returns how much it did. `sooner` looks, without writing, whether it is needed before its turn.
    Either reads personal columns for `used_for`, and for nothing else.
    """

    name: str
    when: Every | Daily
    work: Callable[[Deployment], int | None]
    used_for: tuple[Purpose, ...] = ()
    sooner: Callable[[Deployment], bool] | None = None
    patience: timedelta = timedelta(hours=1)
    """So long after its time without success it is overdue."""


def retry_after(failures: int, *, when: Every | Daily) -> timedelta:
    """The pause after so many failures in a row: doubled each time, bounded, and no two processes alike."""
    first = min(when.longest, _FIRST_RETRY)
    pause = min(first * (1 << min(failures - 1, 10)), _LAST_RETRY)
    return pause * (500 + secrets.randbelow(501)) / 1000
