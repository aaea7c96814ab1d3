"""The register of breaches: its clock, who has to be told, and that nothing is closed before they were."""

from __future__ import annotations

import io
import secrets
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import IntegrityError
from django.utils.html import escape

from muniment.server.accounts.models import Account
from muniment.server.console.breaches import BreachForm
from muniment.server.deployment import Deployment
from muniment.server.mail.models import Mail
from muniment.server.privacy.breaches import register
from muniment.server.privacy.breaches.models import CLOCK, Affected, Breach, Risk
from muniment.server.privacy.breaches.notice import notice_of
from muniment.server.privacy.breaches.register import (
    Found,
    NoSuchBreach,
    NotYet,
    advance_breaches,
    close,
    count_late,
    enter,
    judge,
    read_register,
    report,
    widen,
)
from muniment.server.privacy.export import export_archive, read_archive
from muniment.server.privacy.ledger.entries import entries_of
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.operator import Operator
from muniment.server.privacy.purposes import Purpose, ReadWithoutPurpose, afresh
from muniment.server.privacy.requests.asking import ask
from muniment.server.privacy.requests.machine import advance_requests
from muniment.server.privacy.requests.models import Kind as Asked
from muniment.server.privacy.statement import read_statement
from muniment.server.transactions import writing
from tests.support.domain import Clock, Member
from tests.support.ledger import entries_of_kind

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _an_empty_register(deployment: Deployment) -> None:
    """The database is shared, and jobs look at all that is open."""
    Affected.objects.all().delete()
    Breach.objects.all().delete()


def entered(clock: Clock, *people: Member, hours: float = 0, **said: object) -> UUID:
    """A breach that was noticed so many hours ago."""
    values: dict[str, object] = {
        "happened": f"A copy was left on a train {secrets.token_hex(4)}",
        "noticed_at": clock() - hours * HOUR,
        "categories": frozenset({"contact", "device"}),
        "people": frozenset(one.account.email for one in people),
    }
    return enter(Found(**{**values, **said}), now=clock())  # type: ignore[arg-type]


def judged(ref: UUID, risk: Risk, clock: Clock) -> None:
    judge(ref, risk, consequences="Somebody may write to you.", measures="The copy was wiped.", now=clock())


def reported(ref: UUID, clock: Clock) -> None:
    report(ref, authority="Data Protection Commission, 17", at=clock(), now=clock())


def row(ref: UUID) -> Breach:
    return Breach.objects.get(ref=ref)


def told(member: Member) -> list[Mail]:
    return list(Mail.objects.filter(to=member.account.email, message="DataBreached"))


