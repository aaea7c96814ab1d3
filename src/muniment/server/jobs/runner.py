"""Runs what is due: each job in one process at a time, and again where a process died.

    runner = Runner(deployment, TIMETABLE)
    runner.start() ; runner.stop()

Processes agree through the row of the job. Whoever runs it writes its own random name there and counts its
beat up. Another one takes over when it has seen the same beat for a whole lease by its own steady clock:
no two wall clocks are ever compared, so a clock that is wrong, or is set right, moves no lease.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from django.db import close_old_connections, connections
from django.db.models import F

from muniment.server.deployment import Deployment
from muniment.server.jobs.models import DayDone, Job
from muniment.server.jobs.schedule import Daily, Timed, retry_after
from muniment.server.logs import SERVICE
from muniment.server.privacy.purposes import afresh
from muniment.server.transactions import writing

_THREADS = 3
"""A long work keeps neither mail nor the others waiting."""
_BEATS = 3
"""In one lease."""
_DAYS_KEPT = 4000


@dataclass(frozen=True, slots=True)
class _Turn:
    """One run of a job: `day` is the one it is done for, of a daily job."""

    timed: Timed
    holder: str
    day: date | None


class Runner:
    """`steady` is a clock that nobody sets, in seconds."""

    def __init__(
        self,
        deployment: Deployment,
        timetable: Sequence[Timed],
        *,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._deployment = deployment
        self._timetable = timetable
        self._steady = steady
        self._seen: dict[str, tuple[tuple[str, int], float]] = {}
        self._turns: dict[str, _Turn] = {}
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Run what is due, in threads, from now on."""
        config = self._deployment.config
        rounds = [(self.run_due, config.job_poll)] * _THREADS + [(self.beat, config.job_lease / _BEATS)]
        for work, seconds in rounds:
            # Daemons: a stopping server waits for no long work; its lease runs out, and it is taken up again.
            self._threads.append(threading.Thread(target=self._repeat, args=(work, seconds), daemon=True))
        for thread in self._threads:
            thread.start()

    def stop(self, *, seconds: float = 1.0) -> None:
        """Begin nothing more, and wait so long for what runs."""
        self._ending.set()
        end = self._steady() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - self._steady()))

    def run_due(self) -> int:
        """Every job that is due and that nobody else runs, once; returns how many ran."""
        rows = self._rows()
        ran = 0
        for timed in self._timetable:
            row = rows[timed.name]
            if self._ending.is_set() or not self._is_free(row):
                continue
            if self._is_due(timed, row) and (turn := self._claim(timed)):
                self._run(turn)
                ran += 1
        return ran

    def beat(self) -> None:
        """Say of every job that this process runs that it still does."""
        for turn in list(self._turns.values()):
            with writing():
                Job.objects.filter(name=turn.timed.name, holder=turn.holder).update(beat=F("beat") + 1)

    def _repeat(self, work: Callable[[], object], seconds: float) -> None:
        while not self._ending.wait(seconds):
            try:
                close_old_connections()
                work()
            except Exception as error:
                SERVICE.warning("jobs could not be looked at", exc_info=error)
        connections.close_all()

    def _rows(self) -> dict[str, Job]:
        """By name. A job that is new waits for its time, as though it had just succeeded."""
        names = [each.name for each in self._timetable]
        rows = Job.objects.in_bulk(names)
        if len(rows) == len(names):
            return rows
        now = self._deployment.now()
        fresh = [Job(name=each.name, due_at=each.when.after(now), well_at=now) for each in self._timetable]
        with writing():
            Job.objects.bulk_create(fresh, ignore_conflicts=True)
        return Job.objects.in_bulk(names)

    def _is_due(self, timed: Timed, row: Job) -> bool:
        now = self._deployment.now()
        if not row.failures and self._is_wanted_sooner(timed):
            return True
        if now < row.due_at <= now + timed.when.longest:
            return False
        if not isinstance(timed.when, Daily):
            return True
        day = now.date()
        return now >= timed.when.on(day) and not DayDone.objects.filter(job=row.name, day=day).exists()

    def _is_wanted_sooner(self, timed: Timed) -> bool:
        with afresh(*timed.used_for):
            return timed.sooner is not None and timed.sooner(self._deployment)

    def _is_free(self, row: Job) -> bool:
        """Nobody runs it, or whoever did has been silent for a lease."""
        if not row.holder:
            return True
        if row.name in self._turns:
            return False
        sign, seen = (row.holder, row.beat), self._seen.get(row.name)
        if seen is None or seen[0] != sign:
            self._seen[row.name] = (sign, self._steady())
            return False
        return self._steady() - seen[1] >= self._deployment.config.job_lease

    def _claim(self, timed: Timed) -> _Turn | None:
        """Asked again under the row's lock: others looked at the same time."""
        now = self._deployment.now()
        with writing():
            row = Job.objects.select_for_update().get(name=timed.name)
            if not (self._is_free(row) and self._is_due(timed, row)):
                return None
            day = now.date() if isinstance(timed.when, Daily) else None
            turn = _Turn(timed, secrets.token_hex(16), day)
            if row.holder:
                SERVICE.warning("a job is taken over from a process that fell silent", extra=_of(turn))
            row.holder, row.beat, row.started_at = turn.holder, 0, now
            row.save(update_fields=["holder", "beat", "started_at"])
        self._turns[timed.name] = turn
        return turn

    def _run(self, turn: _Turn) -> None:
        began = self._steady()
        failed: Exception | None = None
        try:
            try:
                with afresh(*turn.timed.used_for):
                    done = turn.timed.work(self._deployment)
            except Exception as error:
                failed = error
                SERVICE.warning("a job failed", exc_info=error, extra=_of(turn))
            else:
                if done:
                    SERVICE.info("a job did something", extra={**_of(turn), "count": done})
            close_old_connections()
            self._finish(turn, failed, seconds=self._steady() - began, now=self._deployment.now())
        finally:
            del self._turns[turn.timed.name]

    def _finish(self, turn: _Turn, failed: Exception | None, *, seconds: float, now: datetime) -> None:
        with writing():
            row = Job.objects.select_for_update().filter(name=turn.timed.name, holder=turn.holder).first()
            if row is None:
                SERVICE.warning("a job ended that another process had taken over", extra=_of(turn))
                return
            row.holder, row.ended_at, row.took_ms = "", now, round(seconds * 1000)
            if failed is None:
                row.well_at, row.failures, row.error = now, 0, ""
                row.due_at = turn.timed.when.after(now)
                _remember_day(turn)
            else:
                row.failures, row.error = row.failures + 1, type(failed).__name__[:80]
                row.due_at = now + retry_after(row.failures, when=turn.timed.when)
            row.save()


def _remember_day(turn: _Turn) -> None:
    """Days go by the order of their runs, not by their date: a clock that was in the future for a while
    makes us forget no day that is still to come back.
    """
    if turn.day is None:
        return
    row, _ = DayDone.objects.get_or_create(job=turn.timed.name, day=turn.day)
    DayDone.objects.filter(id__lt=row.id - _DAYS_KEPT).delete()


def _of(turn: _Turn) -> dict[str, object]:
    return {"job": turn.timed.name}
