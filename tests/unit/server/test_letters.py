"""Letters: only to who asked, only once, and only after a second member of staff approved them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from django.db import IntegrityError, transaction

from muniment.server.accounts.enrolment import create_account
from muniment.server.accounts.models import Account
from muniment.server.deployment import Deployment
from muniment.server.jobs.timetable import TIMETABLE
from muniment.server.mail import letters
from muniment.server.mail.delivery import letter as as_sent
from muniment.server.mail.letters import (
    AlreadyApproved,
    NeedsAnother,
    NoSuchLetter,
    approve,
    read_letters,
    send_letters,
    take_back,
    write,
)
from muniment.server.mail.models import Letter, LetterClass, Mail
from muniment.server.mail.suppression import opt_out, unsubscribe_token
from muniment.server.privacy.consent.choices import Subject, choose
from muniment.server.privacy.consent.effect import State
from muniment.server.privacy.consent.notices import notice_for
from muniment.server.privacy.ledger.entries import entries_of
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.purposes import afresh
from muniment.server.privacy.requests.models import Restriction
from muniment.server.privacy.statement import read_statement
from muniment.server.transactions import writing
from tests.support.domain import Clock, Member
from tests.support.pages import Person, some_address, text

PAGE = "/console/letters"
CLASSES = tuple(LetterClass)


@pytest.fixture(autouse=True)
def no_other_letter() -> None:
    """The tests share a database."""
    Letter.objects.all().delete()
    Mail.objects.all().delete()


def say(account: Account, state: State, deployment: Deployment, purpose: str = "promotion") -> None:
    with writing():
        declared = read_statement().purposes[purpose]
        choose(
            Subject(account), purpose, state, notice=notice_for(declared, gpc=False), method="test",
            now=deployment.now(),
        )  # fmt: skip


def somebody(deployment: Deployment) -> Account:
    with writing():
        return create_account(some_address(), now=deployment.now())


def who_asked(deployment: Deployment, purpose: str = "promotion") -> Account:
    account = somebody(deployment)
    say(account, State.GRANTED, deployment, purpose)
    return account


def written(deployment: Deployment, *, by: Any, kind: LetterClass = LetterClass.PROMOTION) -> UUID:
    return write(kind, title="20 % off", text="Until Sunday.\r\n\r\nYours", by=by, now=deployment.now())


def approved(deployment: Deployment, kind: LetterClass = LetterClass.PROMOTION) -> Letter:
    ref = written(deployment, by=somebody(deployment), kind=kind)
    approve(ref, by=somebody(deployment), now=deployment.now())
    return Letter.objects.get(ref=ref)


def got(account: Account) -> list[Mail]:
    return list(Mail.objects.filter(account=account).exclude(message_class="service"))


def run_the_job(deployment: Deployment) -> int | None:
    """With what the timetable opens for it, and nothing else."""
    (timed,) = (each for each in TIMETABLE if each.name == "letters")
    with afresh(*timed.used_for):
        return timed.work(deployment)


# --- to whom


@pytest.mark.clause("P20", aspect="off")
@pytest.mark.parametrize("kind", CLASSES)
def test_nobody_gets_a_letter_who_did_not_ask(
    deployment: Deployment, member: Member, kind: LetterClass
) -> None:
    for other in set(CLASSES) - {kind}:
        say(member.account, State.GRANTED, deployment, other.value)
    refused = who_asked(deployment, kind.value)
    say(refused, State.WITHDRAWN, deployment, kind.value)
    approved(deployment, kind)
    run_the_job(deployment)
    assert got(member.account) == []
    assert got(refused) == []


@pytest.mark.clause("P20", aspect="allowed")
@pytest.mark.parametrize("kind", CLASSES)
def test_who_asked_gets_exactly_one_and_the_way_to_stop_it(deployment: Deployment, kind: LetterClass) -> None:
    account = who_asked(deployment, kind.value)
    row = approved(deployment, kind)
    made = run_the_job(deployment)
    assert run_the_job(deployment) == 0
    (mail,) = got(account)
    assert (mail.subject, mail.message_class) == ("20 % off", kind.value)
    assert mail.text.startswith("Until Sunday.\n\nYours\n\n")
    assert "/preferences" in mail.text
    assert mail.unsubscribe in mail.text
    headers = as_sent(mail, sender="Muniment <noreply@backup.example.org>").extra_headers
    assert headers["List-Unsubscribe"] == f"<{mail.unsubscribe}>"
    assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    recorded = entries_of(account)[0]
    assert (recorded.leaf.kind, recorded.said["class"]) == (Kind.MAIL_QUEUED, kind.value)
    row.refresh_from_db()
    assert (row.queued, row.ended_at) == (made, deployment.now())


@pytest.mark.clause("P44")
def test_who_opts_out_after_the_approval_gets_none(deployment: Deployment) -> None:
    by_link, by_choice = who_asked(deployment), who_asked(deployment)
    approved(deployment)
    opt_out(unsubscribe_token(by_link.email), now=deployment.now())
    say(by_choice, State.WITHDRAWN, deployment)
    run_the_job(deployment)
    assert got(by_link) == got(by_choice) == []


@pytest.mark.clause("P44")
@pytest.mark.parametrize("purpose", ["", "promotion"])
def test_who_had_the_use_restricted_gets_none(deployment: Deployment, purpose: str) -> None:
    account = who_asked(deployment)
    with writing():
        row = Restriction.objects.create(subject=account, purpose=purpose, begun_at=deployment.now())
    approved(deployment)
    run_the_job(deployment)
    assert got(account) == []
    Restriction.objects.filter(pk=row.pk).update(ended_at=deployment.now())
    approved(deployment)
    run_the_job(deployment)
    assert len(got(account)) == 1


def test_the_page_counts_those_who_asked(deployment: Deployment, clock: Clock) -> None:
    def count() -> list[int]:
        with afresh():
            return [each.people for each in read_letters(now=clock()).asked]

    before = count()
    account = who_asked(deployment, "survey")
    assert [now - then for now, then in zip(count(), before, strict=True)] == [0, 0, 1]
    say(account, State.WITHDRAWN, deployment, "survey")
    assert count() == before
    say(account, State.GRANTED, deployment, "survey")
    assert sum(count()) == sum(before) + 1


# --- once


@pytest.mark.clause("P20", aspect="beyond")
@pytest.mark.parametrize("dies_at", [1, 2, 3])
def test_nobody_gets_it_twice_where_sending_died_in_its_midst(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    people = [who_asked(deployment) for _ in range(3)]
    row = approved(deployment)
    monkeypatch.setattr(letters, "_AT_ONCE", 2)
    tried, sends = [], letters.send

    def dying(message: Any, *, to: Any, now: Any) -> bool:
        queued = sends(message, to=to, now=now)
        tried.append(to)
        if to in people and sum(each in people for each in tried) == dies_at:
            raise KeyboardInterrupt
        return queued

    monkeypatch.setattr(letters, "send", dying)
    with pytest.raises(KeyboardInterrupt):
        run_the_job(deployment)
    monkeypatch.setattr(letters, "send", sends)
    row.refresh_from_db()
    assert row.ended_at is None
    run_the_job(deployment)
    assert [len(got(account)) for account in people] == [1, 1, 1]
    row.refresh_from_db()
    assert row.queued == Mail.objects.filter(message="Promotion").count()


@pytest.mark.clause("P20", aspect="beyond")
def test_two_processes_share_a_letter(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one comes to its end between our look at the letter and our lock on it."""
    account = who_asked(deployment)
    row = approved(deployment)
    people = letters._next_people

    def slowly(letter: Letter, **named: Any) -> list[Any]:
        found = people(letter, **named)
        Letter.objects.filter(pk=letter.pk).update(reached=found[-1].pk, ended_at=deployment.now())
        return found

    monkeypatch.setattr(letters, "_next_people", slowly)
    assert send_letters(deployment) == 0
    assert got(account) == []
    row.refresh_from_db()
    assert row.ended_at is not None


