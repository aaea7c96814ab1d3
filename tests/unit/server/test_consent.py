"""Consent events in a database: kept, recorded, withdrawn, received."""

from __future__ import annotations

import dataclasses
import json
import secrets
from datetime import date, timedelta
from pathlib import Path

import pytest
from django.db import IntegrityError, transaction

from muniment.server.deployment import Deployment
from muniment.server.privacy.consent import linking
from muniment.server.privacy.consent.beacons import may_fire
from muniment.server.privacy.consent.choices import (
    NotAsked,
    Subject,
    browser_hash,
    choose,
    events_of,
    honour_signal,
    is_granted,
    last_said,
    snapshot,
)
from muniment.server.privacy.consent.effect import NOTHING, Consents, State
from muniment.server.privacy.consent.linking import link_of
from muniment.server.privacy.consent.models import ConsentEvent, LinkKey
from muniment.server.privacy.consent.notices import Notice, notice_for
from muniment.server.privacy.consent.receipts import consent_receipt
from muniment.server.privacy.ledger.entries import entry_at
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.ledger.verification import verify_document
from muniment.server.privacy.requests.asking import ask
from muniment.server.privacy.requests.lifting import lift
from muniment.server.privacy.requests.models import Kind as Asked
from muniment.server.privacy.statement import Statement, read_statement
from muniment.server.privacy.terms import Beacon, Recipient, RecipientKind
from muniment.server.transactions import writing
from tests.support.domain import Clock, Member

NOTICE = Notice("May we?")


def say(
    subject: Subject, purpose: str, state: State, clock: Clock, notice: Notice = NOTICE, **more: object
) -> int:
    with writing():
        return choose(subject, purpose, state, notice=notice, method="a test", now=clock(), **more)  # type: ignore[arg-type]


@pytest.fixture
def somebody(member: Member) -> Subject:
    return Subject(member.account)


def test_unknown_is_denied(somebody: Subject, clock: Clock) -> None:
    assert snapshot(somebody, clock()) == NOTHING
    assert snapshot(Subject(), clock()) == NOTHING
    for purpose in read_statement().consent_purposes:
        assert not is_granted(somebody, purpose.name, gpc=False, now=clock())


def test_a_grant_is_recorded_with_its_words_and_ends_with_its_withdrawal(
    somebody: Subject, clock: Clock
) -> None:
    granted = say(somebody, "promotion", State.GRANTED, clock)
    assert is_granted(somebody, "promotion", gpc=True, now=clock())
    assert entry_at(granted).leaf.kind == Kind.CONSENT_GRANTED
    assert entry_at(granted).said["notice"] == NOTICE.digest.hex()
    withdrawn = say(somebody, "promotion", State.DENIED, clock)
    assert entry_at(withdrawn).leaf.kind == Kind.CONSENT_WITHDRAWN
    assert not is_granted(somebody, "promotion", gpc=False, now=clock())
    assert last_said(somebody) == {("promotion", ""): State.WITHDRAWN}


def test_saying_the_same_again_adds_nothing(somebody: Subject, clock: Clock) -> None:
    first = say(somebody, "survey", State.GRANTED, clock)
    assert say(somebody, "survey", State.GRANTED, clock) == first
    assert say(somebody, "survey", State.GRANTED, clock, Notice("Other words")) != first
    assert len(events_of(somebody)) == 2


def test_nobody_can_be_asked_for_what_does_not_rest_on_consent(somebody: Subject, clock: Clock) -> None:
    for purpose in ("backup", "security", "nothing of the kind"):
        with pytest.raises(NotAsked):
            say(somebody, purpose, State.GRANTED, clock)
    assert not events_of(somebody)


def test_only_words_that_speak_of_the_signal_can_claim_to(somebody: Subject, clock: Clock) -> None:
    with pytest.raises(ValueError):
        say(somebody, "advertise", State.GRANTED, clock, mentions_gpc=True)
    notice = notice_for(read_statement().purposes["advertise"], gpc=True)
    say(somebody, "advertise", State.GRANTED, clock, notice, mentions_gpc=True)
    assert is_granted(somebody, "advertise", gpc=True, now=clock())


