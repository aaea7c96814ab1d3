"""The staff's queue: letters with the day they came, and what staff may decide, and what they may not."""

from __future__ import annotations

import io
import secrets
import zipfile
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from muniment.server.accounts.addresses import change_address
from muniment.server.accounts.enrolment import create_account
from muniment.server.accounts.models import Account, Profile
from muniment.server.accounts.visits import Visit
from muniment.server.deployment import Deployment
from muniment.server.mail.models import Mail
from muniment.server.privacy.export import export_archive, read_archive
from muniment.server.privacy.ledger.entries import entries_of
from muniment.server.privacy.requests.asking import ask
from muniment.server.privacy.requests.holds import place_hold
from muniment.server.privacy.requests.incoming import take_in
from muniment.server.privacy.requests.machine import advance_requests
from muniment.server.privacy.requests.models import Channel, Erasure, Kind, Outcome, Request, TakenIn
from muniment.server.privacy.requests.queue import (
    NotForStaff,
    OwnLetter,
    Stage,
    Waiting,
    carry_out,
    enter_post,
    name_sender,
    queue,
    read_letter,
    turn_down,
    unverified,
    vouch_for,
)
from muniment.server.privacy.statement import read_statement
from muniment.server.transactions import writing
from tests.support.domain import Clock, Member
from tests.support.pages import Person, text

DAY = timedelta(days=1)


def one_of_staff(deployment: Deployment) -> Person:
    return Person(deployment).join().become_staff()


@pytest.fixture
def staff(deployment: Deployment) -> Person:
    return one_of_staff(deployment)


@pytest.fixture
def other(deployment: Deployment) -> Person:
    """Somebody else of staff."""
    return one_of_staff(deployment)


def colleague(clock: Clock) -> Account:
    with writing():
        return create_account(f"{uuid4().hex}@example.org", now=clock())


def letter(kind: Kind, clock: Clock, *, email: str = "", days: int = 0, **details: str) -> UUID:
    came, by = (clock() - days * DAY).date(), colleague(clock)
    return enter_post(kind, email=email, received=came, details=details, by=by, now=clock())


def row(ref: UUID) -> Request:
    return Request.objects.get(ref=ref)


@pytest.mark.clause("P87")
def test_a_letter_is_answered_from_the_day_it_came(
    deployment: Deployment, staff: Person, other: Person, clock: Clock, member: Member
) -> None:
    came = (clock() - 4 * DAY).date()
    values = {"email": member.account.email, "kind": "rectify", "detail": "city", "value": "Sligo"}
    assert staff.post("/console/requests", **values, received=came.isoformat()).status_code == 302
    one = Request.objects.get(email=member.account.email)
    assert (one.channel, one.received_at.date()) == (Channel.POST, came)
    assert one.due_at - one.received_at == 10 * DAY
    page = text(staff.get("/console/requests"))
    assert member.account.email not in page
    assert "compare the letter" in page
    assert staff.post(f"/console/requests/{one.ref}/read", reason=" ").status_code == 422
    page = text(staff.post(f"/console/requests/{one.ref}/read", reason="to compare the letter"))
    assert member.account.email in page
    advance_requests(deployment)
    assert row(one.ref).closed_at is None, "a letter proves nothing"
    assert other.post(f"/console/requests/{one.ref}/vouch").status_code == 302
    advance_requests(deployment)
    assert Profile.objects.get(account=member.account.pk).city == "Sligo"


@pytest.mark.parametrize("days", [-1, 10, 400])
def test_letters_of_tomorrow_or_long_ago_are_not_entered(staff: Person, clock: Clock, days: int) -> None:
    came = (clock() - days * DAY).date().isoformat()
    answer = staff.post("/console/requests", email="", kind="access", received=came)
    assert answer.status_code == 422
    assert "less than ten days ago" in text(answer)