@pytest.mark.clause("A4")
def test_nothing_is_closed_before_the_authority_and_people_were_told(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    other = Member.first(deployment)
    ref = entered(clock, member)

    def refused(why: str) -> None:
        with pytest.raises(NotYet, match=why):
            close(ref, outcome="The copy came back.", now=clock())

    refused("judge first")
    judged(ref, Risk.HIGH, clock)
    refused("authority")
    reported(ref, clock)
    refused("people")
    assert advance_breaches(now=clock()) == 1
    assert advance_breaches(now=clock()) == 0
    assert row(ref).told_at == clock()
    [mail] = told(member)
    for said in (row(ref).happened, "Somebody may write to you.", "The copy was wiped.", "e-mail address"):
        assert said in mail.text
    assert not told(other)
    close(ref, outcome="The copy came back.", now=clock())
    with pytest.raises(NoSuchBreach):
        judged(ref, Risk.NONE, clock)
    kinds = [entry.leaf.kind for entry in entries_of(member.account)]
    assert Kind.BREACH_TOLD in kinds
    steps = (Kind.BREACH_ENTERED, Kind.BREACH_JUDGED, Kind.BREACH_REPORTED, Kind.BREACH_CLOSED)
    mine = [one.leaf.kind for one in entries_of_kind(*steps) if one.said["breach"] == ref.hex]
    assert mine == list(steps)


@pytest.mark.clause("A4")
@pytest.mark.parametrize(("risk", "needs_authority"), [(Risk.NONE, False), (Risk.SOME, True)])
def test_who_has_to_be_told_follows_from_the_harm(
    deployment: Deployment, member: Member, clock: Clock, risk: Risk, needs_authority: bool
) -> None:
    ref = entered(clock, member)
    judged(ref, risk, clock)
    advance_breaches(now=clock())
    assert not told(member)
    if needs_authority:
        with pytest.raises(NotYet, match="authority"):
            close(ref, outcome="over", now=clock())
        reported(ref, clock)
    close(ref, outcome="over", now=clock())
    assert row(ref).closed_at == clock()


def test_the_clock_runs_from_noticing_and_rings_twice(deployment: Deployment, clock: Clock) -> None:
    ref = entered(clock, hours=20)
    assert row(ref).due_at - row(ref).noticed_at == CLOCK
    alarms = []
    for _ in range(6):
        advance_breaches(now=clock())
        advance_breaches(now=clock())
        alarms.append(read_register(now=clock())[0].alarm)
        clock.turn(hours=12)
    assert alarms == [0, 24, 24, 48, 48, 48]
    assert read_register(now=clock())[0].is_late
    assert count_late(clock()).value == 1
    rung = [one.said["hours"] for one in entries_of_kind(Kind.BREACH_ALARM) if one.said["breach"] == ref.hex]
    assert rung == [24, 48]
    with pytest.raises(ValueError, match="say why"):
        reported(ref, clock)
    report(ref, authority="the authority", at=clock(), why_late="nobody was there", now=clock())
    assert count_late(clock()).value == 0


def test_what_harms_nobody_rings_no_alarm(deployment: Deployment, clock: Clock) -> None:
    ref = entered(clock)
    judged(ref, Risk.NONE, clock)
    clock.turn(days=9)
    advance_breaches(now=clock())
    assert row(ref).alarms == 0
    assert count_late(clock()).value == 0


def test_everybody_is_everybody_who_was_there_and_in_batches(
    deployment: Deployment, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(register, "_AT_ONCE", 7)
    first = Member.first(deployment)
    ref = entered(clock, everybody=True)
    there = Account.objects.filter(created_at__lte=clock()).count()
    clock.turn(minutes=1)
    later = Member.first(deployment)
    judged(ref, Risk.HIGH, clock)
    assert advance_breaches(now=clock()) == there
    assert advance_breaches(now=clock()) == 0
    assert len(told(first)) == 1
    assert not told(later)


def test_more_people_are_told_once_more_is_known(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    ref, other = entered(clock, member), Member.first(deployment)
    judged(ref, Risk.HIGH, clock)
    advance_breaches(now=clock())
    widen(ref, people=[other.account.email.upper()], categories=["network"], now=clock())
    reported(ref, clock)
    with pytest.raises(NotYet, match="people"):
        close(ref, outcome="over", now=clock())
    assert advance_breaches(now=clock()) == 1
    assert (len(told(member)), len(told(other))) == (1, 1)
    assert row(ref).categories == ["contact", "device", "network"]


def test_a_stop_in_the_middle_tells_nobody_twice(
    deployment: Deployment, member: Member, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [Member.first(deployment) for _ in range(3)]
    ref = entered(clock, *people)
    judged(ref, Risk.HIGH, clock)
    monkeypatch.setattr(register, "_AT_ONCE", 2)
    real, left = register.notify, [3]

    def some(*said: object, **more: object) -> None:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        real(*said, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(register, "notify", some)
    left[0] = 2  # the first batch, and nothing of the second
    with pytest.raises(KeyboardInterrupt):
        advance_breaches(now=clock())
    assert sum(len(told(one)) for one in people) == 2
    assert row(ref).told_at is None
    left[0] = 99
    advance_breaches(now=clock())
    assert [len(told(one)) for one in people] == [1, 1, 1]


def test_who_of_the_staff_acted_stands_there_until_they_leave(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    ref = entered(clock)
    judge(ref, Risk.NONE, consequences="none", measures="none", now=clock(), by=member.account)
    close(ref, outcome="over", now=clock(), by=member.account)
    email = member.account.email
    assert read_register(now=clock())[0].did == (("Judged", email), ("Closed", email))
    steps = entries_of_kind(Kind.BREACH_JUDGED, Kind.BREACH_CLOSED)
    assert not [one for one in steps if email in one.payload or str(member.account.ref) in one.payload]
    ask(deployment, member.account, Asked.ERASE)
    clock.turn(hours=73)
    advance_requests(deployment)
    assert not Account.objects.filter(pk=member.account.pk).exists()
    assert read_register(now=clock())[0].did == ()


def test_what_cannot_be_entered(deployment: Deployment, member: Member, clock: Clock) -> None:
    for wrong, why in (
        ({"happened": " "}, "what happened"),
        ({"categories": frozenset()}, "which kinds"),
        ({"categories": frozenset({"shoe sizes"})}, "shoe sizes"),
        ({"noticed_at": clock() + HOUR}, "before now"),
        ({"people": frozenset({"nobody@example.org"})}, "no account has the address"),
    ):
        with pytest.raises(ValueError, match=why):
            entered(clock, **wrong)  # type: ignore[arg-type]
    assert Breach.objects.count() == 0, "nothing is entered by half"
    ref = entered(clock)
    with pytest.raises(ValueError, match="whose data"):
        judged(ref, Risk.HIGH, clock)
    with pytest.raises(ValueError, match="how likely"):
        judge(ref, Risk.SOME, consequences="", measures="x", now=clock())
    with pytest.raises(ValueError, match="which authority"):
        report(ref, authority=" ", at=clock(), now=clock())
    for at in (clock() + HOUR, clock() - HOUR):
        with pytest.raises(ValueError, match="when it was told"):
            report(ref, authority="an authority", at=at, now=clock())
    reported(ref, clock)
    with pytest.raises(ValueError, match="already"):
        reported(ref, clock)
    with pytest.raises(ValueError, match="what came of it"):
        close(ref, outcome=" ", now=clock())


def test_every_kind_of_data_stands_open_on_the_form() -> None:
    drawn = str(BreachForm()["categories"])
    assert [kind for kind in read_statement().categories.values() if escape(kind.text) not in drawn] == []
    assert "<details" not in drawn, "kinds have no groups that could be folded"


@pytest.mark.parametrize(
    "change",
    [
        {"due": 2_000_000_000}, {"outcome": "over"}, {"reported": 1_999_999_999},
    ],
)  # fmt: skip
def test_the_database_itself_holds_the_clock_and_the_end(
    deployment: Deployment, clock: Clock, change: dict[str, object]
) -> None:
    ref = entered(clock)
    with pytest.raises(IntegrityError), writing():
        Breach.objects.filter(ref=ref).update(**change)


@pytest.mark.parametrize("risk", ["", "some", "high"])
def test_the_database_itself_keeps_open_what_nobody_was_told_of(
    deployment: Deployment, clock: Clock, risk: str
) -> None:
    ref = entered(clock)
    with pytest.raises(IntegrityError), writing():
        Breach.objects.filter(ref=ref).update(risk=risk, outcome="over", closed_at=clock())


def test_the_notice_says_what_the_law_asks_and_what_is_not_known(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    ref = entered(clock, member)
    text = notice_of(ref, Operator(name="a family", mail="privacy@backup.example.org"))
    for said in (row(ref).happened, "a family", "contact: ", "device: ", "People concerned\n1\n", ref.hex):
        assert said in text
    assert text.count("Not known yet.") == 2
    assert member.account.email not in text
    judged(ref, Risk.SOME, clock)
    text = notice_of(ref, Operator())
    assert "The copy was wiped." in text
    assert "fill this in" in text
    assert "Not known yet." not in text
    found = [part for part in text.split("\n\n") if part.startswith("Records concerned")]
    assert int(found[0].splitlines()[1]) >= 2, "the account and its device"


def test_people_see_that_they_were_affected_and_it_goes_with_them(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    ref = entered(clock, member)
    copy = b"".join(export_archive(member.account.pk, read_statement(), now=clock()))
    assert len(read_archive(io.BytesIO(copy))["privacy_breaches.Affected"]) == 1
    ask(deployment, member.account, Asked.ERASE)
    clock.turn(hours=73)
    advance_requests(deployment)
    assert not Account.objects.filter(pk=member.account.pk).exists()
    assert not Affected.objects.filter(breach__ref=ref).exists()
    assert row(ref).happened


def test_the_register_reads_whose_data_it_is_only_for_its_purpose(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    ref = entered(clock, member)
    judged(ref, Risk.HIGH, clock)
    one = Affected.objects.get(breach__ref=ref)
    with afresh(Purpose.SIGN_IN), pytest.raises(ReadWithoutPurpose):
        assert one.account_id
    with afresh():
        assert read_register(now=clock())[0].people == 1
        assert advance_breaches(now=clock()) == 1