def test_a_signal_of_somebody_signed_in_is_kept_once_and_binds_later(somebody: Subject, clock: Clock) -> None:
    say(somebody, "advertise", State.GRANTED, clock)
    say(somebody, "promotion", State.GRANTED, clock)
    with writing():
        entry = honour_signal(somebody, now=clock())
        assert entry is not None
        assert honour_signal(somebody, now=clock()) is None
    assert entry_at(entry).leaf.kind == Kind.SIGNAL_HONOURED
    # Without the header, too: the person has told us.
    assert not is_granted(somebody, "advertise", gpc=False, now=clock())
    assert is_granted(somebody, "promotion", gpc=False, now=clock())


def test_a_browser_is_known_by_a_hash_and_leaves_no_trace_in_the_ledger(clock: Clock) -> None:
    token = secrets.token_bytes(16)
    entry = say(Subject(browser=token), "preferences", State.GRANTED, clock)
    assert is_granted(Subject(browser=token), "preferences", gpc=False, now=clock())
    assert not is_granted(Subject(browser=secrets.token_bytes(16)), "preferences", gpc=False, now=clock())
    row = ConsentEvent.objects.get(entry=entry)
    assert bytes(row.browser or b"") == browser_hash(token)
    opened = entry_at(entry).payload
    assert token.hex() not in opened
    assert browser_hash(token).hex() not in opened
    assert "at" not in entry_at(entry).said


def test_what_an_account_says_last_counts_in_every_browser(somebody: Subject, clock: Clock) -> None:
    token = secrets.token_bytes(16)
    say(Subject(browser=token), "preferences", State.GRANTED, clock)
    both = Subject(somebody.account, token)
    assert is_granted(both, "preferences", gpc=False, now=clock())
    say(both, "preferences", State.DENIED, clock)
    assert not is_granted(both, "preferences", gpc=False, now=clock())


def test_a_grant_for_one_recipient_lapses(somebody: Subject, clock: Clock) -> None:
    until = clock() + timedelta(days=30)
    say(somebody, "named_sharing", State.GRANTED, clock, recipient="a reseller", until=until)
    assert is_granted(somebody, "named_sharing", gpc=False, now=clock(), recipient="a reseller")
    assert not is_granted(somebody, "named_sharing", gpc=False, now=clock(), recipient="another")
    clock.turn(days=30)
    assert not is_granted(somebody, "named_sharing", gpc=False, now=clock(), recipient="a reseller")


def test_an_event_is_about_exactly_one(somebody: Subject, clock: Clock) -> None:
    entry = say(somebody, "survey", State.GRANTED, clock)
    for change in ({"browser": bytes(32)}, {"subject": None}, {"state": "perhaps"}):
        with pytest.raises(IntegrityError), transaction.atomic():
            ConsentEvent.objects.filter(entry=entry).update(**change)


def test_a_receipt_has_the_parts_of_the_specification_and_proves_itself(
    somebody: Subject, clock: Clock
) -> None:
    say(somebody, "promotion", State.GRANTED, clock)
    receipt = json.loads(
        json.dumps(
            consent_receipt(
                events_of(somebody)[0], read_statement(), principal="ref", controller={"party_name": "us"}
            )
        )
    )
    assert receipt["events"][0]["event_state"] == "consent given"
    assert receipt["pii_processing"]["purposes"][0]["lawful_basis"] == "consent"
    assert "consent_granted" in verify_document(receipt)[0]


@pytest.mark.clause("P56", aspect="off")
def test_no_key_links_visits_before_somebody_agreed(somebody: Subject, clock: Clock) -> None:
    assert link_of(somebody, gpc=False, now=clock()) is None
    assert link_of(Subject(browser=bytes(16)), gpc=False, now=clock()) is None
    assert not LinkKey.objects.filter(subject=somebody.account).exists()


@pytest.mark.clause("P56", aspect="allowed")
def test_after_a_yes_visits_of_one_account_are_linked(
    somebody: Subject, member: Member, clock: Clock
) -> None:
    say(somebody, "personalise", State.GRANTED, clock)
    link = link_of(somebody, gpc=False, now=clock())
    assert link is not None
    assert link == link_of(somebody, gpc=False, now=clock())
    other = Subject(Member.first(member.deployment).account)
    say(other, "personalise", State.GRANTED, clock)
    assert link_of(other, gpc=False, now=clock()) not in (None, link)


