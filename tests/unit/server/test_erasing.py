"""Erasing a person: all of it, resumable, stopped only by the law, and never called done before it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from django.db import connection

from muniment.server.accounts.addresses import ask_change, change_address
from muniment.server.accounts.models import Account, Guardianship
from muniment.server.accounts.visits import Visit
from muniment.server.deployment import Deployment
from muniment.server.jobs.timetable import TIMETABLE
from muniment.server.mail.models import Mail
from muniment.server.privacy import ports
from muniment.server.privacy.export import export_archive, read_archive
from muniment.server.privacy.ledger.kinds import Kind as Record
from muniment.server.privacy.ledger.models import LeafRow
from muniment.server.privacy.ledger.verification import verify_document
from muniment.server.privacy.requests import erasing, machine
from muniment.server.privacy.requests.erasing import Replayed, left_of, replay_erasures, retry_replays
from muniment.server.privacy.requests.holds import place_hold
from muniment.server.privacy.requests.incoming import confirm_link, link_of, take_in
from muniment.server.privacy.requests.machine import (
    TooLate,
    advance_requests,
    open_request,
    take_back,
    verify_request,
)
from muniment.server.privacy.requests.models import Channel, Erasure, Kind, Outcome, Request
from muniment.server.privacy.requests.receipts import NoReceipt, find_receipt, receipt_path
from muniment.server.privacy.requests.tombstones import (
    FILE,
    KEPT,
    bury,
    bury_address,
    clear_old,
    names,
    tomb_of,
)
from muniment.server.privacy.statement import read_statement
from muniment.server.transactions import writing
from muniment.server.vaults.models import Vault
from tests.support.domain import Clock, Member
from tests.support.pages import Person

DAY = timedelta(days=1)


def ask_erasure(deployment: Deployment, member: Member) -> UUID:
    with writing():
        ref = open_request(
            Kind.ERASE, channel=Channel.PAGE, email=member.account.email, now=deployment.now(),
            subject=member.account,
        )  # fmt: skip
        verify_request(ref, now=deployment.now())
    return ref


def erase(deployment: Deployment, member: Member, clock: Clock) -> UUID:
    ref = ask_erasure(deployment, member)
    clock.turn(days=3)
    advance_requests(deployment)
    return ref


@pytest.mark.clause("P16")
def test_nothing_is_left_and_the_receipt_says_how_much_went(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    person, vault = member.account.pk, UUID(hex=member.vault)
    member.open_session()
    member.put()
    ref = erase(deployment, member, clock)
    assert left_of(person) == []
    assert not Account.objects.filter(pk=person).exists()
    assert not Vault.objects.filter(ref=vault).exists()
    assert deployment.objects.remove_all(vault.hex) == 0
    request = Request.objects.get(ref=ref)
    assert (request.outcome, request.email, request.subject_id) == (Outcome.DONE, "", None)
    erasure = Erasure.objects.get(request=request)
    assert erasure.deleted["accounts.Account"] == 1
    assert erasure.deleted["vaults: vaults"] == 1


@pytest.mark.clause("P17")
def test_the_receipt_verifies_offline_after_the_person_is_gone(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    ref = erase(deployment, member, clock)
    _, _, hexed, mark = receipt_path(ref).split("/")
    receipt = find_receipt(UUID(hexed), mark).document
    assert receipt is not None
    assert receipt["content"]["deleted"]["accounts.Account"] == 1
    told = verify_document(json.loads(json.dumps(receipt)))
    assert told
    receipt["content"]["deleted"]["accounts.Account"] = 2
    with pytest.raises(Exception, match=r".+"):
        verify_document(receipt)
    for wrong in ("0" * 32, mark[:-1]):
        with pytest.raises(NoReceipt):
            find_receipt(UUID(hexed), wrong)


def test_three_days_to_change_ones_mind(deployment: Deployment, member: Member, clock: Clock) -> None:
    ref = ask_erasure(deployment, member)
    clock.turn(days=3, seconds=-1)
    advance_requests(deployment)
    assert Account.objects.filter(pk=member.account.pk).exists()
    with writing():
        take_back(ref, subject=member.account, now=deployment.now())
    clock.turn(days=30)
    advance_requests(deployment)
    assert Account.objects.filter(pk=member.account.pk).exists()


class Failing:
    """Fails until it is mended."""

    name = "failing"
    broken = True

    def erase(self, deployment: Deployment, account: int) -> Mapping[str, int]:
        if self.broken:
            raise OSError("the store is away")
        return {"things": 3}


def test_what_failed_half_way_goes_on_and_never_reports_early(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    failing = Failing()
    ports.register_eraser(failing)
    try:
        ref = ask_erasure(deployment, member)
        clock.turn(days=3)
        before = LeafRow.objects.filter(kind=Record.ERASED).count()
        for _ in range(2):
            assert (ref, "OSError") in advance_requests(deployment).waiting
            request = Request.objects.get(ref=ref)
            assert (request.outcome, request.email) == (Outcome.OPEN, member.account.email)
            assert LeafRow.objects.filter(kind=Record.ERASED).count() == before
            assert find_receipt(ref, receipt_path(ref).rpartition("/")[2]).document is None
        with pytest.raises(TooLate), writing():
            take_back(ref, subject=member.account, now=deployment.now())
        failing.broken = False
        assert replay_erasures(deployment) == Replayed(), "its request goes on with it, and counts"
        advance_requests(deployment)
    finally:
        ports._ERASERS.pop(failing.name)
    assert Erasure.objects.get(request__ref=ref).deleted["failing: things"] == 3
    assert left_of(member.account.pk) == []


def test_stopping_after_every_step_loses_and_doubles_nothing(
    deployment: Deployment, member: Member, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction of each step commits or not; whichever it was, going on ends with the same counts."""
    email = member.account.email
    other = Member.first(deployment)
    expected = dict(Erasure.objects.get(request__ref=erase(deployment, other, clock)).deleted)
    ref = ask_erasure(deployment, member)
    clock.turn(days=3)
    stops = 0
    real = erasing.writing

    class Stopped(BaseException):
        pass

    for allowed in range(60):
        left = [allowed]

        def some_writing(left: list[int] = left) -> object:
            if left[0] == 0:
                raise Stopped
            left[0] -= 1
            return real()

        monkeypatch.setattr(erasing, "writing", some_writing)
        try:
            advance_requests(deployment)
        except Stopped:
            stops += 1
            continue
        break
    monkeypatch.undo()
    assert stops > 10
    assert Erasure.objects.get(request__ref=ref).deleted == expected
    assert not Request.objects.filter(email=email).exists()


