"""What happens to an order: taken in, approved by two, exported within its scope, told to the person.

    open ──first approver──▶ open ──another approver──▶ open ──export──▶ exported ──told, at once or when the
      └──refuse, with a reason──▶ refused                                            gag ends──▶ told

What was not exported within ninety days has lapsed; the next approval is the first of another ninety.

The operator cannot read what is backed up, so no order reaches it: what is exported are the rows of the
account that the order names and that the registry declares. Secrets, such as hashes of passwords, are never
among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.contrib.auth import get_user_model
from django.db.models import QuerySet

from muniment.server.deployment import Deployment
from muniment.server.privacy.disclosures.models import OWN_JUDGEMENT, Cause, OrderCase, State
from muniment.server.privacy.external import EXTERNAL
from muniment.server.privacy.gate.decide import Decision, Mandate
from muniment.server.privacy.gate.disclose import NotSent, Offer, Sight, Values, disclose
from muniment.server.privacy.ledger.entries import record
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.ports import Told, notify
from muniment.server.privacy.purposes import Purpose, purpose
from muniment.server.privacy.registry import Personal, data_map
from muniment.server.privacy.staff import staff_reading
from muniment.server.privacy.statement import read_statement
from muniment.server.privacy.terms import Recipient, RecipientKind
from muniment.server.transactions import writing

REVIEW = timedelta(days=90)
"""So long a case can be exported once it was taken in, or was looked at anew."""

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
    """What an order can name at all: personal columns, but for secrets."""
    return tuple(
        f"{column.model}.{column.name}"
        for column in data_map(EXTERNAL)
        if isinstance(column.declaration, Personal) and column.declaration.category not in _NEVER
    )


@purpose(Purpose.LEGAL_ORDER)
def take_in(order: Order, *, now: datetime) -> UUID:
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
    account = get_user_model()._default_manager.filter(email=order.email.lower()).first()
    if account is None:
        raise NoSuchOrder
    row = OrderCase.objects.create(
        ref=uuid4(), subject=account, cause=order.cause, issuer=order.issuer, country=order.country,
        legal_basis=order.legal_basis, scope=sorted(order.scope), reason=order.reason, received_at=now,
        deadline=order.deadline, gagged_until=order.gagged_until, review_at=now + REVIEW,
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
        row.first_approver, row.second_approver, row.review_at = None, None, now + REVIEW
    if row.first_approver_id is None:
        row.first_approver = approver
    elif row.first_approver_id != approver.pk and row.second_approver_id is None:
        row.second_approver = approver
    row.save(update_fields=["first_approver", "second_approver", "review_at"])
    approvals = sum(one is not None for one in (row.first_approver_id, row.second_approver_id))
    _record(Kind.ORDER_APPROVED, row, now=now, approvals=str(approvals))
    return approvals


@purpose(Purpose.LEGAL_ORDER)
def refuse(ref: UUID, *, reason: str, now: datetime) -> None:
    """Only inside `writing()`. ValueError without a reason; NoSuchOrder."""
    if not reason.strip():
        raise ValueError("a refusal gives its reason")
    row = _open_case(ref)
    row.state, row.refusal, row.closed_at = State.REFUSED, reason, now
    row.save(update_fields=["state", "refusal", "closed_at"])
    _record(Kind.ORDER_REFUSED, row, now=now)


@dataclass
class _Document:
    """Where an export goes: into the hands of the one who closes the case, and of nobody who asks beside."""

    case: int
    now: datetime
    values: Values = field(default_factory=dict)

    def send(self, values: Values) -> None:
        """Raises NoSuchOrder: somebody else closed it since."""
        with writing():
            row = _still_open(OrderCase.objects.filter(pk=self.case))
            row.state, row.closed_at = State.EXPORTED, self.now
            row.save(update_fields=["state", "closed_at"])
            _record(Kind.ORDER_EXPORTED, row, now=self.now, fields=str(len(values)))
            if not _is_gagged(row, now=self.now):
                _tell(row, now=self.now)
        self.values = values


@purpose(Purpose.LEGAL_ORDER)
def export(deployment: Deployment, ref: UUID, *, fields: frozenset[str] | None = None) -> Mapping[str, Any]:
    """What the authority gets, as one document; the case is closed and the person told, or told later.

    `fields` may narrow the scope. Raises NoSuchOrder, NotApproved (Lapsed), OutOfScope. Of two who
    ask at once, one gets the document, and the other NoSuchOrder.
    """
    row = OrderCase.objects.select_related("subject").filter(ref=ref, state=State.OPEN).first()
    if row is None or row.subject is None:
        raise NoSuchOrder
    now = deployment.now()
    if row.has_lapsed(now):
        raise Lapsed
    if row.second_approver_id is None:
        raise NotApproved
    scope = frozenset(row.scope)
    wanted = scope if fields is None else fields
    if wanted - scope:
        raise OutOfScope(wanted - scope)
    document = _Document(row.pk, now)
    try:
        decision = _disclose(row, wanted, document, deployment)
    except NotSent as error:
        if isinstance(error.__cause__, NoSuchOrder):
            raise NoSuchOrder from error
        raise
    if not decision.allow:
        raise NotApproved
    return {
        "case": row.ref.hex,
        "issuer": row.issuer,
        "legal_basis": row.legal_basis,
        "fields": {name: [_plain(value) for value in values] for name, values in document.values.items()},
        "cannot_be_given": "what is backed up: it is sealed with a key that we never had",
    }


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


def open_orders() -> list[OrderCase]:
    """The most urgent first. Who they are about is not shown with them."""
    return list(OrderCase.objects.filter(state=State.OPEN).order_by("deadline"))


def read_order(ref: UUID, *, reason: str, now: datetime) -> Asked:
    """For staff, who say why. In a gag the record is about nobody. Raises NoSuchOrder, ReasonMissing."""
    with purpose(Purpose.LEGAL_ORDER):
        row = OrderCase.objects.select_related("subject").filter(ref=ref, state=State.OPEN).first()
        if row is None:
            raise NoSuchOrder
        shown_to = None if _is_gagged(row, now=now) else row.subject
    with staff_reading(Purpose.LEGAL_ORDER, reason=reason, subject=shown_to, about=row.ref.hex, now=now):
        return Asked("" if row.subject is None else row.subject.email, row.reason)


def _disclose(
    row: OrderCase, wanted: frozenset[str], document: _Document, deployment: Deployment
) -> Decision:
    """Through the gate like everything else: the approved case is what declares this recipient."""
    cause = Cause(row.cause)
    recipient = Recipient(
        name=f"order {row.ref.hex}", title=row.issuer, kind=RecipientKind.AUTHORITY,
        purposes=frozenset({_PURPOSES[cause]}), fields=frozenset(row.scope), country=row.country,
        contract="", expires=None, reviewed=None, transfer_basis=row.legal_basis,
    )  # fmt: skip
    statement = replace(read_statement(), recipients={recipient.name: recipient})
    mandate = Mandate(recipient.name, frozenset(row.scope), row.received_at, row.review_at)
    gagged = _is_gagged(row, now=deployment.now())
    offer = Offer(
        row.subject, _PURPOSES[cause], recipient.name, wanted, mandate=mandate, statement=statement,
        sight=Sight.LATER if gagged else Sight.NOW, note={"case": row.ref.hex},
    )  # fmt: skip
    return disclose(offer, document, deployment=deployment)


def _tell(row: OrderCase, *, now: datetime) -> None:
    """The person learns of it: by mail, and by an entry of their own in the ledger."""
    OrderCase.objects.filter(pk=row.pk).update(told_at=now)
    if row.subject is not None:
        about = {"kind": row.get_cause_display(), "reason": row.issuer, "path": "/ledger"}
        notify(Told.DISCLOSED, email=row.subject.email, about=about, now=now)
        record(
            Kind.ORDER_TOLD, clause=_CLAUSES[Cause(row.cause)], now=now, subject=row.subject,
            payload={"issuer": row.issuer, "fields": list(row.scope), "case": row.ref.hex},
        )  # fmt: skip


def _is_gagged(row: OrderCase, *, now: datetime) -> bool:
    return row.gagged_until is not None and now < row.gagged_until


def _open_case(ref: UUID) -> OrderCase:
    return _still_open(OrderCase.objects.filter(ref=ref))


def _still_open(cases: QuerySet[OrderCase]) -> OrderCase:
    row = cases.select_for_update(of=("self",)).filter(state=State.OPEN).first()
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