# --- two people


def test_who_wrote_it_does_not_approve_it(deployment: Deployment) -> None:
    account, writer = who_asked(deployment), somebody(deployment)
    ref = written(deployment, by=writer)
    assert run_the_job(deployment) == 0
    with pytest.raises(NeedsAnother):
        approve(ref, by=writer, now=deployment.now())
    assert run_the_job(deployment) == 0
    assert got(account) == []
    row = Letter.objects.filter(ref=ref)
    with pytest.raises(IntegrityError), transaction.atomic():
        row.update(approved_by=writer, approved_at=deployment.now())
    with pytest.raises(IntegrityError), transaction.atomic():
        row.update(ended_at=deployment.now())


def test_a_letter_outlives_the_accounts_of_who_sent_it(deployment: Deployment) -> None:
    account, row = who_asked(deployment), approved(deployment)
    Account.objects.filter(pk__in=(row.written_by_id, row.approved_by_id)).delete()
    run_the_job(deployment)
    assert len(got(account)) == 1
    row.refresh_from_db()
    assert (row.written_by, row.approved_by) == (None, None)


def test_what_nobody_approved_is_taken_back_and_nothing_else(deployment: Deployment, clock: Clock) -> None:
    ref, row = written(deployment, by=somebody(deployment)), approved(deployment)
    take_back(ref)
    for act in (lambda: take_back(ref), lambda: approve(ref, by=row.written_by, now=clock())):
        with pytest.raises(NoSuchLetter):
            act()
    with pytest.raises(AlreadyApproved):
        take_back(row.ref)
    clock.turn(hours=1)
    approve(row.ref, by=somebody(deployment), now=clock())
    assert Letter.objects.get().approved_at == row.approved_at, "approved again, nothing changes"


