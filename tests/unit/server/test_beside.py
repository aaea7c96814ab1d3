"""Several at once: what one writer makes safe in SQLite, row locks must make safe in PostgreSQL."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, connections

from muniment.server.accounts import acceptance
from muniment.server.accounts.correcting import ProfileCorrector
from muniment.server.accounts.models import Account, Device, Profile
from muniment.server.accounts.profile import change_details
from muniment.server.deployment import Deployment
from muniment.server.mail import letters
from muniment.server.mail.models import Letter, LetterClass, Mail
from muniment.server.privacy.consent import choices
from muniment.server.privacy.consent.choices import Subject, choose
from muniment.server.privacy.consent.effect import State
from muniment.server.privacy.consent.notices import notice_for
from muniment.server.privacy.consent.preferences import keep_preferences
from muniment.server.privacy.ledger.entries import record
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.statement import read_statement
from muniment.server.privacy.succession import handing_over
from muniment.server.privacy.succession.handing_over import announce, tell_everybody
from muniment.server.refusals import Refusal
from muniment.server.transactions import writing
from muniment.server.vaults import enrolment
from muniment.server.vaults.access import authenticate_device
from muniment.server.vaults.closing import close_vault
from muniment.server.vaults.enrolment import create_vault
from muniment.server.vaults.models import Event, Grant, Pack, Slot, Snapshot, Vault
from muniment.server.vaults.reading import quarantine_pack
from muniment.server.vaults.refs import parse_ref
from muniment.server.vaults.runs import report_run
from muniment.server.vaults.slots import put_slot
from muniment.wire import messages as m
from tests.support.domain import Clock, Member, make_deployment, thread_of

Act = Callable[[], object]


def at_once(*acts: Act) -> list[str]:
    """Run them in threads; of each: `done`, the code of its refusal, or the name of the error."""
    together = threading.Barrier(len(acts))
    said = [""] * len(acts)

    def run(place: int, act: Act) -> None:
        together.wait(30)
        try:
            act()
        except Refusal as refused:
            said[place] = refused.code.value
        except Exception as error:
            said[place] = type(error).__name__
        else:
            said[place] = "done"
        finally:
            connections.close_all()

    threads = [thread_of(run, *item) for item in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return said


def test_two_devices_of_an_account_make_one_vault(deployment: Deployment) -> None:
    for _ in range(5):
        member = Member.first(deployment)
        other = member.beside()
        close_vault(deployment, parse_ref(member.vault), holds=lambda vault: None)
        devices = [authenticate_device(each.token) for each in (member, other)]

        def make(device: Device) -> object:
            return create_vault(deployment, device, m.CreateVault(vault=secrets.token_hex(16)))

        said = at_once(*(lambda device=device: make(device) for device in devices))
        assert sorted(said) == ["done", "vault_exists"]
        assert Vault.objects.filter(owner=member.account).count() == 1


@pytest.mark.postgresql
def test_a_vault_is_made_beside_notices_to_everybody(
    deployment: Deployment, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One holds the account and wants the ledger; the other wants the account, and holds the ledger before it
    unless it took the account first.
    """
    announce("a company that buys us", country="IE", transfer_basis="contract", now=clock(), by=None)
    tell_everybody(now=clock())
    Member.first(deployment)
    owner = Member.first(deployment)
    close_vault(deployment, parse_ref(owner.vault), holds=lambda vault: None)
    device = authenticate_device(owner.token)
    has_account, has_ledger = threading.Event(), threading.Event()
    may_make, tell = enrolment._check_may_make, handing_over._tell

    def make_slowly(*words: Any) -> None:
        has_account.set()
        wait_until(lambda: has_ledger.is_set() or somebody_waits())
        may_make(*words)

    def tell_slowly(*words: Any, **named: Any) -> None:
        tell(*words, **named)
        has_ledger.set()
        wait_until(lambda: somebody_waits() or not making.is_alive())

    monkeypatch.setattr(enrolment, "_check_may_make", make_slowly)
    monkeypatch.setattr(handing_over, "_tell", tell_slowly)
    made: list[str] = []

    def make() -> None:
        made.extend(
            at_once(lambda: create_vault(deployment, device, m.CreateVault(vault=secrets.token_hex(16))))
        )

    making = thread_of(make)
    making.start()
    assert has_account.wait(30)
    try:
        assert tell_everybody(now=clock()) == 2
    finally:
        making.join(30)
    assert made == ["done"]


