"""What happens to an order: taken in, approved by two, exported within its scope, told to the person.

    open ──first approver──▶ open ──another approver──▶ open ──export──▶ exported ──told, at once or when the
      └──refuse, with a reason──▶ refused                                            gag ends──▶ told

Exporting writes the document into the case, in the transaction that closes it. From there it is fetched as
often as it takes; it goes once somebody says that the authority has it, after thirty days, or with the
person.

What was not exported within ninety days has lapsed; the next approval is the first of another ninety.

The operator cannot read what is backed up, so no order reaches it: what is exported are the rows of the
account that the order names and that the registry declares. Secrets, such as hashes of passwords, are never
among them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet

from muniment.server.deployment import Deployment
from muniment.server.privacy.disclosures.models import OWN_JUDGEMENT, Cause, OrderCase, State
from muniment.server.privacy.external import EXTERNAL
from muniment.server.privacy.gate.decide import Mandate
from muniment.server.privacy.gate.disclose import Offer, Sight, Values, set_down
from muniment.server.privacy.ledger.entries import record
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.ports import Told, notify
from muniment.server.privacy.purposes import Purpose, purpose
from muniment.server.privacy.registry import OUTGOING, STAFF, Personal, data_map, titles
from muniment.server.privacy.staff import staff_reading
from muniment.server.privacy.statement import read_statement
from muniment.server.privacy.terms import Recipient, RecipientKind
from muniment.server.transactions import writing

REVIEW = timedelta(days=90)
"""So long a case can be exported once it was taken in, or was looked at anew."""

_DID = {
    "taken_in_by": "Taken in", "first_approver": "Approved", "second_approver": "Approved",
    "closed_by": "", "delivered_by": "Delivered",
}  # fmt: skip
_NEVER = frozenset({"credential"})
_CLAUSES = {Cause.ORDER: "P33", Cause.LAW: "P34", Cause.PROTECT: "P35", Cause.FRAUD: "P36"}
_PURPOSES = {
    Cause.ORDER: "legal_order", Cause.LAW: "legal_order", Cause.PROTECT: "protect", Cause.FRAUD: "fraud",
}  # fmt: skip


class NoSuchOrder(Exception):
    """There is none, or it is closed."""


class NotApproved(Exception):
    """Two different people have to approve it first, and lately."""


class Lapsed(NotApproved):
    """It was not exported in time: two different people have to look at it anew."""


class Forgotten(Exception):
    """The document is gone: with the person, or after thirty days."""


class OutOfScope(Exception):
    """Fields that the order does not cover, or that no order can reach."""

    def __init__(self, fields: frozenset[str]) -> None:
        super().__init__(", ".join(sorted(fields)))
        self.fields = fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order as it came. `gagged_until` is None where nothing forbids telling the person."""

    cause: Cause
    issuer: str
    country: str
    legal_basis: str
    email: str
    scope: frozenset[str]
    deadline: datetime
    reason: str = ""
    gagged_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """Whom an order is about, empty once the account is gone, and our own reason where no order makes us."""

    email: str
    reason: str


def fields_within_reach() -> tuple[str, ...]:
    """What an order can name at all: personal columns, but for secrets and for what was made for others."""
    return tuple(
        column.registered
        for column in data_map(EXTERNAL)
        if isinstance(column.declaration, Personal)
        and column.declaration.category not in _NEVER
        and column.declaration.keep != OUTGOING
    )


def titles_within_reach() -> dict[str, dict[str, str]]:
    """The same as people read it: by table, the title of each column by its registered name."""
    named = titles(data_map(EXTERNAL))
    found: dict[str, dict[str, str]] = {}
    for name in fields_within_reach():
        table, title = named[name]
        found.setdefault(table, {})[name] = title
    return found


@purpose(Purpose.LEGAL_ORDER)
def take_in(order: Order, *, by: Any, now: datetime) -> UUID:
    """Open a case. Only inside `writing()`. ValueError: it lacks something; OutOfScope; NoSuchOrder."""
    said = (order.issuer, order.country, order.legal_basis)
    if not all(text.strip() for text in said) or not order.scope or order.deadline <= now:
        raise ValueError(
            "an order has an issuer, a country, a legal basis, a scope, and a deadline that lies ahead"
        )
    if order.cause in OWN_JUDGEMENT and not order.reason.strip():
        raise ValueError("what we do in our own judgement needs a written reason")
    beyond = order.scope - set(fields_within_reach())
    if beyond:
        raise OutOfScope(beyond)
    account = get_user_model()._default_manager.with_address(order.email).first()
    if account is None:
        raise NoSuchOrder
    row = OrderCase.objects.create(
        ref=uuid4(), subject=account, cause=order.cause, issuer=order.issuer, country=order.country,
        legal_basis=order.legal_basis, scope=sorted(order.scope), reason=order.reason, received_at=now,
        deadline=order.deadline, gagged_until=order.gagged_until, review_at=now + REVIEW,
        taken_in_by=by,
    )  # fmt: skip
    _record(Kind.ORDER_RECEIVED, row, now=now)
    return row.ref