def test_the_receipt_goes_out_though_the_run_stopped_just_before_it(
    deployment: Deployment, member: Member, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By then nothing else knows the address any more, and the link to the receipt stands nowhere else."""
    email = member.account.email
    ref = ask_erasure(deployment, member)
    clock.turn(days=3)

    def stopped(*_: object, **__: object) -> None:
        raise OSError("stopped after the last deletion")

    monkeypatch.setattr(machine, "_shut", stopped)
    advance_requests(deployment)
    assert left_of(member.account.pk) == []
    assert not Mail.objects.filter(to=email, text__contains=receipt_path(ref)).exists()
    monkeypatch.undo()
    advance_requests(deployment)
    assert Request.objects.get(ref=ref).outcome == Outcome.DONE
    assert Mail.objects.filter(to=email, text__contains=receipt_path(ref)).count() == 1
    assert not Request.objects.filter(email=email).exists()


def ask_by_address(email: str, clock: Clock) -> UUID:
    """Somebody without an account, who used the mailed link."""
    with writing():
        ref = take_in(Kind.ERASE, channel=Channel.PAGE, email=email, now=clock())
    confirm_link(link_of(Request.objects.get(ref=ref)), kind=Kind.ERASE, now=clock())
    return ref


def said_erased(email: str) -> bool:
    return Mail.objects.filter(to=email, text__contains="held about you is deleted").exists()


def test_an_account_that_was_made_meanwhile_is_never_called_deleted_and_has_its_own_three_days(
    deployment: Deployment, clock: Clock
) -> None:
    people = [Person(deployment), Person(deployment)]
    refs = [ask_by_address(person.email, clock) for person in people]
    for person in people:
        person.join()
    clock.turn(days=3)
    waiting = dict(advance_requests(deployment).waiting)
    for person, ref in zip(people, refs, strict=True):
        assert ref in waiting
        assert not said_erased(person.email)
        asked = Request.objects.get(ref=ref)
        assert (asked.subject_id, asked.runs_at) == (person.account.pk, clock() + 3 * DAY)
        told = Mail.objects.filter(to=person.email).order_by("-id")[0].text
        assert f"{asked.runs_at:%-d %B %Y, %H:%M}" in told
        assert "/requests" in told
    with writing():
        take_back(refs[0], subject=people[0].account, now=clock())
    clock.turn(days=3)
    advance_requests(deployment)
    assert Account.objects.filter(email=people[0].email).exists()
    assert not Account.objects.filter(email=people[1].email).exists()
    assert said_erased(people[1].email)
    assert Erasure.objects.get(request__ref=refs[1]).deleted["accounts.Account"] == 1


def test_an_account_that_nobody_confirmed_goes_with_its_address(deployment: Deployment, clock: Clock) -> None:
    """It is nobody's; and whoever fills the form again and again must not keep the owner's from going."""
    person = Person(deployment)
    ref = ask_by_address(person.email, clock)
    person.register()
    clock.turn(days=3)
    advance_requests(deployment)
    assert Request.objects.get(ref=ref).outcome == Outcome.DONE
    assert not Account.objects.filter(email=person.email).exists()


@pytest.mark.parametrize("confirmed", [True, False])
def test_an_account_that_is_made_while_its_address_is_erased_is_never_called_deleted(
    deployment: Deployment, clock: Clock, monkeypatch: pytest.MonkeyPatch, confirmed: bool
) -> None:
    person = Person(deployment)
    ref = ask_by_address(person.email, clock)
    clock.turn(days=3)
    real = machine.erase_person

    def erase_person(deployment: Deployment, erasure: Erasure) -> None:
        real(deployment, erasure)
        if erasure.request.ref == ref:
            person.join() if confirmed else person.register()

    monkeypatch.setattr(machine, "erase_person", erase_person)
    assert ref in dict(advance_requests(deployment).waiting)
    monkeypatch.undo()
    assert not said_erased(person.email)
    advance_requests(deployment)
    assert Account.objects.filter(email=person.email).exists() is confirmed
    assert said_erased(person.email) is not confirmed
    assert Erasure.objects.filter(request__ref=ref).exists() is not confirmed


def test_the_receipt_follows_its_owner_to_another_address(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    before, after = member.account.email, f"{uuid4().hex}@example.org"
    ask_erasure(deployment, member)
    change_address(member.account, after, visit=Visit.of("192.0.2.1", "x"), now=clock())
    other = Person(deployment, email=before).join()
    clock.turn(days=3)
    advance_requests(deployment)
    assert said_erased(after)
    assert not said_erased(before)
    assert Account.objects.filter(pk=other.account.pk).exists()


@pytest.mark.clause("P46")
@pytest.mark.clause("P72")
def test_only_a_hold_stops_it_and_only_until_it_ends(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    with writing():
        place_hold(member.account, reason="a court asked", until=clock() + 20 * DAY, now=clock())
    ref = erase(deployment, member, clock)
    assert Request.objects.get(ref=ref).outcome == Outcome.OPEN
    assert ref in dict(advance_requests(deployment).waiting)
    assert Account.objects.filter(pk=member.account.pk).exists()
    clock.turn(days=17)
    advance_requests(deployment)
    assert Request.objects.get(ref=ref).outcome == Outcome.DONE


def test_what_a_hold_stopped_before_it_began_can_be_taken_back(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    with writing():
        place_hold(member.account, reason="a court asked", until=clock() + 20 * DAY, now=clock())
    ref = erase(deployment, member, clock)
    with writing():
        take_back(ref, subject=member.account, now=clock())
    clock.turn(days=20)
    advance_requests(deployment)
    assert Account.objects.filter(pk=member.account.pk).exists()


def test_a_restored_database_is_erased_again(deployment: Deployment, member: Member) -> None:
    bury(deployment.config.data, member.account.ref, now=deployment.now())
    assert replay_erasures(deployment) == Replayed(erased=1)
    assert left_of(member.account.pk) == []
    assert replay_erasures(deployment) == Replayed()


def guardians_address(member: Member, clock: Clock, email: str) -> Guardianship:
    return Guardianship.objects.create(account=member.account, email=email, asked_at=clock())


@pytest.mark.parametrize("is_asked", [True, False])
def test_a_restored_database_forgets_again_what_was_erased_by_address(
    deployment: Deployment, member: Member, clock: Clock, is_asked: bool
) -> None:
    """The backup is from before it was confirmed, or from before it was asked."""
    email = f"{uuid4().hex}@example.org"
    held = guardians_address(member, clock, email)
    ref = ask_by_address(email, clock)
    clock.turn(days=3)
    advance_requests(deployment)
    held.refresh_from_db()
    assert held.email == ""
    assert email not in (deployment.config.data / FILE).read_text()
    Guardianship.objects.filter(pk=held.pk).update(email=email)
    assert replay_erasures(deployment) == Replayed(), "it is known here: what came since stays"
    held.refresh_from_db()
    assert held.email == email
    Erasure.objects.filter(request__ref=ref).delete()
    Request.objects.filter(ref=ref).delete()
    if is_asked:
        with writing():
            again = take_in(Kind.ERASE, channel=Channel.PAGE, email=email, now=clock())
            Request.objects.filter(ref=again).update(ref=ref)
    assert replay_erasures(deployment) == Replayed(erased=1)
    held.refresh_from_db()
    assert held.email == ""
    asked = Request.objects.get(ref=ref)
    assert (asked.outcome, asked.email) == (Outcome.DONE, "")
    Guardianship.objects.filter(pk=held.pk).update(email=email)
    assert replay_erasures(deployment) == Replayed(), "once, not whenever the server starts"
    held.refresh_from_db()
    assert held.email == email


def test_what_the_law_keeps_under_an_address_waits_after_a_restore(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    owner, ref = Person(deployment).join(), uuid4()
    held = guardians_address(member, clock, owner.email)
    bury_address(deployment.config.data, owner.email, request=ref, now=clock())
    with writing():
        place_hold(owner.account, reason="a court asked", until=clock() + DAY, now=clock())
    for expected in (owner.email, ""):
        replay_erasures(deployment)
        held.refresh_from_db()
        assert held.email == expected
        clock.turn(days=1)


def test_whoever_cannot_be_erased_again_is_signed_out_and_keeps_nobody_from_being_served(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    kept, other = member.account, Member.first(deployment, email=f"{uuid4().hex}@example.org").account
    for account in (kept, other):
        bury(deployment.config.data, account.ref, now=clock())
    with writing():
        place_hold(kept, reason="a court asked", until=clock() + 20 * DAY, now=clock())
    assert replay_erasures(deployment) == Replayed(erased=1, waiting=1)
    assert not Account.objects.filter(pk=other.pk).exists()
    assert not Account.objects.get(pk=kept.pk).is_active
    assert retry_replays(deployment) == Replayed(waiting=1)
    clock.turn(days=20)
    (job,) = [each for each in TIMETABLE if each.name == "requests"]
    job.work(deployment)
    assert left_of(kept.pk) == []


def test_the_link_to_a_new_address_goes_with_the_account_and_is_not_in_its_copy(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    new = f"{uuid4().hex}@example.org"
    ask_change(member.account, new, now=clock())
    archive = b"".join(export_archive(member.account.pk, read_statement(), now=clock()))
    assert new not in str(read_archive(BytesIO(archive))), (
        "who reads the link shows that the address is theirs"
    )
    erase(deployment, member, clock)
    assert not Mail.objects.filter(to=new).exists()


def test_tombstones_name_nobody_and_go_in_time(tmp_path: Path, member: Member, clock: Clock) -> None:
    ref = member.account.ref
    for _ in range(2):
        bury(tmp_path, ref, now=clock())
    text = (tmp_path / FILE).read_text()
    assert list(names(tmp_path)) == [tomb_of(ref)]
    assert ref.hex not in text
    assert str(ref) not in text
    with (tmp_path / FILE).open("a") as file:
        file.write('{"day": "2026-')  # a power cut
    other = UUID(int=7)
    bury(tmp_path, other, now=clock())
    assert set(names(tmp_path)) == {tomb_of(ref), tomb_of(other)}
    assert clear_old(tmp_path, now=clock() + KEPT) == 0
    assert clear_old(tmp_path, now=clock() + KEPT + DAY) == 2


def test_freed_pages_of_the_database_keep_nothing() -> None:
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA secure_delete")
            assert cursor.fetchone() == (1,)
    else:
        assert connection.vendor == "postgresql"
