"""What the operator's staff see of recipients: whose contract holds, whose ends soon, who was sent what."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum

from muniment.server.privacy.contracts import REVIEW_LASTS, holds
from muniment.server.privacy.gate.decide import can_be_named
from muniment.server.privacy.ledger.entries import count_by
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.terms import Recipient
from muniment.server.privacy.versions.in_force import newest_posted, statement_in_force

WARNED = timedelta(days=30)
"""So long before a contract or a review ends, its end is marked."""
_NAMED_BY_A_CASE = ("order ", "succession ")


class Contract(Enum):
    """How a contract stands, with the colour of a state and its words."""

    HOLDS = ("good", "holds")
    ENDS_SOON = ("attention", "ends soon")
    REVIEW_DUE = ("attention", "review is due")
    NOT_HELD = ("bad", "does not hold: nothing is sent")

    @property
    def state(self) -> str:
        return self.value[0]

    @property
    def words(self) -> str:
        return self.value[1]


@dataclass(frozen=True, slots=True)
class RecipientSeen:
    """`sent` and `refused` count what the ledger still tells: of people who left it tells nothing."""

    recipient: Recipient
    contract: Contract
    is_in_force: bool
    review_ends: date | None
    sent: int
    refused: int

    @property
    def can_be_named(self) -> bool:
        """Whether people can name it, and have us send there."""
        return can_be_named(self.recipient)

    @property
    def kind(self) -> str:
        return self.recipient.kind.value.replace("_", " ")

    @property
    def lists(self) -> dict[str, list[str]]:
        """What is declared in no order, in order."""
        return {
            name: sorted(getattr(self.recipient, name)) for name in ("purposes", "fields", "hosts", "origins")
        }


@dataclass(frozen=True, slots=True)
class Overview:
    rows: tuple[RecipientSeen, ...]
    by_case: int
    """Sendings to authorities and buyers, whom a case named and no table."""


def read_overview(*, now: datetime) -> Overview:
    """Everybody in the version posted last and in the one in force, whose contract ends first at the top."""
    held, posted = statement_in_force(now).recipients, newest_posted(now).recipients
    sent = count_by("recipient", Kind.DISCLOSED) - count_by("recipient", Kind.DISCLOSURE_STOPPED)
    refused = count_by("recipient", Kind.DISCLOSURE_REFUSED)
    known = {**held, **posted}
    rows = (
        RecipientSeen(
            item, contract_of(item, now=now), held.get(name) == item,
            None if item.reviewed is None else item.reviewed + REVIEW_LASTS, sent[name], refused[name],
        )
        for name, item in known.items()
    )  # fmt: skip
    by_case = sum(count for name, count in sent.items() if name.startswith(_NAMED_BY_A_CASE))
    return Overview(tuple(sorted(rows, key=_ends_first)), by_case)


def contract_of(recipient: Recipient, *, now: datetime) -> Contract:
    """How it stands today, by the same measure as the gate's."""
    today = now.date()
    if not holds(recipient, today):
        return Contract.NOT_HELD
    if recipient.expires is not None and recipient.expires - today <= WARNED:
        return Contract.ENDS_SOON
    if recipient.reviewed is not None and recipient.reviewed + REVIEW_LASTS - today <= WARNED:
        return Contract.REVIEW_DUE
    return Contract.HOLDS


def _ends_first(row: RecipientSeen) -> tuple[bool, str, str]:
    expires = row.recipient.expires
    return (expires is not None, "" if expires is None else expires.isoformat(), row.recipient.name)
