"""A buyer gets what is held about people only after they could take it along, delete it or object."""

from __future__ import annotations

import itertools
import json
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import connections

from muniment.main.embedded import Operator
from muniment.server.accounts.models import Account
from muniment.server.deployment import Deployment
from muniment.server.mail.models import Mail
from muniment.server.privacy.gate.decide import Reason
from muniment.server.privacy.ledger.entries import entries_of, record
from muniment.server.privacy.ledger.kinds import Kind as Record
from muniment.server.privacy.purposes import Purpose, purpose
from muniment.server.privacy.requests.asking import ask, change_mind
from muniment.server.privacy.requests.machine import advance_requests, open_request, verify_request
from muniment.server.privacy.requests.models import Channel, Kind
from muniment.server.privacy.retention.sweep import sweep_once
from muniment.server.privacy.statement import read_statement
from muniment.server.privacy.succession import handing_over
from muniment.server.privacy.succession.handing_over import (
    Made,
    NoSuchHandOver,
    NoSuchSuccession,
    TooEarly,
    check_notice,
    declare,
    deliver,
    fetch_lines,
    fields_to_hand_over,
    make_hand_over,
    tell_everybody,
)
from muniment.server.privacy.succession.models import HandOver, Succession, SuccessionNotice
from muniment.server.privacy.succession.overview import read_successions
from muniment.server.transactions import writing
from tests.support.domain import Clock, Member
from tests.support.pages import Person, text


@pytest.fixture(autouse=True)
def nobody_else() -> None:
    """The tests share a database, and everybody in it would be told."""
    SuccessionNotice.objects.all().delete()
    HandOver.objects.all().delete()
    Succession.objects.all().delete()


def declared(deployment: Deployment, *among: Member) -> UUID:
    """Of everybody in the database only these are told in time, if any are named: a file takes its time."""
    now = deployment.now()
    with writing():
        ref = declare(
            "a company that buys us", now=now, country="IE", transfer_basis="standard contractual clauses"
        )
    if among:
        row, known = Succession.objects.get(ref=ref), [one.account.pk for one in among]
        SuccessionNotice.objects.bulk_create(
            SuccessionNotice(account=other, succession=row, told_at=now + timedelta(days=9999))
            for other in Account.objects.exclude(pk__in=known)
        )
    return ref


def file_of(deployment: Deployment, made: Made) -> list[dict[str, Any]]:
    """What the buyer gets; nothing where nobody may be handed over."""
    try:
        return [json.loads(line) for line in fetch_lines(made.ref, now=deployment.now())]
    except NoSuchHandOver:
        return []


def give(deployment: Deployment, ref: UUID, member: Member) -> list[dict[str, Any]]:
    """The lines about this one person, of a file made now."""
    lines = file_of(deployment, make_hand_over(deployment, ref))
    return [line for line in lines if line["accounts.Account.email"] == [member.account.email]]


