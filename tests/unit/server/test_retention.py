"""Retention: what is past its period goes, counted; what the law makes us keep stays; nothing else does."""

from __future__ import annotations

from datetime import timedelta

import pytest

from muniment.server.accounts.models import EnrolmentCode, SecurityEvent
from muniment.server.accounts.unconfirmed import forget_unconfirmed
from muniment.server.deployment import Deployment
from muniment.server.mail.requests import RequestDone
from muniment.server.mail.send import send
from muniment.server.privacy import ports
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.requests.holds import place_hold
from muniment.server.privacy.requests.machine import fulfil_request, open_request, verify_request
from muniment.server.privacy.requests.models import Channel, Request
from muniment.server.privacy.requests.models import Kind as Asked
from muniment.server.privacy.retention import rules as declared
from muniment.server.privacy.retention import sweep
from muniment.server.privacy.retention.models import Sweep
from muniment.server.privacy.retention.rules import Rule, complaints, rules
from muniment.server.privacy.retention.sweep import overdue, sweep_once
from muniment.server.privacy.statement import read_statement
from muniment.server.transactions import writing
from muniment.server.vaults.models import Session
from tests.support.domain import Clock, Member
from tests.support.ledger import entries_of_kind
from tests.support.pages import Person


@pytest.fixture(autouse=True)
def _no_day_swept(deployment: Deployment) -> None:
    """The database is shared, and other tests have been in the future."""
    Sweep.objects.all().delete()


def leave_traces(deployment: Deployment, member: Member) -> None:
    """Something under every rule that a person can leave behind."""
    now = deployment.now()
    member.open_session()
    SecurityEvent.objects.create(
        account=member.account, at=now, kind=SecurityEvent.Kind.SIGNED_IN, method="password",
        address="192.0.2.7", network="192.0.2.0/24", browser="Firefox",
    )  # fmt: skip
    with writing():
        send(RequestDone(kind="x"), to=member.account, now=now)
        ref = open_request(
            Asked.PUBLIC_REMOVAL, channel=Channel.POST, email=member.account.email, now=now,
            subject=member.account, details={"page": "3"},
        )  # fmt: skip
        verify_request(ref, now=now)
        fulfil_request(ref, now=now)


def due(rule: Rule, deployment: Deployment, member: Member) -> int:
    return rule.overdue(now=deployment.now()).filter(rule.on_hold([member.account.pk])).count()


def test_every_column_kept_for_days_says_from_when() -> None:
    assert complaints() == []
    named = {rule.table.label for rule in rules()}
    assert {"accounts.SecurityEvent", "vaults.Session", "privacy_requests.Request", "mail.Mail"} <= named


def test_a_model_that_does_not_say_from_when_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Session, "ended")
    assert [text for text in complaints() if "vaults.Session" in text]