def test_staff_decide_only_what_no_program_can_do(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    email = member.account.email
    erasing = letter(Kind.ERASE, clock, email=email)
    removing = letter(Kind.PUBLIC_REMOVAL, clock, email=email, words="the entry of May")
    for ref in (erasing, removing):
        with pytest.raises(NotForStaff):  # nobody knows yet whom it is from
            carry_out(ref, changes={}, by=colleague(clock), now=clock())
        vouch_for(ref, by=colleague(clock), now=clock())
        with pytest.raises(NotForStaff):
            vouch_for(ref, by=colleague(clock), now=clock())
    with pytest.raises(NotForStaff):
        carry_out(erasing, changes={}, by=colleague(clock), now=clock())
    with pytest.raises(NotForStaff):
        turn_down(erasing, reason="we would rather not", by=colleague(clock), now=clock())
    turn_down(removing, reason="Somebody else wrote it.", by=colleague(clock), now=clock())
    assert row(removing).outcome == Outcome.REFUSED
    assert "Somebody else wrote it." in Mail.objects.filter(to=email).order_by("-id")[0].text
    assert row(erasing).outcome == Outcome.OPEN


def test_on_the_word_of_staff_alone_nobody_is_erased_at_once(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    """A letter said to have come nine days ago is due tomorrow; its subject has three days all the same."""
    ref = letter(Kind.ERASE, clock, email=member.account.email, days=9)
    vouch_for(ref, by=colleague(clock), now=clock())
    assert row(ref).runs_at == clock() + timedelta(hours=72)


def test_a_correction_in_words_is_made_by_staff(deployment: Deployment, member: Member, clock: Clock) -> None:
    ref = letter(Kind.RECTIFY, clock, email=member.account.email, words="I moved to Cork")
    vouch_for(ref, by=colleague(clock), now=clock())
    advance_requests(deployment)
    for wrong in ({}, {"password": "x"}, {"postcode": "x" * 21}):
        with pytest.raises(ValueError, match=r".+"):
            carry_out(ref, changes=wrong, by=colleague(clock), now=clock())
    carry_out(ref, changes={"city": "Cork"}, by=colleague(clock), now=clock())
    assert Profile.objects.get(account=member.account.pk).city == "Cork"
    assert row(ref).outcome == Outcome.DONE


def test_the_queue_says_what_each_waits_for(deployment: Deployment, member: Member, clock: Clock) -> None:
    refs = {
        Stage.LETTER: letter(Kind.ACCESS, clock, email="somebody@example.org"),
        Stage.NAMELESS: letter(Kind.ACCESS, clock),
        Stage.ITSELF: letter(Kind.ERASE, clock, email=member.account.email),
        Stage.STAFF: letter(Kind.PUBLIC_REMOVAL, clock, days=9, words="the entry of May"),
    }
    for stage in (Stage.ITSELF, Stage.STAFF):
        vouch_for(refs[stage], by=colleague(clock), now=clock())
    with writing():
        place_hold(member.account, reason="a court asked", until=clock() + 90 * DAY, now=clock())
    advance_requests(deployment)
    lines = {one.request.ref: one for one in queue(now=clock()).lines}
    assert {stage: lines[ref].stage for stage, ref in refs.items()} == {stage: stage for stage in refs}
    assert [ref for ref, line in lines.items() if line.is_held] == [refs[Stage.ITSELF]]
    assert lines[refs[Stage.STAFF]].alarm == 8
    said = {
        stage: read_letter(refs[stage], reason="to answer it", now=clock())
        for stage in (Stage.ITSELF, Stage.STAFF)
    }
    assert said[Stage.ITSELF].held == "a court asked"
    assert said[Stage.STAFF].words == "the entry of May"
    order = [one.request.due for one in queue(now=clock()).lines]
    assert order == sorted(order)


@pytest.mark.parametrize("kind", [Kind.ERASE, Kind.ACCESS, Kind.RESTRICT, Kind.RECTIFY])
def test_a_letter_that_names_nobody_is_not_called_done(
    deployment: Deployment, clock: Clock, kind: Kind
) -> None:
    """Not even one that was vouched for when that could be."""
    details = {"words": "my name is wrong"} if kind is Kind.RECTIFY else {}
    ref, old = letter(kind, clock, **details), letter(kind, clock, **details)
    Request.objects.filter(ref=old).update(verified_at=clock(), vouched_by=colleague(clock), runs_at=clock())
    for one in (ref, old):
        with pytest.raises(NotForStaff):
            vouch_for(one, by=colleague(clock), now=clock())
        with pytest.raises(NotForStaff):
            carry_out(one, changes={"city": "Cork"}, by=colleague(clock), now=clock())
    assert "names nobody" in dict(advance_requests(deployment).waiting)[old]
    for one in (ref, old):
        assert (row(one).outcome, Erasure.objects.filter(request__ref=one).exists()) == (Outcome.OPEN, False)
        turn_down(one, reason="We found no account of this name.", by=colleague(clock), now=clock())
        assert row(one).outcome == Outcome.REFUSED


def test_staff_name_the_account_of_a_letter_and_others_vouch_for_it(
    deployment: Deployment, staff: Person, other: Person, clock: Clock, member: Member
) -> None:
    ref, email = letter(Kind.ERASE, clock), member.account.email
    assert "whose account it is about" in text(staff.get("/console/requests"))
    staff.post(f"/console/requests/{ref}/name", email="nobody")
    assert "no e-mail address" in text(staff.get("/console/requests"))
    staff.post(f"/console/requests/{ref}/name", email=email.upper())
    assert (row(ref).email, row(ref).subject_id) == (email, member.account.pk)
    assert "/privacy/request/" in Mail.objects.filter(to=email).order_by("-id")[0].text
    with pytest.raises(NotForStaff):
        name_sender(ref, email=staff.email, by=other.account, now=clock())
    with pytest.raises(OwnLetter):
        vouch_for(ref, by=staff.account, now=clock())
    vouch_for(ref, by=other.account, now=clock())
    clock.turn(days=3)
    advance_requests(deployment)
    assert not Account.objects.filter(email=email).exists()


def test_a_letter_from_an_address_that_its_account_left_is_named_anew(
    deployment: Deployment, clock: Clock, member: Member
) -> None:
    ref, after = letter(Kind.RESTRICT, clock, email=member.account.email), f"{uuid4().hex}@example.org"
    change_address(member.account, after, visit=Visit.of("192.0.2.1", "x"), now=clock())
    with pytest.raises(NotForStaff):
        vouch_for(ref, by=colleague(clock), now=clock())
    name_sender(ref, email=after, by=colleague(clock), now=clock())
    vouch_for(ref, by=colleague(clock), now=clock())
    advance_requests(deployment)
    assert row(ref).outcome == Outcome.DONE


def test_what_anybody_can_send_has_a_list_of_its_own(
    staff: Person, deployment: Deployment, clock: Clock
) -> None:
    with writing():
        unknown = take_in(
            Kind.ERASE, channel=Channel.MAIL, email="somebody@example.org", details={}, now=clock()
        )
    known = letter(Kind.ACCESS, clock)
    assert unknown in {one.request.ref for one in unverified(now=clock()).lines}
    assert unknown not in {one.request.ref for one in queue(now=clock()).lines}
    assert known in {one.request.ref for one in queue(now=clock()).lines}
    assert known not in {one.request.ref for one in unverified(now=clock()).lines}
    page = text(staff.get("/console/requests"))
    assert "Nobody knows yet whom these are from" in page
    assert "somebody@example.org" not in page
    beside = unverified(now=clock()).unanswered
    TakenIn.objects.create(mail=secrets.token_bytes(32), at=clock())
    assert f"{beside + 1} more mail" in text(staff.get("/console/requests"))
    assert staff.post(f"/console/requests/{unknown}/done").status_code == 302
    assert row(unknown).outcome == Outcome.OPEN


def test_the_queue_is_read_a_page_at_a_time_and_holds_at_once(
    staff: Person, deployment: Deployment, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muniment.server.privacy.requests.queue.AT_ONCE", 3)
    people = [Member.first(deployment) for _ in range(7)]
    refs = [letter(Kind.ERASE, clock, email=one.account.email) for one in people]
    for ref, one in zip(refs, people, strict=True):
        vouch_for(ref, by=colleague(clock), now=clock())
        with writing():
            place_hold(one.account, reason="a court asked", until=clock() + DAY, now=clock())
    lines, more, number = list[Waiting](), True, 0
    while more:
        number += 1
        with CaptureQueriesContext(connection) as asked:
            found = queue(now=clock(), page=number)
        assert len(asked) == 2, "the lines of the page, and all holds"
        assert len(found.lines) <= 3
        lines, more = lines + found.lines, found.has_more
    seen = [one.request.ref for one in lines]
    assert len(seen) == len(set(seen))
    assert set(refs) <= {one.request.ref for one in lines if one.is_held}
    assert "Less urgent" in text(staff.get("/console/requests"))
    assert "More urgent" in text(staff.get("/console/requests?page=2"))
    for nothing in ("999999999999999999", "0", "-1", "x"):
        assert staff.get(f"/console/requests?page={nothing}").status_code == 200


def test_the_page_acts_and_says_so(staff: Person, deployment: Deployment, clock: Clock) -> None:
    refs = [letter(Kind.PUBLIC_REMOVAL, clock, words=f"entry {n}") for n in range(2)]
    for ref in refs:
        assert staff.post(f"/console/requests/{ref}/vouch").status_code == 302
    assert staff.post(f"/console/requests/{refs[0]}/refuse", reason=" ").status_code == 302
    assert "refusal gives its reason" in text(staff.get("/console/requests"))
    staff.post(f"/console/requests/{refs[0]}/refuse", reason="It is not here.")
    staff.post(f"/console/requests/{refs[1]}/done")
    assert [row(ref).outcome for ref in refs] == [Outcome.REFUSED, Outcome.DONE]
    assert staff.post(f"/console/requests/{refs[1]}/done").status_code == 404


def test_customers_find_no_queue(deployment: Deployment) -> None:
    customer = Person(deployment).join()
    customer.prove()
    assert customer.get("/console/requests").status_code == 404
    assert Person(deployment).get("/console/requests").status_code in (302, 404)


@pytest.mark.clause("P45")
def test_who_entered_a_letter_does_not_vouch_for_it(
    deployment: Deployment, staff: Person, other: Person, clock: Clock, member: Member
) -> None:
    staff.post("/console/requests", email=member.account.email, kind="erase", received=str(clock().date()))
    one = Request.objects.get(email=member.account.email)
    page = text(staff.get("/console/requests")).split(f'id="r{one.ref.hex}"')[1].split("</li>")[0]
    assert "You entered it. Somebody else has to compare it." in page
    assert "/vouch" not in page
    staff.post(f"/console/requests/{one.ref}/vouch")
    assert row(one.ref).verified_at is None
    with pytest.raises(OwnLetter):
        vouch_for(one.ref, by=staff.account, now=clock())
    with pytest.raises(IntegrityError), transaction.atomic():
        Request.objects.filter(ref=one.ref).update(vouched_by=staff.account)
    other.post(f"/console/requests/{one.ref}/vouch")
    assert (row(one.ref).entered_by, row(one.ref).vouched_by) == (staff.account, other.account)


def test_staff_see_who_did_what_and_the_person_that_it_was_one_of_them(
    deployment: Deployment, staff: Person, other: Person, clock: Clock
) -> None:
    asker = Person(deployment).join()
    ref = enter_post(
        Kind.PUBLIC_REMOVAL, email=asker.email, received=clock().date(), details={"words": "it"},
        by=staff.account, now=clock(),
    )  # fmt: skip
    other.post(f"/console/requests/{ref}/vouch")
    staff.post(f"/console/requests/{ref}/refuse", reason="Somebody else wrote it.")
    page = text(other.get("/console/requests"))
    for words in (f"Entered by {staff.email}", f"Compared by {other.email}", f"Closed by {staff.email}"):
        assert words in page
    entries = {entry.leaf.kind: entry.said for entry in entries_of(asker.account)}
    assert entries["request_verified"]["by"] == entries["request_refused"]["by"] == "a member of staff"
    assert "by a member of staff" in text(asker.get("/requests"))
    copy = b"".join(export_archive(asker.account.pk, read_statement(), now=clock()))
    (held,) = read_archive(io.BytesIO(copy))[Request._meta.label]
    assert [held[name] for name in ("entered_by", "vouched_by", "closed_by")] == ["a member of staff"] * 3
    with zipfile.ZipFile(io.BytesIO(copy)) as archive:
        everything = b"".join(archive.read(name) for name in archive.namelist())
    for shown in (everything, text(asker.get("/requests")).encode(), text(asker.get("/ledger")).encode()):
        assert staff.email.encode() not in shown
        assert other.email.encode() not in shown


def test_whoever_leaves_the_staff_can_be_deleted(deployment: Deployment, staff: Person, clock: Clock) -> None:
    """What they did stays done; who it was goes with them."""
    ref, gone = letter(Kind.PUBLIC_REMOVAL, clock, words="the entry of May"), staff.account
    vouch_for(ref, by=gone, now=clock())
    carry_out(ref, changes={}, by=gone, now=clock())
    ask(deployment, gone, Kind.ERASE)
    clock.turn(days=3)
    advance_requests(deployment)
    assert not Account.objects.filter(email=staff.email).exists()
    assert (row(ref).outcome, row(ref).vouched_by_id, row(ref).closed_by_id) == (Outcome.DONE, None, None)
