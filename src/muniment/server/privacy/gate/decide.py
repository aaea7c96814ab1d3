"""Whether personal data may go to somebody outside. One pure function; no, unless every test says yes.

    decide(statement, Ask(...)).allow

The tests run from what is declared, through what the recipient has agreed to, to what the person wants; the
first that fails is the reason. None can turn a refusal into a permission: more signals, an objection, a
withdrawn grant, a younger person or a later day only ever refuse more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from muniment.server.privacy.consent.effect import NOTHING, Consents
from muniment.server.privacy.contracts import under_contract, was_reviewed
from muniment.server.privacy.gate.areas import crosses_border
from muniment.server.privacy.signals import NONE, Signals
from muniment.server.privacy.statement import Statement
from muniment.server.privacy.terms import Basis, Purpose, Recipient, RecipientKind

"""A recipient whose care for the data was not looked at for so long is sent nothing."""


class Reason(StrEnum):
    """Why it was decided so."""

    ALLOWED = "allowed"
    UNKNOWN_PURPOSE = "the statement has no such purpose"
    UNKNOWN_RECIPIENT = "the statement names no such recipient"
    NOT_ITS_PURPOSE = "the recipient is not named for this purpose"
    NO_CONTRACT = "there is no contract with the recipient"
    CONTRACT_LAPSED = "the contract with the recipient has lapsed"
    REVIEW_STALE = "how the recipient protects data was not reviewed within a year"
    NO_TRANSFER_BASIS = "the data would cross a border without a basis"
    NO_MANDATE = "nothing that was approved covers this"
    RESTRICTED = "the person had the use of the data restricted"
    OBJECTED = "the person objected to this purpose"
    MINOR = "the person is not of age"
    SIGNALLED = "the browser sends Global Privacy Control"
    NO_CONSENT = "the person did not say yes"
    NOTHING_ALLOWED = "none of these fields is declared for the recipient"


MANDATED = frozenset({RecipientKind.AUTHORITY, RecipientKind.PURCHASER})
"""Kinds that are sent only what an approved order, or a succession whose notice ran out, covers."""

OFFERS = frozenset({RecipientKind.ADVERTISING_PARTNER})
"""Kinds that never hear of anybody who is not of age."""


NAMED_SHARING = "named_sharing"
"""The purpose for which people name a recipient themselves."""


@dataclass(frozen=True, slots=True)
class SubjectFacts:
    """What counts about the person. `country` is that of the region which holds the data."""

    country: str
    is_adult: bool
    is_restricted: bool = False
    objected: frozenset[str] = frozenset()
    """Purposes that the person objected to."""
    consents: Consents = NOTHING


@dataclass(frozen=True, slots=True)
class Mandate:
    """An approved order, or a succession: what it covers of this person, and when."""

    recipient: str
    fields: frozenset[str]
    begins: datetime
    ends: datetime


@dataclass(frozen=True, slots=True)
class Ask:
    """Somebody is to be sent `fields` (`accounts.Account.email` and the like) about a person."""

    purpose: str
    recipient: str
    fields: frozenset[str]
    subject: SubjectFacts
    now: datetime
    signals: Signals = NONE
    mandate: Mandate | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """`fields` are those that may go: never more than were asked for, none where `allow` is False."""

    allow: bool
    fields: frozenset[str]
    basis: Basis | None
    clause: str
    reason: Reason


_CLAUSES = {
    RecipientKind.AFFILIATE: "P30",
    RecipientKind.PROCESSOR: "P38",
    RecipientKind.CHANNEL_PARTNER: "P32",
    RecipientKind.AUTHORITY: "P33",
    RecipientKind.PURCHASER: "P40",
    RecipientKind.ADVERTISING_PARTNER: "P21",
}
_DENIED = "P41"
_CONSENTED = "P37"


def can_be_named(recipient: Recipient) -> bool:
    """Whether somebody may name it as one whom we shall send to."""
    return NAMED_SHARING in recipient.purposes and recipient.kind not in MANDATED | OFFERS


def decide(statement: Statement, ask: Ask) -> Decision:
    """Whether, and which fields of, `ask` may be sent."""
    purpose = statement.purposes.get(ask.purpose)
    if purpose is None:
        return _refused(Reason.UNKNOWN_PURPOSE)
    recipient = statement.recipients.get(ask.recipient)
    if recipient is None:
        return _refused(Reason.UNKNOWN_RECIPIENT)
    clause = _CLAUSES[recipient.kind]
    for test in _TESTS:
        reason = test(ask, purpose, recipient)
        if reason is not None:
            return _refused(reason, clause)
    fields = ask.fields & recipient.fields
    if ask.mandate is not None:
        fields &= ask.mandate.fields
    if not fields:
        return _refused(Reason.NOTHING_ALLOWED, clause)
    clause = _CONSENTED if purpose.basis is Basis.CONSENT else clause
    return Decision(True, fields, purpose.basis, clause, Reason.ALLOWED)


def _refused(reason: Reason, clause: str = _DENIED) -> Decision:
    return Decision(False, frozenset(), None, clause, reason)


# --- what is declared


def _names_purpose(ask: Ask, purpose: Purpose, recipient: Recipient) -> Reason | None:  # noqa: ARG001
    return None if purpose.name in recipient.purposes else Reason.NOT_ITS_PURPOSE


# --- what the recipient has agreed to


def _has_contract(ask: Ask, purpose: Purpose, recipient: Recipient) -> Reason | None:  # noqa: ARG001
    today = ask.now.date()
    if recipient.kind in MANDATED or under_contract(recipient, today):
        return None
    ended = recipient.contract and recipient.expires is not None and recipient.expires <= today
    return Reason.CONTRACT_LAPSED if ended else Reason.NO_CONTRACT


def _was_reviewed(ask: Ask, purpose: Purpose, recipient: Recipient) -> Reason | None:  # noqa: ARG001
    if recipient.kind in MANDATED or was_reviewed(recipient, ask.now.date()):
        return None
    return Reason.REVIEW_STALE


def _may_cross(ask: Ask, purpose: Purpose, recipient: Recipient) -> Reason | None:  # noqa: ARG001
    if recipient.transfer_basis or not crosses_border(ask.subject.country, recipient.country):
        return None
    return Reason.NO_TRANSFER_BASIS


def _has_mandate(ask: Ask, purpose: Purpose, recipient: Recipient) -> Reason | None:  # noqa: ARG001
    mandate = ask.mandate
    if mandate is None:
        return Reason.NO_MANDATE if recipient.kind in MANDATED else None
    covers = mandate.recipient == recipient.name and mandate.begins <= ask.now < mandate.ends
    return None if covers else Reason.NO_MANDATE


# --- what the person wants


def _is_open(ask: Ask, purpose: Purpose, recipient: Recipient) -> Reason | None:
    subject = ask.subject
    if recipient.kind is RecipientKind.AUTHORITY:
        return None  # neither a restriction nor an objection stands against an order that was approved
    if subject.is_restricted:
        return Reason.RESTRICTED
    return Reason.OBJECTED if purpose.name in subject.objected else None


def _is_of_age(ask: Ask, purpose: Purpose, recipient: Recipient) -> Reason | None:
    is_offer = recipient.kind in OFFERS or purpose.gpc
    return Reason.MINOR if is_offer and not ask.subject.is_adult else None


def _said_yes(ask: Ask, purpose: Purpose, recipient: Recipient) -> Reason | None:
    gpc, said = ask.signals.gpc, ask.subject.consents
    if purpose.basis is Basis.CONSENT:
        if said.allows(purpose.name, recipient=recipient.name, gpc=gpc):
            return None
        if gpc and said.allows(purpose.name, recipient=recipient.name):
            return Reason.SIGNALLED
        return Reason.NO_CONSENT
    return Reason.SIGNALLED if gpc and purpose.gpc else None


_TESTS: tuple[Callable[[Ask, Purpose, Recipient], Reason | None], ...] = (
    _names_purpose,
    _has_contract,
    _was_reviewed,
    _may_cross,
    _has_mandate,
    _is_open,
    _is_of_age,
    _said_yes,
)