@pytest.mark.parametrize(("title", "said"), [("", "x"), ("x", " \n"), ("a\nb", "x")])
def test_a_letter_has_words_and_a_subject_of_one_line(deployment: Deployment, title: str, said: str) -> None:
    with pytest.raises(ValueError, match="one line"):
        write(LetterClass.SURVEY, title=title, text=said, by=None, now=deployment.now())
    assert not Letter.objects.exists()


# --- the page


@pytest.mark.clause("P20", aspect="allowed")
def test_two_of_staff_send_a_letter(deployment: Deployment) -> None:
    account = who_asked(deployment)
    writer, other = (Person(deployment).join().become_staff() for _ in range(2))
    assert "No letter was written" in text(writer.get(PAGE))
    for wrong in ({"title": "a\nb"}, {"text": ""}, {"message_class": "service"}, {"title": "x" * 151}):
        words = {"message_class": "promotion", "title": "20 % off", "text": "Until Sunday.", **wrong}
        assert writer.post(PAGE, **words).status_code == 422
    assert not Letter.objects.exists()
    said = {"message_class": "promotion", "title": "20 % off", "text": "Until Sunday."}
    assert writer.post(PAGE, **said).status_code == 302
    ref = Letter.objects.get().ref
    own = text(writer.get(PAGE))
    assert "waits for approval" in own
    assert f"{PAGE}/{ref}/approve" not in own
    assert writer.post(f"{PAGE}/{ref}/approve").status_code == 302
    assert "You wrote this letter." in text(writer.get(PAGE))
    assert Letter.objects.get().approved_at is None

    assert account.email not in text(other.get(PAGE))
    assert other.submit(PAGE, other.get(PAGE), f"{PAGE}/{ref}/approve").status_code == 302
    page = text(other.get(PAGE))
    assert "going out" in page
    assert f"{PAGE}/{ref}/take-back" not in page
    assert other.post(f"{PAGE}/{ref}/take-back").status_code == 302
    assert "It was approved, and goes out." in text(other.get(PAGE))
    run_the_job(deployment)
    assert len(got(account)) == 1
    page = text(other.get(PAGE))
    assert "sent</span> on " in page.replace("\n", "")
    assert account.email not in page


def test_a_letter_is_taken_back_on_the_page(deployment: Deployment) -> None:
    staff = Person(deployment).join().become_staff()
    ref = written(deployment, by=staff.account)
    assert staff.submit(PAGE, staff.get(PAGE), f"{PAGE}/{ref}/take-back").status_code == 302
    assert "Taken back. It went to nobody." in text(staff.get(PAGE))
    for step in ("approve", "take-back"):
        assert staff.post(f"{PAGE}/{ref}/{step}").status_code == 404


def test_customers_find_no_letters(deployment: Deployment) -> None:
    customer = Person(deployment).join()
    customer.prove()
    ref = written(deployment, by=None)
    assert customer.get(PAGE).status_code == 404
    assert customer.post(PAGE, message_class="promotion", title="x", text="x").status_code == 404
    for step in ("approve", "take-back"):
        assert customer.post(f"{PAGE}/{ref}/{step}").status_code == 404
    assert Letter.objects.get().approved_at is None
