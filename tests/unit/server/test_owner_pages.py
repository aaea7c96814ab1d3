"""The owner's pages: one verdict, machines, half a year, profile, devices, what waits for confirmation."""

from __future__ import annotations

import re
from datetime import timedelta
from uuid import uuid4

import pytest

from muniment.server.accounts.models import Device
from muniment.server.deployment import Deployment
from muniment.server.mail.suppression import may_send_marketing
from muniment.server.portal import telling
from muniment.server.portal.calendar import calendar_of
from muniment.server.privacy.consent.choices import Subject, choose
from muniment.server.privacy.consent.effect import State
from muniment.server.privacy.consent.notices import notice_for
from muniment.server.privacy.ledger.entries import entries_of
from muniment.server.privacy.ledger.kinds import Kind as Ledger
from muniment.server.privacy.requests.models import Request
from muniment.server.privacy.requests.objecting import stands_against
from muniment.server.privacy.statement import read_statement
from muniment.server.refusals import Refusal
from muniment.server.transactions import writing
from muniment.server.vaults.confirmations import Operator, confirm
from muniment.server.vaults.models import Confirmation, Run, Vault
from muniment.server.vaults.overview import DayState, MachineState, overview_of
from muniment.server.web.context import now
from muniment.wire.errors import ErrorCode
from tests.support.domain import Clock, Member, refusal_of
from tests.support.pages import Person, text
from tests.support.visitor import text_of

BACKEND = "allauth.account.auth_backends.AuthenticationBackend"


@pytest.fixture
def owner(deployment: Deployment, member: Member) -> Person:
    """The member's owner, signed in afresh."""
    person = Person(deployment, email=member.account.email)
    member.account.set_password("quiet lantern harbour")
    member.account.save()
    person.browser.force_login(member.account, backend=BACKEND)
    person.prove()
    return person


def back_up(member: Member) -> None:
    if not member.session:
        member.open_session()
    member.commit(member.draft([member.put()]))


def report(member: Member, clock: Clock, *, outcome: str = "done", **coverage: int) -> None:
    access = member.access()
    Run.objects.create(
        vault=access.vault, device=access.writer, set_ref=uuid4(), outcome=outcome, coverage=coverage,
        bytes_bound=1, seconds=1.0, client_version="x", received_at=clock(),
    )  # fmt: skip


def test_the_verdict_follows_what_happened(deployment: Deployment, member: Member, clock: Clock) -> None:
    def told() -> tuple[str, str, MachineState]:
        seen = overview_of(member.account.pk, now=clock())
        verdict = telling.verdict(seen.machines, now=clock())
        return verdict.state, verdict.heading, seen.machines[0].state

    assert told() == ("attention", "Nothing is backed up yet", MachineState.NEW)
    back_up(member)
    report(member, clock, read=3, unchanged=9)
    assert told() == ("proven", "Everything is safe", MachineState.SAFE)
    clock.turn(minutes=5)
    report(member, clock, outcome="incomplete", read=3, unreadable=2)
    assert told() == ("attention", "Safe, with a gap", MachineState.GAP)
    clock.turn(minutes=5)
    report(member, clock, outcome="failed")
    assert told() == ("bad", "One machine failed to back up", MachineState.FAILED)
    clock.turn(days=4)
    assert told() == ("attention", "One machine is quiet", MachineState.QUIET)


def test_a_quiet_machine_among_safe_ones_is_named(
    deployment: Deployment, member: Member, clock: Clock, owner: Person
) -> None:
    back_up(member)
    Device.objects.filter(ref=member.device).update(name="studio-mac")
    clock.turn(days=6)
    other = member.beside()
    other.open_session()
    other.commit(other.draft([other.put()], parent=None))
    page = text(owner.get("/overview"))
    assert "Everything is safe, one machine is quiet" in page
    assert "studio-mac backed up last 6 days ago." in page


