"""The one way in which personal data leaves: decided, recorded, then sent, with nothing but what may go.

    decision = disclose(offer, sender, deployment=deployment)

It is decided twice: when the record is written, and again with fresh eyes right before sending, so that a
consent withdrawn in between still counts. Only what both decisions allow is sent. Where that is nothing, or
it did not get there, a record of its own says that it was stopped.

    with writing():
        decision = set_down(offer, sender, deployment=deployment)

Where what goes is first written down in a row of ours, to be fetched as often as it takes, nothing is in
between: the decision, its record and the row are one transaction, and stand or fall together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Protocol

from muniment.server.deployment import Deployment
from muniment.server.privacy.gate.decide import Ask, Decision, Mandate, decide
from muniment.server.privacy.gate.facts import facts_of
from muniment.server.privacy.ledger.entries import record
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.operator import read_operator
from muniment.server.privacy.rows_about import tables_about
from muniment.server.privacy.signals import NONE, Signals
from muniment.server.privacy.statement import Statement
from muniment.server.privacy.versions.in_force import in_force_for
from muniment.server.transactions import writing

Values = Mapping[str, list[Any]]
"""By field (`accounts.Account.email`), the value in every row about the person."""


class Sender(Protocol):
    """The way to one recipient."""

    def send(self, values: Values) -> None:
        """Raises where it did not get there."""


class Sight(Enum):
    """Whether the person sees the entry now, or later, because an order forbids telling."""

    NOW = "now"
    LATER = "later"


@dataclass(frozen=True, slots=True)
class Offer:
    """What is to be sent to whom, and why. `statement` is the one that holds for the person if not given."""

    account: Any
    purpose: str
    recipient: str
    fields: frozenset[str]
    signals: Signals = NONE
    mandate: Mandate | None = None
    statement: Statement | None = None
    sight: Sight = Sight.NOW
    note: Mapping[str, str] = field(default_factory=dict)


class NotSent(Exception):
    """It was allowed and recorded, and did not get there."""


def disclose(offer: Offer, sender: Sender, *, deployment: Deployment) -> Decision:
    """Send what may be sent; the answer says what that was. Raises NotSent."""
    with writing():
        decision = _decide(offer, deployment)
        _record(_kind_of(decision), offer, decision, deployment)
    if not decision.allow:
        return decision
    fresh = _decide(offer, deployment)
    fresh = replace(fresh, fields=decision.fields & fresh.fields)
    if not (fresh.allow and fresh.fields):
        fresh = replace(fresh, allow=False)
        with writing():
            _record(Kind.DISCLOSURE_STOPPED, offer, fresh, deployment)
        return fresh
    try:
        sender.send(_values(offer.account, fresh.fields))
    except Exception as error:
        with writing():
            _record(Kind.DISCLOSURE_STOPPED, offer, fresh, deployment)
        raise NotSent from error
    return fresh


def set_down(offer: Offer, sender: Sender, *, deployment: Deployment) -> Decision:
    """`disclose` to a sender that keeps what it gets in the transaction under way: inside `writing()`."""
    decision = _decide(offer, deployment)
    _record(_kind_of(decision), offer, decision, deployment)
    if decision.allow:
        sender.send(_values(offer.account, decision.fields))
    return decision


def _decide(offer: Offer, deployment: Deployment) -> Decision:
    now = deployment.now()
    statement = offer.statement or in_force_for(offer.account, now).statement
    country = read_operator(deployment.config.data).country
    facts = facts_of(offer.account, country=country, now=now)
    ask = Ask(offer.purpose, offer.recipient, offer.fields, facts, now, offer.signals, offer.mandate)
    return decide(statement, ask)


def _kind_of(decision: Decision) -> Kind:
    return Kind.DISCLOSED if decision.allow else Kind.DISCLOSURE_REFUSED


def _record(kind: Kind, offer: Offer, decision: Decision, deployment: Deployment) -> None:
    payload = {
        "purpose": offer.purpose,
        "recipient": offer.recipient,
        "fields": sorted(decision.fields),
        "basis": "" if decision.basis is None else decision.basis.value,
        "reason": decision.reason.value,
        **offer.note,
    }
    subject = offer.account if offer.sight is Sight.NOW else None
    record(kind, clause=decision.clause, payload=payload, now=deployment.now(), subject=subject)


def _values(account: Any, fields: frozenset[str]) -> Values:
    found: dict[str, list[Any]] = {}
    for table in tables_about():
        wanted = [name.rpartition(".")[2] for name in fields if name.rpartition(".")[0] == table.label]
        if wanted:
            rows = list(table.values(account.pk, wanted))
            found.update({f"{table.label}.{name}": [row[name] for row in rows] for name in wanted})
    return found
