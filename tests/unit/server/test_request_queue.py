"""The staff's queue: letters with the day they came, and what staff may decide, and what they may not."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from muniment.server.accounts.models import Account, Profile
from muniment.server.deployment import Deployment
from muniment.server.mail.models import Mail
from muniment.server.privacy.requests.holds import place_hold
from muniment.server.privacy.requests.incoming import take_in
from muniment.server.privacy.requests.machine import advance_requests
from muniment.server.privacy.requests.models import Channel, Kind, Outcome, Request
from muniment.server.privacy.requests.queue import (
    NotForStaff,
    Stage,
    Waiting,
    carry_out,
    enter_post,
    queue,
    read_letter,
    turn_down,
    unverified,
    vouch_for,
)
from muniment.server.transactions import writing
from tests.support.domain import Clock, Member
from tests.support.pages import Person, text

DAY = timedelta(days=1)


@pytest.fixture
def staff(deployment: Deployment) -> Person:
    person = Person(deployment).join()
    Account.objects.filter(email=person.email).update(is_staff=True)
    person.prove()
    return person


def letter(kind: Kind, clock: Clock, *, email: str = "", days: int = 0, **details: str) -> UUID:
    return enter_post(kind, email=email, received=(clock() - days * DAY).date(), details=details, now=clock())


def row(ref: UUID) -> Request:
    return Request.objects.get(ref=ref)


@pytest.mark.clause("P87")
def test_a_letter_is_answered_from_the_day_it_came(
    deployment: Deployment, staff: Person, clock: Clock, member: Member
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
    assert staff.post(f"/console/requests/{one.ref}/vouch").status_code == 302
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
            carry_out(ref, changes={}, now=clock())
        vouch_for(ref, now=clock())
        with pytest.raises(NotForStaff):
            vouch_for(ref, now=clock())
    with pytest.raises(NotForStaff):
        carry_out(erasing, changes={}, now=clock())
    with pytest.raises(NotForStaff):
        turn_down(erasing, reason="we would rather not", now=clock())
    turn_down(removing, reason="Somebody else wrote it.", now=clock())
    assert row(removing).outcome == Outcome.REFUSED
    assert "Somebody else wrote it." in Mail.objects.filter(to=email).order_by("-id")[0].text
    assert row(erasing).outcome == Outcome.OPEN


def test_on_the_word_of_staff_alone_nobody_is_erased_at_once(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    """A letter said to have come nine days ago is due tomorrow; its subject has three days all the same."""
    ref = letter(Kind.ERASE, clock, email=member.account.email, days=9)
    vouch_for(ref, now=clock())
    assert row(ref).runs_at == clock() + timedelta(hours=72)


def test_a_correction_in_words_is_made_by_staff(deployment: Deployment, member: Member, clock: Clock) -> None:
    ref = letter(Kind.RECTIFY, clock, email=member.account.email, words="I moved to Cork")
    vouch_for(ref, now=clock())
    advance_requests(deployment)
    for wrong in ({}, {"password": "x"}, {"postcode": "x" * 21}):
        with pytest.raises(ValueError, match=r".+"):
            carry_out(ref, changes=wrong, now=clock())
    carry_out(ref, changes={"city": "Cork"}, now=clock())
    assert Profile.objects.get(account=member.account.pk).city == "Cork"
    assert row(ref).outcome == Outcome.DONE


def test_the_queue_says_what_each_waits_for(deployment: Deployment, member: Member, clock: Clock) -> None:
    refs = {
        Stage.LETTER: letter(Kind.ACCESS, clock),
        Stage.ITSELF: letter(Kind.ERASE, clock, email=member.account.email),
        Stage.STAFF: letter(Kind.PUBLIC_REMOVAL, clock, days=9, words="the entry of May"),
    }
    for stage in (Stage.ITSELF, Stage.STAFF):
        vouch_for(refs[stage], now=clock())
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
    assert staff.post(f"/console/requests/{unknown}/done").status_code == 302
    assert row(unknown).outcome == Outcome.OPEN


def test_the_queue_is_read_a_page_at_a_time_and_holds_at_once(
    staff: Person, deployment: Deployment, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muniment.server.privacy.requests.queue.AT_ONCE", 3)
    people = [Member.first(deployment) for _ in range(7)]
    refs = [letter(Kind.ERASE, clock, email=one.account.email) for one in people]
    for ref, one in zip(refs, people, strict=True):
        vouch_for(ref, now=clock())
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