@pytest.mark.clause("P56", aspect="beyond")
def test_a_link_ends_with_the_agreement_and_with_the_signal(somebody: Subject, clock: Clock) -> None:
    say(somebody, "personalise", State.GRANTED, clock)
    first = link_of(somebody, gpc=False, now=clock())
    assert link_of(somebody, gpc=True, now=clock()) is None
    say(somebody, "personalise", State.DENIED, clock)
    assert link_of(somebody, gpc=False, now=clock()) is None
    assert not LinkKey.objects.filter(subject=somebody.account).exists()
    say(somebody, "personalise", State.GRANTED, clock)
    assert link_of(somebody, gpc=False, now=clock()) not in (None, first)
    with writing():
        honour_signal(somebody, now=clock())
    assert link_of(somebody, gpc=False, now=clock()) is None
    assert not LinkKey.objects.filter(subject=somebody.account).exists()


def test_nothing_is_linked_of_whoever_had_it_stopped(
    deployment: Deployment, somebody: Subject, member: Member, clock: Clock
) -> None:
    say(somebody, "personalise", State.GRANTED, clock)
    ask(deployment, member.account, Asked.RESTRICT)
    assert link_of(somebody, gpc=False, now=clock()) is None
    assert not LinkKey.objects.filter(subject=somebody.account).exists()
    lift(member.account, "", now=clock())
    assert link_of(somebody, gpc=False, now=clock()) is not None


def test_the_question_about_linking_says_that_nothing_links_yet() -> None:
    package = Path(linking.__file__).parents[2]
    callers = [
        path.name
        for path in package.rglob("*.py")
        if path != Path(linking.__file__) and "consent.linking" in path.read_text(encoding="utf-8")
    ]
    asked = read_statement().purposes["personalise"]
    for said in (asked.ask, asked.text):
        assert ("neither today" in said or "Today we do neither" in said) == (not callers), callers


def beaconed(**changes: object) -> Statement:
    """The statement with a beacon of somebody else in it."""
    eye: dict[str, object] = {
        "name": "eye", "text": "An eye.", "owner": "counter", "purpose": "visits",
        "expires": date(2027, 1, 1),
    }  # fmt: skip
    partner = Recipient(
        "counter", "A processor", RecipientKind.PROCESSOR, frozenset({"visits"}), frozenset(), "IE",
        "on file", date(2027, 1, 1), date(2026, 11, 1),
    )  # fmt: skip
    statement = read_statement()
    return dataclasses.replace(
        statement,
        beacons={**statement.beacons, "eye": Beacon(**{**eye, **changes})},  # type: ignore[arg-type]
        recipients={**statement.recipients, "counter": partner},
    )


def bound(statement: Statement, **changes: object) -> Statement:
    """The same, its recipient bound otherwise."""
    partner = dataclasses.replace(statement.recipients["counter"], **changes)  # type: ignore[arg-type]
    return dataclasses.replace(statement, recipients={**statement.recipients, "counter": partner})


AGREED = Consents(frozenset({("visits", "")}), frozenset({("visits", "")}))


@pytest.mark.clause("P60", aspect="off")
def test_beacons_of_others_fire_for_nobody_who_did_not_agree(clock: Clock) -> None:
    assert not may_fire("eye", beaconed(), NOTHING, gpc=False, now=clock())
    assert all(beacon.owner == "us" for beacon in read_statement().beacons.values())


@pytest.mark.clause("P60", aspect="allowed")
def test_a_listed_beacon_of_a_contracted_recipient_fires_after_a_yes(clock: Clock) -> None:
    assert may_fire("eye", beaconed(), AGREED, gpc=False, now=clock())


@pytest.mark.clause("P60", aspect="beyond")
def test_no_other_beacon_fires(clock: Clock) -> None:
    assert not may_fire("foreign", beaconed(), AGREED, gpc=False, now=clock())
    assert not may_fire("eye", beaconed(owner="nobody we know"), AGREED, gpc=False, now=clock())
    assert not may_fire("eye", beaconed(purpose="advertise"), AGREED, gpc=False, now=clock())
    for unbound in (
        {"contract": ""}, {"begins": date(2026, 12, 1)}, {"expires": date(2026, 11, 1)}, {"reviewed": None},
        {"reviewed": date(2025, 11, 1)},
    ):  # fmt: skip
        assert not may_fire("eye", bound(beaconed(), **unbound), AGREED, gpc=False, now=clock()), unbound
    clock.turn(days=400)
    assert not may_fire("eye", beaconed(), AGREED, gpc=False, now=clock())
