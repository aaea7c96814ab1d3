"""The states of a request and what moves it: received, verified, run, closed. Pure.

    received ──verify──▶ verified ──runs_at──▶ closed done
        │                    ├──take back──▶ closed withdrawn
        │                    └──refuse, with a reason──▶ closed refused
        └──thirty days unverified──▶ closed lapsed

The clock begins with receipt and never stops: not for weekends, not while a sender is still unverified, not
while no worker ran. An erasure runs three days after it was verified, so that people can change their mind,
and the link that verifies one dies early enough for that; everything else that can runs at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from muniment.server.privacy.requests.models import DUE_AFTER, Kind

CHANGE_OF_MIND = timedelta(hours=72)
UNVERIFIED_FOR = timedelta(days=30)
ALARM_DAYS = (5, 8)
"""Days after receipt on which staff are told that a request is still open."""

RUNS_BY_ITSELF = frozenset({Kind.ACCESS, Kind.EXPORT, Kind.RECTIFY, Kind.ERASE, Kind.RESTRICT, Kind.OBJECT})


class Step(Enum):
    """What is to be done with an open request now."""

    WAIT = "wait"
    RUN = "run"
    LAPSE = "lapse"


@dataclass(frozen=True, slots=True)
class Times:
    kind: Kind
    received_at: datetime
    verified_at: datetime | None
    runs_at: datetime | None


def due_at(received_at: datetime) -> datetime:
    """When the outcome is owed."""
    return received_at + DUE_AFTER


def link_dies_at(kind: Kind, *, received_at: datetime) -> datetime:
    """From then on the mailed link verifies nothing: an erasure could not both be in time and be undone."""
    return received_at + (DUE_AFTER - CHANGE_OF_MIND if kind is Kind.ERASE else UNVERIFIED_FOR)


def runs_at(kind: Kind, *, verified_at: datetime) -> datetime | None:
    """When it is done without anybody's doing; None where staff must look at it first.

    Nobody's account goes at once, however late it was verified, and by whom: whoever did not ask has all of
    the three days to say so.
    """
    if kind not in RUNS_BY_ITSELF:
        return None
    return verified_at + CHANGE_OF_MIND if kind is Kind.ERASE else verified_at


def next_step(times: Times, *, now: datetime) -> Step:
    if times.verified_at is None:
        return Step.LAPSE if now >= times.received_at + UNVERIFIED_FOR else Step.WAIT
    return Step.RUN if times.runs_at is not None and now >= times.runs_at else Step.WAIT


def alarms_due(*, received_at: datetime, now: datetime) -> int:
    """How many of the alarms should have gone off by now."""
    return sum(now >= received_at + timedelta(days=day) for day in ALARM_DAYS)