def test_half_a_year_is_whole_weeks_and_says_each_day(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    back_up(member)
    clock.turn(days=2)
    report(member, clock, outcome="failed")
    days = overview_of(member.account.pk, now=clock()).days
    assert days[0].day.weekday() == 0
    assert days[-1].day == clock().date()
    assert 25 * 7 < len(days) <= 26 * 7
    assert [day.state for day in days[-3:]] == [DayState.COMPLETE, DayState.EMPTY, DayState.FAILED]
    drawn = calendar_of(days)
    assert len(drawn.cells) == len(days)
    assert f"<title>{days[-1].day:%-d %B %Y}: failed</title>" in drawn.drawing
    assert f' y="{days[-1].day.weekday() * 23}"' in drawn.drawing.splitlines()[-1]
    assert drawn.drawing.count("<rect ") == len(days)
    assert drawn.summary == f"Backups arrived on 1 of the last {len(days)} days."


@pytest.mark.parametrize(
    ("back", "words"),
    [
        (timedelta(seconds=10), "just now"), (timedelta(minutes=1), "1 minute ago"),
        (timedelta(minutes=59), "59 minutes ago"), (timedelta(hours=5), "5 hours ago"),
        (timedelta(hours=25), "yesterday"), (timedelta(days=6), "6 days ago"),
        (timedelta(days=-1), "just now"),
    ],
)  # fmt: skip
def test_times_are_told_as_people_do(back: timedelta, words: str) -> None:
    now = Clock()()
    assert telling.ago(now - back, now=now) == words
    assert telling.ago(None, now=now) == "never"


def test_the_profile_shows_every_personal_column_with_purpose_and_end(owner: Person) -> None:
    page = text(owner.get("/profile"))
    for label in ("E-mail address", "Country", "Phone number", "Company name", "Of age", "Account made"):
        assert label in page
    assert "To let a person, and only that person, use the account." in page
    assert "Until the account is closed or erased." in page
    assert "Delete Account" in page
    assert re.search(r"<td[^>]*>\d{1,2} [A-Z][a-z]+ \d{4}, \d\d:\d\d UTC", page), "as on every other page"
    told, _, untold = page.partition('<details class="untold">')
    assert ("E-mail address" in told, "Company name" in told, "Company name" in untold) == (True, False, True)


def test_what_was_asked_stands_before_what_can_be_asked(owner: Person) -> None:
    page = text(owner.get("/requests"))
    assert page.index("What you asked") < page.index("Take a copy") < page.index("Object to a use")


def test_what_was_objected_to_is_not_asked_again_and_leaves_no_time_to_think(owner: Person) -> None:
    offered = '<input type="hidden" name="purpose" value="security">'
    assert offered in text(owner.get("/requests"))
    assert owner.post("/requests/object", purpose="security").status_code == 302
    page = text(owner.get("/requests"))
    assert (offered in page, "you objected" in page) == (False, True)
    [letter] = owner.mails("We have your request")
    assert "change your mind" not in text_of(letter)
    owner.post("/profile/delete")
    assert "change your mind" in text_of(owner.mails("We have your request")[-1])


@pytest.mark.parametrize("stopped", ["security", ""])
def test_what_was_stopped_is_allowed_again_by_its_owner_alone(
    deployment: Deployment, member: Member, owner: Person, stopped: str
) -> None:
    owner.post("/requests/object", purpose=stopped)
    assert "Allow it again" in text(owner.get("/requests"))
    stolen = Person(deployment, email=owner.email)
    stolen.browser.force_login(member.account, backend=BACKEND)
    asked = stolen.post("/requests/allow", purpose=stopped)
    assert asked.headers["location"] == "/accounts/again?next=%2Frequests"
    assert stands_against(member.account.pk, "security")
    assert owner.post("/requests/allow", purpose=stopped).status_code == 302
    assert not stands_against(member.account.pk, "security")
    assert "Allow it again" not in text(owner.get("/requests"))
    [entry] = [one for one in entries_of(member.account) if one.leaf.kind == Ledger.USE_ALLOWED_AGAIN]
    assert entry.said["purpose"] == stopped
    assert owner.post("/requests/allow", purpose=stopped).status_code == 404


def test_nothing_optional_is_mailed_while_all_use_is_restricted(member: Member, owner: Person) -> None:
    notice = notice_for(read_statement().purposes["promotion"], gpc=False)
    with writing():
        choose(Subject(member.account), "promotion", State.GRANTED, notice=notice, method="test", now=now())

    def may_send() -> bool:
        return may_send_marketing(owner.email, member.account, purpose="promotion", now=now())

    assert may_send()
    owner.post("/requests/object")
    assert not may_send()
    owner.post("/requests/allow")
    assert may_send()


def test_the_overview_says_that_the_account_will_be_deleted(owner: Person) -> None:
    assert "will be deleted" not in text(owner.get("/overview"))
    assert owner.post("/profile/delete").status_code == 302
    assert "Your account will be deleted" in text(owner.get("/overview"))


def test_vaults_without_a_name_take_no_column(member: Member, owner: Person) -> None:
    back_up(member)
    assert 'data-label="Vault"' not in text(owner.get("/devices"))
    Vault.objects.filter(owner=member.account).update(name="attic")
    assert '<td data-label="Vault">attic</td>' in text(owner.get("/devices"))


def test_details_are_changed_and_taken_back(owner: Person) -> None:
    assert owner.post("/profile/details", phone="5550100", name="a person").status_code == 302
    assert owner.account.profile.phone == "5550100"
    assert owner.post("/profile/details", phone="", name="").status_code == 302
    assert owner.account.profile.phone == ""
    assert owner.post("/profile/details", phone="", allowance="9").status_code == 400
    assert owner.post("/profile/country", country="FR").status_code == 302
    assert owner.account.country == "FR"
    assert owner.post("/profile/country", country="XX").status_code == 422


def test_revoking_a_device_ends_it_at_once(deployment: Deployment, member: Member, owner: Person) -> None:
    beside = member.beside()
    assert owner.get(f"/devices/{_uuid(beside.device)}/revoke").status_code == 200
    assert owner.post(f"/devices/{_uuid(beside.device)}/revoke").status_code == 302
    assert refusal_of(beside.access).code is ErrorCode.NOT_GRANTED
    assert member.access().vault is not None
    assert owner.post(f"/devices/{_uuid(beside.device)}/revoke").status_code == 404
    assert "A device was revoked" in text(owner.get("/devices"))


def test_a_request_is_confirmed_after_a_fresh_sign_in(member: Member, owner: Person) -> None:
    beside = member.beside()
    member.ask("revoke_device", beside.device)
    row = Confirmation.objects.get(subject_ref__in=[_uuid(beside.device)])
    assert "Revoke the device" in text(owner.get("/confirmations"))
    assert owner.post(f"/confirmations/{row.ref}/confirm").status_code == 302
    row.refresh_from_db()
    assert (row.state, row.decided_by) == ("done", "owner")
    assert isinstance(refusal_of(beside.access), Refusal)


def test_an_old_session_keeps_nothing_that_its_owner_wants_gone(
    deployment: Deployment, member: Member, owner: Person
) -> None:
    """A stolen laptop is signed in still: it cannot undo that its key goes, nor that everything goes."""
    member.add_slot()
    gone = member.add_slot(kind="kit")
    member.ask("remove_slot", gone, member.removal_of(gone))
    removal = Confirmation.objects.get(subject_ref=_uuid(gone))
    owner.post(f"/confirmations/{removal.ref}/confirm")
    owner.post("/profile/delete")
    erasure = Request.objects.get(subject=member.account, kind="erase")
    stolen = Person(deployment, email=owner.email)
    stolen.browser.force_login(member.account, backend=BACKEND)
    undo, keep = f"/confirmations/{removal.ref}/refuse", f"/requests/{erasure.ref}/take-back"
    for path in (undo, keep):
        answer = stolen.post(path)
        assert answer.headers["location"].startswith("/accounts/again")
        assert stolen.post("/accounts/again", password="not it").status_code == 200
    removal.refresh_from_db()
    erasure.refresh_from_db()
    assert (removal.state, erasure.closed_at) == ("confirmed", None)
    owner.post(undo)
    owner.post(keep)
    removal.refresh_from_db()
    erasure.refresh_from_db()
    assert (removal.state, erasure.outcome) == ("undone", "withdrawn")
    assert owner.mails("Your request was taken back")


def test_what_was_asked_with_an_old_session_is_asked_for_once_more_after_the_fresh_sign_in(
    deployment: Deployment, member: Member, owner: Person
) -> None:
    owner.post("/profile/delete")
    erasure = Request.objects.get(subject=member.account, kind="erase")
    later = Person(deployment, email=owner.email)
    later.browser.force_login(member.account, backend=BACKEND)
    asked = f"/requests/{erasure.ref}/take-back"
    assert later.post(asked).headers["location"] == "/accounts/again?next=%2Frequests"
    again = later.post("/accounts/again", password="quiet lantern harbour", next="/requests")
    assert again.headers["location"] == "/requests"
    erasure.refresh_from_db()
    assert erasure.closed_at is None
    assert later.submit("/requests", later.get("/requests"), asked).status_code == 302
    erasure.refresh_from_db()
    assert erasure.outcome == "withdrawn"


def test_a_removal_waits_and_can_be_undone(member: Member, owner: Person, clock: Clock) -> None:
    member.add_slot()
    gone = member.add_slot(kind="kit")
    member.ask("remove_slot", gone, member.removal_of(gone))
    row = Confirmation.objects.get(subject_ref=_uuid(gone))
    owner.post(f"/confirmations/{row.ref}/confirm")
    row.refresh_from_db()
    assert row.state == "confirmed"
    assert "until then you can undo it" in text(owner.get("/confirmations"))
    assert owner.post(f"/confirmations/{row.ref}/refuse").status_code == 302
    row.refresh_from_db()
    assert row.state == "undone"


def test_what_an_operator_decided_is_shown_with_the_reason(
    deployment: Deployment, member: Member, owner: Person
) -> None:
    beside = member.beside()
    member.ask("revoke_device", beside.device)
    row = Confirmation.objects.get(subject_ref=_uuid(beside.device))
    confirm(deployment, row.ref, by=Operator("the owner rang: the laptop was stolen"))
    page = text(owner.get("/confirmations"))
    assert "What the operator decided in your place" in page
    assert "the owner rang: the laptop was stolen" in page


def test_a_code_is_shown_once(owner: Person) -> None:
    page = text(owner.post("/devices/code"))
    code = page.split('id="code">')[1].split("<")[0]
    assert len(code) > 40
    assert code not in text(owner.get("/devices/code"))


def _uuid(text: str) -> str:
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