@pytest.mark.clause("P40", aspect="off")
def test_nothing_is_handed_over_unless_it_was_declared_and_told(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    with pytest.raises(NoSuchSuccession):
        give(deployment, UUID(int=7), member)
    ref = declared(deployment)
    clock.turn(days=90)
    assert give(deployment, ref, member) == []
    with pytest.raises(TooEarly, match="not told"):
        check_notice(Succession.objects.get(ref=ref), None, now=clock())


@pytest.mark.clause("P40", aspect="allowed")
def test_after_thirty_days_what_is_held_goes_over(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    ref = declared(deployment)
    assert tell_everybody(now=clock()) == Account.objects.count()
    assert tell_everybody(now=clock()) == 0
    mail = Mail.objects.filter(to=member.account.email).latest("id")
    assert "a company that buys us" in mail.text
    assert "22 December 2026" in mail.text
    clock.turn(days=30)
    assert len(give(deployment, ref, member)) == 1
    kinds = [entry.leaf.kind for entry in entries_of(member.account)]
    assert {Record.SUCCESSION_ANNOUNCED, Record.SUCCESSION_DONE, Record.DISCLOSED} <= set(kinds)
    assert SuccessionNotice.objects.get(account=member.account).handed_over_at == clock()


def test_who_was_told_stays_told_when_a_later_mail_fails(
    deployment: Deployment, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(21):
        Member.first(deployment)
    declared(deployment)
    told: list[str] = []

    def dies(*words: Any, email: str, **named: Any) -> None:
        if len(told) == 20:
            raise OSError("the disk is full")
        told.append(email)

    monkeypatch.setattr("muniment.server.privacy.succession.handing_over.notify", dies)
    with pytest.raises(OSError, match="full"):
        tell_everybody(now=clock())
    assert SuccessionNotice.objects.count() == 20


@pytest.mark.clause("P40", aspect="beyond")
def test_not_a_second_too_early(deployment: Deployment, member: Member, clock: Clock) -> None:
    ref = declared(deployment, member)
    clock.turn(days=5)
    tell_everybody(now=clock())
    clock.turn(days=30, seconds=-1)
    assert give(deployment, ref, member) == []
    clock.turn(seconds=1)
    assert len(give(deployment, ref, member)) == 1


@pytest.mark.clause("P40", aspect="beyond")
@pytest.mark.parametrize("kind", [Kind.OBJECT, Kind.RESTRICT])
def test_who_objects_stays_out(deployment: Deployment, member: Member, clock: Clock, kind: Kind) -> None:
    ref = declared(deployment, member)
    tell_everybody(now=clock())
    with writing():
        asked = open_request(
            kind, channel=Channel.PAGE, email=member.account.email, now=clock(), subject=member.account,
            details={"purpose": "succession"},
        )  # fmt: skip
        verify_request(asked, now=clock())
    advance_requests(deployment)
    clock.turn(days=31)
    assert give(deployment, ref, member) == []
    entry = entries_of(member.account)[0]
    assert entry.leaf.kind == Record.DISCLOSURE_REFUSED
    assert entry.said["reason"] in (Reason.OBJECTED, Reason.RESTRICTED)
    assert SuccessionNotice.objects.get(account=member.account).handed_over_at is None


@pytest.mark.clause("P40", aspect="beyond")
def test_nobody_gets_what_proves_who_somebody_is(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    fields = fields_to_hand_over(read_statement())
    assert "accounts.Account.email" in fields
    for secret in ("accounts.Account.password", "accounts.Device.token_sha256", "accounts.Device.public_key"):
        assert secret not in fields
    with pytest.raises(ValueError, match="a name and a country"), writing():
        declare(" ", country="IE", transfer_basis="", now=clock())


def test_the_file_has_a_line_for_each_person_and_none_twice(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    ref = declared(deployment, member)
    tell_everybody(now=clock())
    early = make_hand_over(deployment, ref)
    assert (early.given, early.kept) == (0, Account.objects.count())
    assert HandOver.objects.count() == 0
    clock.turn(days=30)
    made = make_hand_over(deployment, ref)
    lines = file_of(deployment, made)
    assert len(lines) == made.given
    assert made.given + made.kept == Account.objects.count()
    assert [member.account.email] in [line["accounts.Account.email"] for line in lines]
    deliver(made.ref, now=clock())
    assert file_of(deployment, made) == []
    assert not SuccessionNotice.objects.exclude(line="").exists()
    assert make_hand_over(deployment, ref).given == 0


def test_the_file_is_fetched_until_it_arrived_and_is_always_the_same(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    """Somebody who may be handed over later is in the next file: what arrived is what was fetched."""
    ref = declared(deployment, member)
    tell_everybody(now=clock())
    clock.turn(days=15)
    late = Member.first(deployment)
    tell_everybody(now=clock())
    clock.turn(days=15)
    made = make_hand_over(deployment, ref)
    lines = fetch_lines(made.ref, now=clock())
    first = [next(lines)]
    lines.close()  # type: ignore[attr-defined]
    whole = file_of(deployment, made)
    assert [json.loads(line) for line in first] == whole[:1]
    clock.turn(days=15)
    again = make_hand_over(deployment, ref)
    assert (again.ref, again.given) == (made.ref, 0)
    assert file_of(deployment, again) == whole
    deliver(made.ref, now=clock())
    with pytest.raises(NoSuchHandOver):
        deliver(made.ref, now=clock())
    assert len(give(deployment, ref, late)) == 1
    kinds = [entry.leaf.kind for entry in entries_of(member.account)]
    assert kinds.count(Record.SUCCESSION_DONE) == 1


@pytest.mark.parametrize("after", [0, 1, 3])
def test_making_it_is_stopped_and_goes_on(
    deployment: Deployment, member: Member, clock: Clock, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Between any two people: who is marked has a line, and nobody is recorded twice."""
    people = [member, *(Member.first(deployment) for _ in range(3))]
    ref = declared(deployment, *people)
    tell_everybody(now=clock())
    clock.turn(days=30)
    monkeypatch.setattr(handing_over, "_AT_ONCE", 2)
    count = itertools.count()

    def dies(*given: Any, **named: Any) -> int:
        if next(count) == after:
            raise KeyboardInterrupt
        return record(*given, **named)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(handing_over, "record", dies)
        make_hand_over(deployment, ref)
    assert not SuccessionNotice.objects.filter(handed_over_at__isnull=False, line="").exists()
    half = HandOver.objects.get()
    assert half.made_at is None
    with pytest.raises(NoSuchHandOver):
        fetch_lines(half.ref, now=clock())
    made = make_hand_over(deployment, ref)
    assert made.ref == half.ref
    marked = SuccessionNotice.objects.filter(handed_over_at__isnull=False)
    assert len(file_of(deployment, made)) == marked.count() == len(people)
    for one in people:
        kinds = [entry.leaf.kind for entry in entries_of(one.account)]
        assert kinds.count(Record.SUCCESSION_DONE) == kinds.count(Record.DISCLOSED) == 1


def test_two_of_staff_at_once_make_one_file(
    deployment: Deployment, member: Member, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [member, *(Member.first(deployment) for _ in range(5))]
    ref = declared(deployment, *people)
    tell_everybody(now=clock())
    clock.turn(days=30)
    monkeypatch.setattr(handing_over, "_AT_ONCE", 2)
    begin = threading.Barrier(2)

    def make() -> Made:
        try:
            begin.wait(30)
            with purpose(*Purpose):
                return make_hand_over(deployment, ref)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        made = [one.result() for one in [pool.submit(make) for _ in range(2)]]
    assert len({one.ref for one in made}) == 1
    lines = file_of(deployment, made[0])
    assert len(lines) == sum(one.given for one in made) == len(people)
    assert len({str(line["accounts.Account.email"]) for line in lines}) == len(lines)
    kinds = [entry.leaf.kind for entry in entries_of(member.account)]
    assert kinds.count(Record.SUCCESSION_DONE) == 1


@pytest.mark.parametrize("asked", [Kind.OBJECT, Kind.ERASE])
def test_who_objects_or_leaves_meanwhile_is_in_no_later_copy(
    deployment: Deployment, member: Member, clock: Clock, asked: Kind
) -> None:
    ref = declared(deployment, member)
    tell_everybody(now=clock())
    clock.turn(days=30)
    made = make_hand_over(deployment, ref)
    everybody = len(file_of(deployment, made))
    ask(deployment, member.account, asked, details={"purpose": "succession"} if asked is Kind.OBJECT else {})
    assert len(file_of(deployment, made)) == everybody - 1
    (seen,) = read_successions(now=clock())
    assert seen.lines == everybody - 1
    clock.turn(days=3)
    advance_requests(deployment)
    kept = SuccessionNotice.objects.filter(account=member.account.pk)
    assert kept.exists() is (asked is Kind.OBJECT), "an erasure reaches the line"


def test_who_asked_to_be_deleted_is_not_handed_over_while_that_waits(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    ref = declared(deployment, member)
    tell_everybody(now=clock())
    clock.turn(days=30)
    asked = ask(deployment, member.account, Kind.ERASE)
    made = make_hand_over(deployment, ref)
    assert SuccessionNotice.objects.get(account=member.account).handed_over_at is None
    if made.given:
        deliver(made.ref, now=clock())
    change_mind(deployment, member.account, asked)
    assert len(give(deployment, ref, member)) == 1


def test_a_file_that_nobody_fetched_goes_after_thirty_days_and_can_be_made_again(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    ref = declared(deployment, member)
    tell_everybody(now=clock())
    clock.turn(days=30)
    made = make_hand_over(deployment, ref)
    lines = file_of(deployment, made)
    clock.turn(days=30)
    assert sweep_once(deployment)["privacy_succession.SuccessionNotice.line"] == len(lines)
    assert file_of(deployment, made) == []
    again = make_hand_over(deployment, ref)
    assert (again.ref, again.given) == (made.ref, len(lines))
    assert len(file_of(deployment, again)) == len(lines)


def test_somebody_new_is_told_and_has_thirty_days_too(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    ref = declared(deployment, member)
    tell_everybody(now=clock())
    clock.turn(days=29)
    late = Member.first(deployment)
    assert tell_everybody(now=clock()) == 1
    clock.turn(days=2)
    assert give(deployment, ref, late) == []
    assert SuccessionNotice.objects.get(account=late.account).told_at + timedelta(days=30) > clock()


def test_staff_see_numbers_of_people_and_who_may_go_now(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    others = [Member.first(deployment) for _ in range(2)]
    ref = declared(deployment, member, *others)
    tell_everybody(now=clock())
    (seen,) = read_successions(now=clock())
    assert (seen.told, seen.handed_over, seen.due) == (Account.objects.count(), 0, 0)
    before = seen.objected
    ask(deployment, member.account, Kind.OBJECT, details={"purpose": "succession"})
    clock.turn(days=30)
    (seen,) = read_successions(now=clock())
    assert (seen.objected, seen.due) == (before + 1, len(others))
    made = make_hand_over(deployment, ref)
    (seen,) = read_successions(now=clock())
    assert (seen.handed_over, seen.due, seen.lines) == (made.given, 0, made.given) == (2, 0, 2)


def test_staff_make_fetch_and_tick_off_the_file(deployment: Deployment, member: Member, clock: Clock) -> None:
    ref = declared(deployment, member)
    tell_everybody(now=clock())
    clock.turn(days=30)
    one = Person(deployment).join().become_staff()
    assert "Hand over 1 person" in text(one.get("/console/succession"))
    one.post(f"/console/succession/{ref}/hand-over")
    made = HandOver.objects.get()
    page = text(one.get("/console/succession"))
    assert "A file of 1 person was made" in page
    assert f"/console/succession/{ref}/hand-over" not in page
    for _ in range(2):
        answer = one.post(f"/console/hand-over/{made.ref}/file")
        assert f"succession-{made.ref.hex[:8]}" in answer.headers["Content-Disposition"]
        (line,) = b"".join(answer).splitlines()
        assert json.loads(line)["accounts.Account.email"] == [member.account.email]
    one.post(f"/console/hand-over/{made.ref}/delivered")
    assert "Our copy of the file is deleted." in text(one.get("/console/succession"))
    for act in ("file", "delivered"):
        assert one.post(f"/console/hand-over/{made.ref}/{act}").status_code == 404


def test_who_declared_a_buyer_does_not_hand_over_too(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    one, another = (Person(deployment).join().become_staff() for _ in range(2))
    one.post("/console/succession", buyer="a company", country="IE", transfer_basis="clauses", certain="on")
    row = Succession.objects.get()
    tell_everybody(now=clock())
    clock.turn(days=30)
    for each in (one, another):
        each.sign_in()
        each.prove()
    assert f"/console/succession/{row.ref}/hand-over" not in text(one.get("/console/succession"))
    one.post(f"/console/succession/{row.ref}/hand-over")
    assert not HandOver.objects.exists()
    assert "Somebody else has to hand over." in text(one.get("/console/succession"))
    another.post(f"/console/succession/{row.ref}/hand-over")
    assert HandOver.objects.get().begun_by == another.account


def test_the_command_writes_a_file_of_the_operator_alone(
    deployment: Deployment, member: Member, clock: Clock, tmp_path: Path
) -> None:
    """Where it cannot write, nobody is lost: what was made waits for the next call."""
    ref, operator, target = declared(deployment, member), Operator(deployment), tmp_path / "people.ndjson"
    tell_everybody(now=clock())
    assert operator.hand_over(ref, target) == (0, Account.objects.count())
    assert not target.exists()
    clock.turn(days=30)
    with pytest.raises(FileNotFoundError):
        operator.hand_over(ref, tmp_path / "nowhere" / "people.ndjson")
    target.write_text("something else")
    with pytest.raises(FileExistsError):
        operator.hand_over(ref, target)
    target.unlink()
    given, kept = operator.hand_over(ref, target)
    assert (given, given + kept) == (1, Account.objects.count())
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert json.loads(target.read_text())["accounts.Account.email"] == [member.account.email]
    assert not SuccessionNotice.objects.exclude(line="").exists()
