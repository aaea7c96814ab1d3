"""What leaves: only through the gate, only what may, always on record."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import pytest
from django.db.models import Model

from muniment.server.accounts.models import Account
from muniment.server.deployment import Deployment
from muniment.server.privacy.consent.choices import Subject, choose
from muniment.server.privacy.consent.effect import State
from muniment.server.privacy.consent.notices import notice_for
from muniment.server.privacy.disclosures.transparency import read_transparency
from muniment.server.privacy.gate import disclose as gate
from muniment.server.privacy.gate import overview
from muniment.server.privacy.gate.decide import Reason
from muniment.server.privacy.gate.disclose import NotSent, Offer, Values, disclose
from muniment.server.privacy.ledger.entries import entries_of
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.ledger.models import LeafRow, Opening
from muniment.server.privacy.statement import Statement, read_statement
from muniment.server.privacy.terms import Recipient, RecipientKind
from muniment.server.transactions import writing
from tests.support.domain import Member

EMAIL, DEVICE, PASSWORD = "accounts.Account.email", "accounts.Device.name", "accounts.Account.password"
FIELDS = frozenset({EMAIL, DEVICE})


@dataclass
class Carrier:
    """Takes what it is sent."""

    got: list[Values] = field(default_factory=list)

    def send(self, values: Values) -> None:
        self.got.append(values)


def with_recipient(**changes: Any) -> Statement:
    made = Recipient(
        "partner", "A partner", RecipientKind.PROCESSOR, frozenset({"named_sharing", "transactions"}),
        frozenset({EMAIL}), "IE", "C-1", date(2027, 6, 1), date(2026, 6, 1), "clauses",
    )  # fmt: skip
    return replace(read_statement(), recipients={"partner": replace(made, **changes)})


def offer(member: Member, purpose: str, **changes: Any) -> Offer:
    return replace(Offer(member.account, purpose, "partner", FIELDS, statement=with_recipient()), **changes)


def say(deployment: Deployment, account: Account, state: State) -> None:
    with writing():
        choose(
            Subject(account), "named_sharing", state, recipient="partner", method="test",
            now=deployment.now(),
            notice=notice_for(read_statement().purposes["named_sharing"], gpc=False),
        )  # fmt: skip


# --- the gate's effect


@pytest.mark.clause("P37", aspect="off")
@pytest.mark.clause("P41")
def test_without_a_yes_nothing_is_sent_and_that_is_on_record(deployment: Deployment, member: Member) -> None:
    carrier = Carrier()
    decision = disclose(offer(member, "named_sharing"), carrier, deployment=deployment)
    assert (decision.allow, decision.reason, carrier.got) == (False, Reason.NO_CONSENT, [])
    entry = entries_of(member.account)[0]
    assert entry.leaf.kind == Kind.DISCLOSURE_REFUSED
    assert member.account.email not in entry.payload


@pytest.mark.clause("P37", aspect="allowed")
@pytest.mark.clause("P30", aspect="beyond")
@pytest.mark.clause("P38", aspect="beyond")
def test_with_a_yes_only_declared_fields_go(deployment: Deployment, member: Member) -> None:
    carrier = Carrier()
    say(deployment, member.account, State.GRANTED)
    decision = disclose(offer(member, "named_sharing"), carrier, deployment=deployment)
    assert decision.fields == {EMAIL}
    assert carrier.got == [{EMAIL: [member.account.email]}]
    entry = entries_of(member.account)[0]
    assert (entry.leaf.kind, entry.leaf.clause, entry.said["fields"]) == (Kind.DISCLOSED, "P37", [EMAIL])
    assert entry.said["recipient"] == "partner"


@pytest.mark.clause("P37", aspect="beyond")
def test_a_yes_taken_back_between_deciding_and_sending_stops_it(
    deployment: Deployment, member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    carrier = Carrier()
    say(deployment, member.account, State.GRANTED)
    decided = gate._decide
    asked = []

    def withdrawn_after_the_first(*args: Any) -> Any:
        if asked:
            say(deployment, member.account, State.WITHDRAWN)
        asked.append(1)
        return decided(*args)

    monkeypatch.setattr(gate, "_decide", withdrawn_after_the_first)
    decision = disclose(offer(member, "named_sharing"), carrier, deployment=deployment)
    assert not decision.allow
    assert carrier.got == []
    assert entries_of(member.account)[0].leaf.kind == Kind.DISCLOSURE_STOPPED


@pytest.mark.clause("P39")
@pytest.mark.clause("P4")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"reviewed": date(2025, 11, 21)}, Reason.REVIEW_STALE),
        ({"expires": date(2026, 11, 22)}, Reason.CONTRACT_LAPSED),
        ({"contract": ""}, Reason.NO_CONTRACT),
        ({"transfer_basis": "", "country": "US"}, Reason.NO_TRANSFER_BASIS),
    ],
)
def test_partners_who_did_not_earn_it_get_nothing(
    deployment: Deployment, member: Member, changes: dict[str, Any], reason: Reason
) -> None:
    carrier = Carrier()
    sent = offer(member, "transactions", statement=with_recipient(**changes))
    assert disclose(sent, carrier, deployment=deployment).reason is reason
    assert carrier.got == []


@pytest.mark.clause("P2")
def test_who_is_not_listed_gets_nothing(deployment: Deployment, member: Member) -> None:
    carrier = Carrier()
    sent = replace(offer(member, "transactions"), statement=None)
    assert disclose(sent, carrier, deployment=deployment).reason is Reason.UNKNOWN_RECIPIENT
    assert carrier.got == []


def test_what_did_not_get_there_is_said_to_be_stopped(deployment: Deployment, member: Member) -> None:
    class Broken(Carrier):
        def send(self, values: Values) -> None:
            raise OSError("the line is dead")

    with pytest.raises(NotSent):
        disclose(offer(member, "transactions"), Broken(), deployment=deployment)
    kinds = [entry.leaf.kind for entry in entries_of(member.account)[:2]]
    assert kinds == [Kind.DISCLOSURE_STOPPED, Kind.DISCLOSED]


def test_what_was_stopped_counts_as_sent_nowhere(
    deployment: Deployment, member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Carrier):
        def send(self, values: Values) -> None:
            raise OSError("the line is dead")

    sent = offer(member, "transactions")
    assert sent.statement is not None
    monkeypatch.setattr(overview, "statement_in_force", lambda now: sent.statement)
    monkeypatch.setattr(overview, "newest_posted", lambda now: sent.statement)

    def counted() -> tuple[int, int]:
        rows = overview.read_overview(now=deployment.now()).rows
        return (
            sum(row.sent for row in rows if row.recipient.name == sent.recipient),
            read_transparency().other_disclosures,
        )

    before = counted()
    with pytest.raises(NotSent):
        disclose(sent, Broken(), deployment=deployment)
    assert counted() == before
    disclose(sent, Carrier(), deployment=deployment)
    assert counted() == (before[0] + 1, before[1] + 1)


@pytest.mark.parametrize("model", [LeafRow, Opening])
def test_pages_of_numbers_read_no_entry(
    deployment: Deployment, member: Member, monkeypatch: pytest.MonkeyPatch, model: type[Model]
) -> None:
    """There may be a million of them."""
    disclose(offer(member, "transactions"), Carrier(), deployment=deployment)

    def read(*row: object) -> Model:
        raise AssertionError(row)

    monkeypatch.setattr(model, "from_db", read)
    with pytest.raises(AssertionError):
        entries_of(member.account)
    overview.read_overview(now=deployment.now())
    assert read_transparency().other_disclosures


@pytest.mark.parametrize(
    ("first", "then", "goes"), [("ab", "a", "a"), ("a", "ab", "a"), ("ab", "bc", "b"), ("a", "b", "")]
)
def test_nothing_goes_that_was_not_recorded_and_only_nothing_is_stopped(
    deployment: Deployment, member: Member, monkeypatch: pytest.MonkeyPatch, first: str, then: str, goes: str
) -> None:
    names = {"a": EMAIL, "b": "accounts.Account.language", "c": "accounts.Account.joined"}
    decided = gate._decide
    answers = [frozenset(names[letter] for letter in letters) for letters in (first, then)]
    monkeypatch.setattr(gate, "_decide", lambda *args: replace(decided(*args), fields=answers.pop(0)))
    monkeypatch.setattr(gate, "_values", lambda account, fields: {name: [] for name in fields})
    carrier = Carrier()
    decision = disclose(offer(member, "transactions"), carrier, deployment=deployment)
    assert decision.allow is bool(goes)
    assert [set(values) for values in carrier.got] == ([{names[goes]}] if goes else [])
    newest = entries_of(member.account)[0].leaf.kind
    assert newest == (Kind.DISCLOSED if goes else Kind.DISCLOSURE_STOPPED)
