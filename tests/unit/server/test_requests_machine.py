"""Requests of people: the clock, who may do what, and that nothing is called done before it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, transaction
from hypothesis import given
from hypothesis import strategies as st

from muniment.server.accounts.models import Account, Profile
from muniment.server.deployment import Deployment
from muniment.server.privacy.ledger.entries import entries_of
from muniment.server.privacy.ledger.kinds import Kind as Record
from muniment.server.privacy.requests import clock, machine
from muniment.server.privacy.requests.clock import Step, Times
from muniment.server.privacy.requests.machine import (
    NoSuchRequest,
    advance_requests,
    fulfil_request,
    open_request,
    open_requests,
    refuse_request,
    requests_of,
    take_back,
    verify_request,
)
from muniment.server.privacy.requests.models import Channel, Erasure, Kind, Outcome, Request, Restriction
from muniment.server.transactions import writing
from tests.support.domain import Clock, Member

DAY = timedelta(days=1)
START = datetime(2026, 3, 6, 12, tzinfo=UTC)  # a Friday


def asked(
    deployment: Deployment, member: Member, kind: Kind, *, verified: bool = True, **details: str
) -> UUID:
    with writing():
        ref = open_request(
            kind, channel=Channel.PAGE, email=member.account.email, now=deployment.now(),
            subject=member.account, details=details,
        )  # fmt: skip
        if verified:
            verify_request(ref, now=deployment.now())
    return ref


def row(ref: UUID) -> Request:
    return Request.objects.get(ref=ref)


# --- the clock


@given(st.sampled_from(Kind), st.integers(0, 30 * 86400))
def test_what_runs_by_itself_is_in_time_and_an_erasure_leaves_three_days(kind: Kind, seconds: int) -> None:
    verified = START + timedelta(seconds=seconds)
    runs = clock.runs_at(kind, verified_at=verified)
    if kind is Kind.PUBLIC_REMOVAL:
        assert runs is None
    elif kind is Kind.ERASE:
        assert runs == verified + 3 * DAY
        assert runs < clock.due_at(START) or verified >= clock.link_dies_at(kind, received_at=START)
    else:
        assert runs == verified


def test_ten_days_are_ten_days_over_weekends_and_leap_days() -> None:
    assert clock.due_at(START) - START == 10 * DAY
    assert clock.due_at(datetime(2028, 2, 25, tzinfo=UTC)) == datetime(2028, 3, 6, tzinfo=UTC)


def test_an_erasure_leaves_three_days_to_change_ones_mind() -> None:
    runs = clock.runs_at(Kind.ERASE, verified_at=START)
    times = Times(Kind.ERASE, START, START, runs)
    assert clock.next_step(times, now=START + 3 * DAY - timedelta(seconds=1)) is Step.WAIT
    assert clock.next_step(times, now=START + 3 * DAY) is Step.RUN


def test_alarms_on_days_five_and_eight() -> None:
    at = [clock.alarms_due(received_at=START, now=START + days * DAY) for days in range(10)]
    assert at == [0, 0, 0, 0, 0, 1, 1, 1, 2, 2]


# --- the database holds what the law counts


@pytest.mark.clause("P45")
def test_the_database_takes_no_longer_clock(deployment: Deployment, member: Member) -> None:
    ref = asked(deployment, member, Kind.PUBLIC_REMOVAL)
    assert row(ref).due_at - row(ref).received_at == 10 * DAY
    with pytest.raises(IntegrityError), transaction.atomic():
        Request.objects.filter(ref=ref).update(due=row(ref).received + 10 * 86400 + 1)


@pytest.mark.parametrize("changes", [{"closed_at": START}, {"outcome": "done"}])
def test_the_database_takes_no_closing_without_an_outcome(
    deployment: Deployment, member: Member, changes: dict[str, object]
) -> None:
    ref = asked(deployment, member, Kind.ACCESS)
    with pytest.raises(IntegrityError), transaction.atomic():
        Request.objects.filter(ref=ref).update(**changes)


@pytest.mark.clause("P79")
def test_a_refusal_has_a_reason(deployment: Deployment, member: Member) -> None:
    ref = asked(deployment, member, Kind.PUBLIC_REMOVAL)
    with pytest.raises(ValueError, match="reason"), writing():
        refuse_request(ref, reason="  ", now=deployment.now())
    with pytest.raises(IntegrityError), transaction.atomic():
        Request.objects.filter(ref=ref).update(outcome="refused", closed_at=START)
    with writing():
        refuse_request(ref, reason="Somebody else wrote it.", now=deployment.now())
    assert (row(ref).outcome, row(ref).reason, row(ref).email) == (
        Outcome.REFUSED,
        "Somebody else wrote it.",
        "",
    )
    assert entries_of(member.account)[0].leaf.kind == Record.REQUEST_REFUSED


# --- what runs, and what does not


@pytest.mark.clause("A7")
def test_what_was_verified_runs_by_itself_and_once(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    ref = asked(deployment, member, Kind.RESTRICT)
    assert advance_requests(deployment).done >= 1
    assert row(ref).outcome == Outcome.DONE
    assert Restriction.objects.filter(subject=member.account.pk, purpose="").count() == 1
    before = len(entries_of(member.account))
    advance_requests(deployment)
    assert len(entries_of(member.account)) == before


@pytest.mark.clause("P45")
def test_a_change_that_was_verified_runs_by_itself_within_three_days(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    ref = asked(deployment, member, Kind.RECTIFY, city="Cork")
    clock.turn(minutes=10)
    advance_requests(deployment)
    assert Profile.objects.get(account=member.account).city == "Cork"
    done = row(ref)
    assert done.outcome == Outcome.DONE
    assert done.closed_at - done.verified_at <= 3 * DAY


@pytest.mark.parametrize("kind", [Kind.ERASE, Kind.ACCESS, Kind.RESTRICT])
def test_what_somebody_asked_besides_ends_when_they_are_erased(
    deployment: Deployment, member: Member, clock: Clock, kind: Kind
) -> None:
    """It names nobody then, and staff may not touch what came by the page."""
    first = asked(deployment, member, Kind.ERASE)
    clock.turn(minutes=1)
    second = asked(deployment, member, kind, verified=False)
    clock.turn(days=3)
    with writing():
        verify_request(second, now=deployment.now())
    advance_requests(deployment)
    assert row(first).outcome == Outcome.DONE
    clock.turn(days=3)
    assert advance_requests(deployment).waiting == ()
    assert (row(second).outcome, row(second).closed_at is None) == (Outcome.DONE, False)


@pytest.mark.clause("P45")
def test_a_deletion_that_was_verified_runs_by_itself_within_three_days(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    account, ref = member.account.pk, asked(deployment, member, Kind.ERASE)
    clock.turn(days=3)
    advance_requests(deployment)
    assert not Account.objects.filter(pk=account).exists()
    done = row(ref)
    assert done.outcome == Outcome.DONE
    assert done.closed_at - done.verified_at <= 3 * DAY


def test_what_nobody_verified_never_runs_and_lapses(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    ref = asked(deployment, member, Kind.ERASE, verified=False)
    clock.turn(days=29)
    advance_requests(deployment)
    assert row(ref).closed_at is None
    clock.turn(days=1)
    advance_requests(deployment)
    assert row(ref).outcome == Outcome.LAPSED
    member.account.refresh_from_db()


@pytest.mark.parametrize("kind", [Kind.ERASE, Kind.RESTRICT])
def test_what_is_taken_back_while_a_round_runs_is_not_done(
    deployment: Deployment, member: Member, clock: Clock, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    first, ref = asked(deployment, member, Kind.ACCESS), asked(deployment, member, kind)
    clock.turn(days=3)
    real = machine._run

    def run(deployment: Deployment, request: Request) -> None:
        real(deployment, request)
        if request.ref == first:
            with writing():
                take_back(ref, subject=member.account, now=clock())

    monkeypatch.setattr(machine, "_run", run)
    assert ref not in dict(advance_requests(deployment).waiting)
    assert row(ref).outcome == Outcome.WITHDRAWN
    assert Account.objects.filter(pk=member.account.pk).exists()
    assert not Erasure.objects.filter(request__ref=ref).exists()


@pytest.mark.parametrize("closed", [True, False])
def test_what_is_closed_or_verified_while_a_round_runs_does_not_lapse_and_stops_no_other(
    deployment: Deployment, member: Member, clock: Clock, monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    ref, last = (asked(deployment, member, Kind.PUBLIC_REMOVAL, verified=False) for _ in range(2))
    clock.turn(days=30)
    real = machine._raise_alarms

    def raise_alarms(request: Request, *, now: datetime) -> int:
        if request.ref == ref:
            with writing():
                verify_request(ref, now=now)
                if closed:
                    take_back(ref, subject=member.account, now=now)
        return real(request, now=now)

    monkeypatch.setattr(machine, "_raise_alarms", raise_alarms)
    advance_requests(deployment)
    assert row(ref).outcome == (Outcome.WITHDRAWN if closed else Outcome.OPEN)
    assert row(last).outcome == Outcome.LAPSED


def test_a_worker_that_was_dead_catches_up(deployment: Deployment, member: Member, clock: Clock) -> None:
    ref = asked(deployment, member, Kind.OBJECT, purpose="promotion")
    clock.turn(days=9)
    advance_requests(deployment)
    assert row(ref).outcome == Outcome.DONE
    assert row(ref).closed_at <= row(ref).due_at
    assert row(ref).alarms == 2


def test_alarms_go_off_once(deployment: Deployment, member: Member, clock: Clock) -> None:
    asked(deployment, member, Kind.PUBLIC_REMOVAL)
    for days, expected in ((4, 0), (1, 1), (1, 0), (2, 1), (1, 0)):
        clock.turn(days=days)
        assert advance_requests(deployment).alarms >= expected
    raised = [
        entry.said["days"] for entry in entries_of(member.account) if entry.leaf.kind == Record.REQUEST_ALARM
    ]
    assert sorted(raised) == [5, 8]


def test_staff_close_what_does_not_run_by_itself(deployment: Deployment, member: Member) -> None:
    ref = asked(deployment, member, Kind.PUBLIC_REMOVAL)
    advance_requests(deployment)
    assert ref in {waiting.ref for waiting in open_requests()}
    with writing():
        fulfil_request(ref, now=deployment.now())
    assert row(ref).outcome == Outcome.DONE
    with pytest.raises(NoSuchRequest), writing():
        fulfil_request(ref, now=deployment.now())


def test_only_the_person_takes_it_back(deployment: Deployment, member: Member) -> None:
    other = Member.first(deployment)
    ref = asked(deployment, member, Kind.ERASE)
    for whom, which in ((other.account, ref), (member.account, uuid4())):
        with pytest.raises(NoSuchRequest), writing():
            take_back(which, subject=whom, now=deployment.now())
    with writing():
        take_back(ref, subject=member.account, now=deployment.now())
    assert [request.outcome for request in requests_of(member.account)] == [Outcome.WITHDRAWN]


@pytest.mark.parametrize("received", [timedelta(seconds=-1), 10 * DAY])
@pytest.mark.clause("P87")
def test_post_is_entered_with_the_day_it_came(deployment: Deployment, received: timedelta) -> None:
    now = deployment.now()
    with pytest.raises(ValueError, match="received"), writing():
        open_request(Kind.ACCESS, channel=Channel.POST, email="", now=now, received_at=now - received)
    with writing():
        ref = open_request(Kind.ACCESS, channel=Channel.POST, email="", now=now, received_at=now - 4 * DAY)
    assert row(ref).due_at == now + 6 * DAY
