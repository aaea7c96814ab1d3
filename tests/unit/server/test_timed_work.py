"""What runs by itself: one at a time, again where a process died, and by no clock that jumps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise

import pytest
from django.db import connections

from muniment.server.deployment import Deployment
from muniment.server.jobs.models import DayDone, Job
from muniment.server.jobs.runner import Runner
from muniment.server.jobs.schedule import Daily, Every, Timed, retry_after
from muniment.server.jobs.standing import State, standings
from muniment.server.jobs.timetable import TIMETABLE
from muniment.server.privacy.purposes import Purpose
from tests.support.domain import Clock, Member

TEN_MINUTES = Every(timedelta(minutes=10))
NIGHTLY = Daily(time(0, 5))


@dataclass
class Steady:
    """A clock that only goes forward."""

    at: float = 0.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    Job.objects.all().delete()
    DayDone.objects.all().delete()
    yield
    Job.objects.all().delete()
    DayDone.objects.all().delete()


def runner(deployment: Deployment, *timed: Timed, steady: Callable[[], float] | None = None) -> Runner:
    """One that knows its jobs, as a server does that has served before."""
    made = Runner(deployment, timed, steady=steady or Steady())
    made.run_due()
    return made


def noted(into: list[str], name: str = "work", when: Every | Daily = TEN_MINUTES) -> Timed:
    return Timed(name, when, lambda _: into.append(name))


def test_one_failing_work_stops_no_other(deployment: Deployment, clock: Clock) -> None:
    def fails(_: Deployment) -> int:
        raise OSError("the store of somebody@example.org is away")

    ran: list[str] = []
    works = (noted(ran, "first"), Timed("fails", TEN_MINUTES, fails), noted(ran, "last"))
    jobs = runner(deployment, *works)
    clock.turn(minutes=10)
    assert jobs.run_due() == 3
    assert ran == ["first", "last"]
    row = Job.objects.get(name="fails")
    assert (row.error, row.failures, row.holder) == ("OSError", 1, "")
    states = {each.name: each.state for each in standings(works, now=clock())}
    assert states == {"first": State.WAITING, "fails": State.FAILING, "last": State.WAITING}


def test_every_work_of_the_release_runs_and_is_done_once(deployment: Deployment, clock: Clock) -> None:
    jobs = runner(deployment, *TIMETABLE)
    clock.turn(days=1)
    assert jobs.run_due() == len(TIMETABLE)
    assert {each.state for each in standings(TIMETABLE, now=clock())} == {State.WAITING}
    assert jobs.run_due() == 0


def test_a_failing_work_is_tried_again_ever_less_often_and_then_regularly(
    deployment: Deployment, clock: Clock
) -> None:
    broken, tries = True, []

    def work(_: Deployment) -> None:
        tries.append(clock())
        if broken:
            raise OSError

    timed = Timed("work", NIGHTLY, work)
    jobs = runner(deployment, timed)
    clock.at = datetime(2026, 11, 23, 0, 5, tzinfo=UTC)
    for _ in range(120):
        jobs.run_due()
        clock.turn(minutes=1)
    pauses = [(later - sooner).total_seconds() / 60 for sooner, later in pairwise(tries)]
    assert pauses[0] == 1
    assert 6 <= max(pauses) <= 10
    assert 12 < len(tries) < 30
    broken = False
    clock.turn(minutes=10)
    jobs.run_due()
    count = len(tries)
    clock.turn(hours=12)
    jobs.run_due()
    assert len(tries) == count, "a day's work is done once"
    assert Job.objects.get().failures == 0


def test_pauses_differ_so_that_processes_do_not_meet_again() -> None:
    pauses = {retry_after(3, when=TEN_MINUTES) for _ in range(40)}
    assert len(pauses) > 5
    assert timedelta(minutes=2) <= min(pauses)
    assert max(pauses) <= timedelta(minutes=4)
    assert retry_after(10_000, when=TEN_MINUTES) <= timedelta(minutes=10)


def test_many_processes_that_look_at_once_run_it_once(deployment: Deployment, clock: Clock) -> None:
    ran: list[str] = []
    jobs = [runner(deployment, noted(ran)) for _ in range(6)]
    for turn in range(1, 6):
        clock.turn(minutes=10)
        together = threading.Barrier(len(jobs))

        def look(each: Runner, together: threading.Barrier = together) -> None:
            together.wait(30)
            try:
                each.run_due()
            finally:
                connections.close_all()

        threads = [threading.Thread(target=look, args=(each,)) for each in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(ran) == turn


def test_work_of_a_silent_process_is_taken_up_after_its_lease_and_that_of_a_live_one_never(
    deployment: Deployment, clock: Clock
) -> None:
    steady, ran = Steady(), list[str]()
    begun, end = threading.Event(), threading.Event()

    def long(_: Deployment) -> None:
        begun.set()
        end.wait(60)

    holder = runner(deployment, Timed("work", TEN_MINUTES, long))
    other = runner(deployment, noted(ran), steady=steady)
    clock.turn(minutes=10)
    thread = threading.Thread(target=lambda: (holder.run_due(), connections.close_all()))
    thread.start()
    try:
        assert begun.wait(30)
        for _ in range(5):  # it lives: it beats three times in a lease
            clock.turn(days=1)
            other.run_due()
            steady.at += 59
            other.run_due()
            holder.beat()
        assert ran == []
        other.run_due()
        steady.at += 59
        other.run_due()
        assert ran == []
        steady.at += 1
        other.run_due()
        assert ran == ["work"], "silent for a whole lease"
    finally:
        end.set()
        thread.join()
    row = Job.objects.get()
    assert (row.holder, row.failures) == ("", 0), "the one that was given up wrote nothing"


def test_a_day_is_neither_lost_nor_repeated_when_the_clock_jumps(
    deployment: Deployment, clock: Clock
) -> None:
    days: list[str] = []
    jobs = runner(deployment, Timed("work", NIGHTLY, lambda _: days.append(f"{clock().date()}")))

    def at(text: str) -> None:
        clock.at = datetime.fromisoformat(text).replace(tzinfo=UTC)
        jobs.run_due()

    at("2026-11-23 00:04")
    assert days == []
    at("2026-11-23 00:05")
    at("2026-11-23 00:04")  # a second run of this day would come now, if only the time were asked
    at("2026-11-23 00:06")
    at("2026-11-23 12:00")
    assert days == ["2026-11-23"]
    at("2036-01-01 08:00")  # years ahead
    assert days == ["2026-11-23", "2036-01-01"]
    at("2026-11-23 12:01")  # and back: not again, and not only in ten years
    assert days == ["2026-11-23", "2036-01-01"]
    at("2026-11-24 00:05")
    at("2026-11-24 00:06")
    at("2026-11-23 23:00")
    at("2026-11-24 00:07")
    assert days[2:] == ["2026-11-24"]
    at("2026-11-27 03:00")  # away for days: once, for all of them
    at("2026-11-27 03:10")
    at("2026-11-28 00:05")
    assert days[3:] == ["2026-11-27", "2026-11-28"]


def test_a_clock_that_goes_back_keeps_no_work_waiting(deployment: Deployment, clock: Clock) -> None:
    ran: list[str] = []
    jobs = runner(deployment, noted(ran))
    clock.turn(days=4000)
    jobs.run_due()
    clock.turn(days=-3999)
    jobs.run_due()
    assert len(ran) == 2
    jobs.run_due()
    assert len(ran) == 2


def test_what_is_wanted_sooner_runs_sooner_but_not_while_it_fails(
    deployment: Deployment, clock: Clock
) -> None:
    wanted, broken, ran = False, False, list[str]()

    def work(_: Deployment) -> None:
        ran.append("work")
        if broken:
            raise OSError

    jobs = runner(deployment, Timed("work", TEN_MINUTES, work, sooner=lambda _: wanted))
    clock.turn(seconds=5)
    assert jobs.run_due() == 0
    wanted = broken = True
    assert [jobs.run_due(), jobs.run_due()] == [1, 0]
    clock.turn(minutes=1)
    broken = False
    assert [jobs.run_due(), jobs.run_due()] == [1, 1]


def test_each_work_reads_for_what_it_says_and_for_nothing_else(deployment: Deployment, clock: Clock) -> None:
    account, read = Member.first(deployment).account, list[str]()

    def reads(_: Deployment) -> None:
        read.append(account.email)

    def looks(_: Deployment) -> bool:
        return account.email not in read

    said = (Purpose.SIGN_IN,)
    works = (
        Timed("silent", TEN_MINUTES, reads),
        Timed("said", TEN_MINUTES, reads, said),
        Timed("looks", NIGHTLY, lambda _: None, said, sooner=looks),
    )
    jobs = runner(deployment, *works)
    clock.turn(minutes=10)
    jobs.run_due()
    assert read == [account.email]
    errors = {row.name: row.error for row in Job.objects.all()}
    assert errors == {"silent": "ReadWithoutPurpose", "said": "", "looks": ""}


def test_it_is_overdue_only_once_its_patience_is_over(deployment: Deployment, clock: Clock) -> None:
    often, nightly = noted([], "often"), noted([], "nightly", NIGHTLY)
    assert {each.state for each in standings([often, nightly], now=clock())} == {State.WAITING}

    def overdue() -> list[str]:
        return [each.name for each in standings([often, nightly], now=clock()) if each.state is State.OVERDUE]

    jobs = runner(deployment, often, nightly)
    clock.turn(minutes=70)
    assert overdue() == []
    clock.turn(seconds=1)
    assert overdue() == ["often"]
    jobs.run_due()
    clock.at = datetime(2026, 11, 23, 1, 4, 59, tzinfo=UTC)
    assert overdue() == ["often"]
    clock.turn(seconds=1)
    assert overdue() == ["often", "nightly"]
    jobs.run_due()
    assert overdue() == []
    clock.turn(days=1)
    assert overdue() == ["often", "nightly"]