@purpose(Purpose.LEGAL_ORDER)
def approve(ref: UUID, approver: Any, *, now: datetime) -> int:
    """Returns how many have approved. The same person twice counts once. Only inside `writing()`.

    Of a case that lapsed, this is the first approval of another ninety days.
    """
    row = _open_case(ref)
    if row.has_lapsed(now):
        row.first_approver, row.second_approver, row.approvals = None, None, 0
        row.review_at = now + REVIEW
    if not row.is_approved and approver.pk != row.first_approver_id:
        if row.approvals == 0:
            row.first_approver = approver
        else:
            row.second_approver = approver
        row.approvals += 1
    row.save(update_fields=["first_approver", "second_approver", "approvals", "review_at"])
    _record(Kind.ORDER_APPROVED, row, now=now, approvals=str(row.approvals))
    return row.approvals


@purpose(Purpose.LEGAL_ORDER)
def refuse(ref: UUID, *, reason: str, by: Any, now: datetime) -> None:
    """Only inside `writing()`. ValueError without a reason; NoSuchOrder."""
    if not reason.strip():
        raise ValueError("a refusal gives its reason")
    row = _open_case(ref)
    row.state, row.refusal, row.closed_at, row.closed_by = State.REFUSED, reason, now, by
    row.save(update_fields=["state", "refusal", "closed_at", "closed_by"])
    _record(Kind.ORDER_REFUSED, row, now=now)


@purpose(Purpose.LEGAL_ORDER)
def export(deployment: Deployment, ref: UUID, *, by: Any, fields: frozenset[str] | None = None) -> None:
    """Write down what the authority gets, close the case, and tell the person, or later: all, or nothing.

    `fields` may narrow the scope. Raises NoSuchOrder, NotApproved (Lapsed), OutOfScope. Of two who do it at
    once, one finds no open order any more; the document is there for both.
    """
    now = deployment.now()
    with writing():
        row = _open_case(ref)
        document = _Document(row)
        decision = set_down(_offer(row, fields, now=now), document, deployment=deployment)
        if decision.allow:
            row.state, row.closed_at, row.closed_by = State.EXPORTED, now, by
            row.document = document.text
            row.save(update_fields=["state", "closed_at", "closed_by", "document"])
            _record(Kind.ORDER_EXPORTED, row, now=now, fields=str(len(decision.fields)))
            if not _is_gagged(row, now=now):
                _tell(row, now=now)
    if not decision.allow:
        raise NotApproved


@purpose(Purpose.LEGAL_ORDER)
def fetch(ref: UUID, *, now: datetime) -> str:
    """The document, until somebody says that it arrived. Raises NoSuchOrder, Forgotten."""
    with writing():
        row = _undelivered(ref)
        if not row.document:
            raise Forgotten
        _record(Kind.ORDER_FETCHED, row, now=now)
    return row.document


@purpose(Purpose.LEGAL_ORDER)
def deliver(ref: UUID, *, by: Any, now: datetime) -> None:
    """The authority has its document, or there is none any more: our copy goes. Raises NoSuchOrder."""
    with writing():
        row = _undelivered(ref)
        _record(Kind.ORDER_DELIVERED, row, now=now, document="arrived" if row.document else "forgotten")
        row.document, row.delivered_at, row.delivered_by = "", now, by
        row.save(update_fields=["document", "delivered_at", "delivered_by"])


def end_gags(deployment: Deployment) -> int:
    """Tell everybody whose gag has ended; returns how many."""
    now = deployment.now()
    told = 0
    for row in OrderCase.objects.filter(state=State.EXPORTED, told_at=None).select_related("subject"):
        if not _is_gagged(row, now=now):
            with writing():
                _tell(row, now=now)
            told += 1
    return told


@dataclass(frozen=True, slots=True)
class Listed:
    """One order, as staff see it in a list: not whom it is about, but who of them did what."""

    order: OrderCase
    did: tuple[tuple[str, str], ...]
    """What, and the address of who did it; without those whose account is gone."""


def open_orders() -> list[Listed]:
    """The most urgent first."""
    return _listed(OrderCase.objects.filter(state=State.OPEN).order_by("deadline"))


def undelivered_orders() -> list[Listed]:
    """Exported, and nobody said yet that the document arrived; the oldest first."""
    rows = OrderCase.objects.filter(state=State.EXPORTED, delivered_at=None)
    return _listed(rows.order_by("closed_at"))


def closed_orders(*, now: datetime) -> list[Listed]:
    """Refused, or answered to the end, in the last ninety days; the newest first."""
    done = Q(state=State.REFUSED) | Q(delivered_at__isnull=False)
    rows = OrderCase.objects.filter(done, closed_at__gt=now - REVIEW)
    return _listed(rows.order_by("-closed_at"))