@pytest.mark.clause("P46")
@pytest.mark.clause("P70")
@pytest.mark.clause("P72")
def test_time_travel_leaves_nothing_past_its_period(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    leave_traces(deployment, member)
    longest = max(read_statement().days.values())
    for _ in range(longest // 15 + 2):
        clock.turn(days=15)
        sweep_once(deployment)
        forget_unconfirmed(now=clock())
        assert overdue(now=clock()) == 0
    assert not Session.objects.filter(vault__owner=member.account).exists()
    assert not EnrolmentCode.objects.filter(account=member.account).exists()
    assert not SecurityEvent.objects.filter(account=member.account).exists()
    assert not Request.objects.filter(subject=member.account.pk).exists()
    assert member.account.devices.count() == 1


@pytest.mark.clause("P13", aspect="beyond")
@pytest.mark.clause("P18", aspect="beyond")
def test_whole_addresses_go_after_thirty_days_and_the_entry_stays(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    leave_traces(deployment, member)
    clock.turn(days=29)
    sweep_once(deployment)
    assert SecurityEvent.objects.get(account=member.account).address == "192.0.2.7"
    clock.turn(days=1, seconds=1)
    sweep_once(deployment)
    left = SecurityEvent.objects.get(account=member.account)
    assert left.address is None
    assert left.network == "192.0.2.0/24"


def test_one_day_too_few_is_one_day_too_few(deployment: Deployment, member: Member, clock: Clock) -> None:
    leave_traces(deployment, member)
    clock.turn(days=364)
    sweep_once(deployment)
    assert Request.objects.filter(subject=member.account.pk).exists()


def test_counts_are_recorded_once_a_day(deployment: Deployment, member: Member, clock: Clock) -> None:
    clock.turn(days=1000)
    sweep_once(deployment)
    leave_traces(deployment, member)
    clock.turn(days=31)
    counts = sweep_once(deployment)
    assert counts["accounts.SecurityEvent.address"] >= 1
    assert counts["mail.Mail.to"] >= 1
    told = [entry for entry in entries_of_kind(Kind.RETENTION_SWEPT) if entry.said["deleted"] == counts]
    assert len(told) == 1
    assert member.account.email not in told[0].payload
    assert sweep_once(deployment) == {}


def test_a_column_counts_only_where_something_was_in_it(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    clock.turn(days=5000)  # what other tests left in their futures is gone by then
    sweep_once(deployment)
    for address in ("192.0.2.7", None):
        SecurityEvent.objects.create(
            account=member.account, at=clock(), kind=SecurityEvent.Kind.SIGNED_IN, method="password",
            address=address, network="192.0.2.0/24", browser="",
        )  # fmt: skip
    clock.turn(days=31)
    assert sweep_once(deployment) == {"accounts.SecurityEvent.address": 1}
    clock.turn(days=150)
    counts = sweep_once(deployment)
    assert (counts["accounts.SecurityEvent.network"], counts["accounts.SecurityEvent.account"]) == (2, 2)
    assert "accounts.SecurityEvent.address" not in counts
    assert "accounts.SecurityEvent.browser" not in counts


def test_what_the_law_holds_stays_until_it_does_not(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    leave_traces(deployment, member)
    with writing():
        place_hold(member.account, reason="a court asked", until=clock() + timedelta(days=100), now=clock())
    clock.turn(days=99)
    sweep_once(deployment)
    forget_unconfirmed(now=clock())
    assert SecurityEvent.objects.get(account=member.account).address == "192.0.2.7"
    assert overdue(now=clock()) == 0
    clock.turn(days=2)
    sweep_once(deployment)
    assert SecurityEvent.objects.get(account=member.account).address is None


def test_a_sweep_that_stopped_goes_on_and_counts_once(
    deployment: Deployment, member: Member, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.turn(days=2000)
    sweep_once(deployment)
    for _ in range(3):
        leave_traces(deployment, member)
    clock.turn(days=400)
    monkeypatch.setattr(sweep, "_AT_ONCE", 1)
    real = sweep.writing
    stopped = 0
    for allowed in range(100):
        left = [allowed]

        def some(left: list[int] = left) -> object:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return real()

        monkeypatch.setattr(sweep, "writing", some)
        try:
            sweep_once(deployment)
            break
        except KeyboardInterrupt:
            stopped += 1
    assert stopped > 3
    counts = Sweep.objects.get(day=clock().date()).counts
    assert counts["accounts.SecurityEvent.kind"] == 3
    forget_unconfirmed(now=clock())
    assert overdue(now=clock()) == 0


def test_an_account_that_nobody_confirmed_is_past_its_period(deployment: Deployment, clock: Clock) -> None:
    clock.turn(days=3000)
    forget_unconfirmed(now=clock())
    sweep_once(deployment)
    before = overdue(now=clock())
    kept, person = Person(deployment), Person(deployment)
    kept.register()
    person.register()
    with writing():
        place_hold(kept.account, reason="a court asked", until=clock() + timedelta(days=9), now=clock())
    clock.turn(days=6)
    assert overdue(now=clock()) == before
    clock.turn(days=1)
    sweep_once(deployment)  # their mails, too, are a week old
    assert overdue(now=clock()) == before + 1
    forget_unconfirmed(now=clock())
    assert overdue(now=clock()) == before
    assert kept.account.confirmed_at is None


def test_a_period_that_nothing_ends_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_LATE", {})
    assert complaints() == ["the statement promises 'unconfirmed', and nothing ends it"]


def test_switching_the_periods_off_would_be_seen(
    deployment: Deployment, member: Member, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_traces(deployment, member)
    clock.turn(days=400)
    monkeypatch.setattr(sweep, "rules", list)
    sweep_once(deployment)
    monkeypatch.undo()
    assert sum(due(rule, deployment, member) for rule in declared.rules()) > 3
    Sweep.objects.filter(day=clock().date()).delete()
    sweep_once(deployment)
    assert sum(due(rule, deployment, member) for rule in declared.rules()) == 0