@pytest.mark.postgresql
def test_what_is_recorded_of_somebody_waits_for_their_row_before_it_holds_the_ledger(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    """A new address locks the account as deleting it does, and is recorded, too."""
    changing = threading.Event()

    def note(wait: Callable[[], bool]) -> None:
        with writing():
            if wait is somebody_waits:
                Account.objects.filter(pk=member.account.pk).update(
                    email=f"new-{secrets.token_hex(4)}@e.example"
                )
                changing.set()
            wait_until(wait)
            record(Kind.OPTED_OUT, clause="P44", payload={}, now=clock(), subject=member.account)

    assert at_once(lambda: note(somebody_waits), lambda: note(changing.is_set)) == ["done", "done"]


@pytest.mark.postgresql
@pytest.mark.parametrize("first", ["details", "correction"])
def test_a_profile_changes_beside_what_its_owner_chooses(
    deployment: Deployment, member: Member, clock: Clock, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """One changes the profile and records that; the other records first and then empties the profile."""
    account, subject = member.account, Subject(member.account)
    changes = {"name": "a name", "phone": "5550100"}
    with writing():
        Profile.objects.get_or_create(account=account)
        notice = notice_for(read_statement().purposes["demographics"], gpc=False)
        choose(subject, "demographics", State.WITHDRAWN, notice=notice, method="test", now=clock())
    has_profile, has_ledger = threading.Event(), threading.Event()
    agree, empty = acceptance.choose, choices.take_away

    def agree_slowly(*words: Any, **named: Any) -> int:
        has_profile.set()
        wait_until(lambda: has_ledger.is_set() or somebody_waits())
        return agree(*words, **named)

    def empty_slowly(*words: Any, **named: Any) -> None:
        has_ledger.set()
        empty(*words, **named)

    def change() -> None:
        if first == "details":
            change_details(account, changes, now=clock())
            return
        with writing():
            ProfileCorrector().correct(account.pk, changes, now=clock())

    def choose_otherwise() -> None:
        assert has_profile.wait(30)
        keep_preferences(subject, {"demographics": State.DENIED}, gpc=False, now=clock())

    monkeypatch.setattr(acceptance, "choose", agree_slowly)
    monkeypatch.setattr(choices, "take_away", empty_slowly)
    assert at_once(change, choose_otherwise) == ["done", "done"]


def wait_until(is_so: Callable[[], bool]) -> None:
    for _ in range(3000):
        if is_so():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come to that")


def somebody_waits() -> bool:
    """Whether a transaction waits for a lock of another."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


def test_slots_at_once_do_not_pass_their_bound_together(deployment: Deployment, clock: Clock) -> None:
    member = Member.first(make_deployment(deployment.config.data, clock, slots=3))

    def put() -> object:
        slot = secrets.token_hex(16)
        wrapped = m.WrappedSlot(slot=slot, wrapped=secrets.token_bytes(99))
        return put_slot(member.deployment, member.access(), parse_ref(slot), wrapped)

    assert Counter(at_once(*[put] * 8)) == {"done": 3, "slot_conflict": 5}
    assert Slot.objects.filter(vault__ref=member.vault).count() == 3


def test_whatever_a_device_does_at_once_neither_deadlocks_nor_leaves_gaps(
    deployment: Deployment, member: Member
) -> None:
    """Each of these changes the vault's row, the device's and one more, in one transaction."""
    member.open_session()
    other = member.beside()
    other.open_session()
    for _ in range(6):
        pack, lost = member.put(), member.put()
        row = Vault.objects.get(ref=member.vault)
        report = m.RunReport(
            session=None, set_id=secrets.token_hex(16), outcome="done", coverage=m.Coverage(),
            bytes_bound=1 << 20, seconds=1.0, client_version="test",
        )  # fmt: skip
        draft, others = member.draft([pack]), other.draft([pack], parent=None)
        said = at_once(
            lambda draft=draft: member.commit(draft),
            lambda draft=others: other.commit(draft),
            lambda: member.open_session(purpose="restore"),
            lambda report=report: report_run(deployment, member.access(), report),
            lambda row=row, lost=lost: quarantine_pack(deployment, row, _row_of(lost), parse_ref(lost)),
            member.put,
            member.beside,
        )
        assert set(said) <= {"done", "not_granted", "session_expired"}, said
        assert said[0] == said[1] == said[3] == said[4] == said[6] == "done", said
        member.open_session()
    numbers = Event.objects.filter(vault__ref=member.vault).order_by("number")
    assert list(numbers.values_list("number", flat=True)) == list(range(1, numbers.count() + 1))
    assert Snapshot.objects.filter(vault__ref=member.vault).count() == 12
    assert Grant.objects.filter(vault__ref=member.vault).count() == 8


def _row_of(pack: str) -> int:
    return Pack.objects.get(ref=pack).pk


def test_closing_beside_everything_else_leaves_nothing(deployment: Deployment) -> None:
    for _ in range(4):
        member = Member.first(deployment)
        member.open_session()
        pack = member.put()
        draft = member.draft([pack])
        ref = parse_ref(member.vault)
        said = at_once(
            lambda ref=ref: close_vault(deployment, ref, holds=lambda vault: None),
            lambda member=member, draft=draft: member.commit(draft),
            lambda member=member: member.put(),
            lambda member=member: member.add_slot(),
            lambda ref=ref: close_vault(deployment, ref, holds=lambda vault: None),
        )
        assert said[0] == said[4] == "done", said
        assert set(said[1:4]) <= {"done", "not_granted", "session_expired", "commit_conflict"}, said
        assert not Vault.objects.filter(ref=ref).exists()
        assert list(deployment.objects.list(member.vault + "/")) == []


@pytest.mark.postgresql
def test_what_is_acknowledged_is_on_disk() -> None:
    with connection.cursor() as cursor:
        said = {}
        for name in ("synchronous_commit", "fsync", "full_page_writes"):
            cursor.execute(f"SHOW {name}")
            said[name] = cursor.fetchone()[0]
    assert said == {"synchronous_commit": "on", "fsync": "on", "full_page_writes": "on"}
    with writing(), connection.cursor() as cursor:
        cursor.execute("SHOW transaction_isolation")
        assert cursor.fetchone() == ("read committed",)


def test_two_processes_that_send_a_letter_send_everybody_one(
    deployment: Deployment, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One whose lease ran out, and went on all the same, beside the one that took over."""
    monkeypatch.setattr(letters, "_AT_ONCE", 2)
    people = [Member.first(deployment).account for _ in range(5)]
    notice = notice_for(read_statement().purposes["survey"], gpc=False)
    with writing():
        for account in people:
            choose(Subject(account), "survey", State.GRANTED, notice=notice, method="test", now=clock())
    ref = letters.write(
        LetterClass.SURVEY, title="a question", text="How do we do?", by=people[0], now=clock()
    )
    letters.approve(ref, by=people[1], now=clock())
    assert at_once(*[lambda: letters.send_letters(deployment)] * 3) == ["done"] * 3
    found = Counter(Mail.objects.filter(message="Survey").values_list("account", flat=True))
    assert [found[account.pk] for account in people] == [1] * 5
    assert Letter.objects.get(ref=ref).queued == found.total()
