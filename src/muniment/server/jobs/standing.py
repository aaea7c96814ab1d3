"""How each job stands: for the operator, and for whoever watches over the service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from muniment.server.jobs.models import DayDone, Job
from muniment.server.jobs.schedule import Daily, Timed


class State(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    FAILING = "failing"
    OVERDUE = "overdue"


@dataclass(frozen=True, slots=True)
class Standing:
    """`error` is the class of the last failure; `took` and times are of the last run."""

    name: str
    state: State
    started_at: datetime | None = None
    took: timedelta | None = None
    next_at: datetime | None = None
    failures: int = 0
    error: str = ""

    @property
    def is_well(self) -> bool:
        return self.state in (State.WAITING, State.RUNNING)


def standings(timetable: Sequence[Timed], *, now: datetime) -> list[Standing]:
    """In the order of the timetable. A job that was never served is waiting."""
    rows = Job.objects.in_bulk([each.name for each in timetable])
    return [_standing(each, rows.get(each.name), now=now) for each in timetable]


def any_overdue(timetable: Sequence[Timed], *, now: datetime) -> bool:
    return any(each.state is State.OVERDUE for each in standings(timetable, now=now))


def _standing(timed: Timed, row: Job | None, *, now: datetime) -> Standing:
    if row is None:
        return Standing(timed.name, State.WAITING)
    if _is_overdue(timed, row, now=now):
        state = State.OVERDUE
    elif row.failures:
        state = State.FAILING
    else:
        state = State.RUNNING if row.holder else State.WAITING
    took = None if row.took_ms is None else timedelta(milliseconds=row.took_ms)
    return Standing(timed.name, state, row.started_at, took, row.due_at, row.failures, row.error)


def _is_overdue(timed: Timed, row: Job, *, now: datetime) -> bool:
    late = now - timed.patience
    if not isinstance(timed.when, Daily):
        return row.well_at + timed.when.pause < late
    owed = timed.when.after(late) - timedelta(days=1)  # the last time of day whose patience is over
    if row.well_at >= owed:
        return False
    return not DayDone.objects.filter(job=row.name, day__range=(owed.date(), now.date())).exists()