@purpose(Purpose.LEGAL_ORDER)
def _listed(rows: QuerySet[OrderCase]) -> list[Listed]:
    found = []
    for row in rows.defer("document").select_related(*_DID):
        ending = "Refused" if row.state == State.REFUSED else "Exported"
        acts = (
            (ending if name == "closed_by" else words, getattr(row, name)) for name, words in _DID.items()
        )
        found.append(Listed(row, tuple((words, who.email) for words, who in acts if who is not None)))
    return found


def read_order(ref: UUID, *, reason: str, now: datetime) -> Asked:
    """For staff, who say why. In a gag the record is about nobody. Raises NoSuchOrder, ReasonMissing."""
    with purpose(Purpose.LEGAL_ORDER):
        row = OrderCase.objects.select_related("subject").filter(ref=ref, state=State.OPEN).first()
        if row is None:
            raise NoSuchOrder
        shown_to = None if _is_gagged(row, now=now) else row.subject
    with staff_reading(Purpose.LEGAL_ORDER, reason=reason, subject=shown_to, about=row.ref.hex, now=now):
        return Asked("" if row.subject is None else row.subject.email, row.reason)


@dataclass
class _Document:
    """What an authority gets, as one text."""

    row: OrderCase
    text: str = ""

    def send(self, values: Values) -> None:
        content = {
            "case": self.row.ref.hex,
            "issuer": self.row.issuer,
            "legal_basis": self.row.legal_basis,
            "fields": {name: [_plain(value) for value in held] for name, held in values.items()},
            "cannot_be_given": "what is backed up: it is sealed with a key that we never had",
        }
        self.text = json.dumps(content, ensure_ascii=False, indent=1)


def _offer(row: OrderCase, fields: frozenset[str] | None, *, now: datetime) -> Offer:
    """For the gate, as everything else: the approved case is what declares this recipient.

    Raises NoSuchOrder, NotApproved (Lapsed), OutOfScope.
    """
    if row.subject is None:
        raise NoSuchOrder
    if row.has_lapsed(now):
        raise Lapsed
    if not row.is_approved:
        raise NotApproved
    scope = frozenset(row.scope)
    wanted = scope if fields is None else fields
    if wanted - scope:
        raise OutOfScope(wanted - scope)
    cause = Cause(row.cause)
    recipient = Recipient(
        name=f"order {row.ref.hex}", title=row.issuer, kind=RecipientKind.AUTHORITY,
        purposes=frozenset({_PURPOSES[cause]}), fields=scope, country=row.country,
        contract="", expires=None, reviewed=None, transfer_basis=row.legal_basis,
    )  # fmt: skip
    return Offer(
        row.subject, _PURPOSES[cause], recipient.name, wanted,
        mandate=Mandate(recipient.name, scope, row.received_at, row.review_at),
        statement=replace(read_statement(), recipients={recipient.name: recipient}),
        sight=Sight.LATER if _is_gagged(row, now=now) else Sight.NOW, note={"case": row.ref.hex},
    )  # fmt: skip


def _tell(row: OrderCase, *, now: datetime) -> None:
    """The person learns of it: by mail, and by an entry of their own in the ledger."""
    OrderCase.objects.filter(pk=row.pk).update(told_at=now)
    if row.subject is not None:
        about = {"kind": row.get_cause_display(), "reason": row.issuer, "path": "/ledger"}
        notify(Told.DISCLOSED, email=row.subject.email, about=about, now=now)
        record(
            Kind.ORDER_TOLD, clause=_CLAUSES[Cause(row.cause)], now=now, subject=row.subject,
            payload={
                "issuer": row.issuer, "fields": list(row.scope), "case": row.ref.hex,
                "decided_by": f"two people, each {STAFF}",
            },
        )  # fmt: skip


def _is_gagged(row: OrderCase, *, now: datetime) -> bool:
    return row.gagged_until is not None and now < row.gagged_until


def _open_case(ref: UUID) -> OrderCase:
    return _case(OrderCase.objects.filter(ref=ref, state=State.OPEN).select_related("subject"))


def _undelivered(ref: UUID) -> OrderCase:
    return _case(OrderCase.objects.filter(ref=ref, state=State.EXPORTED, delivered_at=None))


def _case(cases: QuerySet[OrderCase]) -> OrderCase:
    row = cases.select_for_update(of=("self",)).first()
    if row is None:
        raise NoSuchOrder
    return row


def _record(kind: Kind, row: OrderCase, *, now: datetime, **detail: str) -> None:
    """About nobody: the entries of a case are public counts, and a gag may be in force."""
    payload = {"cause": row.cause, "country": row.country, "case": row.ref.hex, **detail}
    record(kind, clause=_CLAUSES[Cause(row.cause)], payload=payload, now=now)


def _plain(value: Any) -> Any:
    if isinstance(value, (str, int, float, bool, type(None), list, dict)):
        return value
    return value.hex() if isinstance(value, (bytes, memoryview)) else str(value)
