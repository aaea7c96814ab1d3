"""A buyer of the service: declared, told to everybody, and handed over to only after thirty days.

    declare ──▶ tell_everybody (every ten minutes) ──▶ 30 days after each person was told ──▶ make_hand_over
      ──▶ fetch_lines, as often as it takes ──▶ deliver: the buyer has it, and our copy goes

Until then people take everything along, delete their account, or object (`/requests`), which the gate heeds:
who objected stays out. The gate decides each person by itself, with the succession as its mandate.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet

from muniment.server.deployment import Deployment
from muniment.server.privacy.gate.decide import Mandate
from muniment.server.privacy.gate.disclose import Offer, Values, set_down
from muniment.server.privacy.ledger.entries import record
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.ports import Told, notify
from muniment.server.privacy.purposes import Purpose, purpose
from muniment.server.privacy.registry import OUTGOING, Personal
from muniment.server.privacy.requests.models import Kind as Asked
from muniment.server.privacy.requests.models import Request, Restriction
from muniment.server.privacy.rows_about import tables_about
from muniment.server.privacy.statement import Statement
from muniment.server.privacy.succession.models import HandOver, Succession, SuccessionNotice
from muniment.server.privacy.terms import Recipient, RecipientKind
from muniment.server.privacy.versions.in_force import in_force_for
from muniment.server.transactions import writing

NOTICE = timedelta(days=30)
PURPOSE = "succession"
_AT_ONCE = 20
"""In one transaction, which keeps every other writer waiting."""
_EVERY_USE = ""
_SECRETS = "credential"
_A_CENTURY = timedelta(days=36500)


class NoSuchSuccession(LookupError):
    """None of that name was declared."""


class NoSuchHandOver(LookupError):
    """There is none of that name, it is not made yet, or it arrived."""


class NeedsAnother(Exception):
    """Who declared the buyer does not hand over, too: it takes two people, as orders do."""


class TooEarly(Exception):
    """The person was not told, or less than thirty days ago."""


@dataclass(frozen=True, slots=True)
class Made:
    """What `make_hand_over` did: how many people it wrote down, and how many are in no file."""

    ref: UUID
    given: int
    kept: int


def declare(buyer: str, *, country: str, transfer_basis: str, now: datetime, by: Any = None) -> UUID:
    """Somebody is going to take over; `by` staff, if any. Only inside `writing()`.

    ValueError: it lacks a name or a country.
    """
    if not buyer.strip() or len(country) != 2:
        raise ValueError("a buyer has a name and a country")
    row = Succession.objects.create(
        ref=uuid4(), buyer=buyer, country=country, transfer_basis=transfer_basis,
        declared_at=now, hands_over_at=now + NOTICE, declared_by=by,
    )  # fmt: skip
    record(
        Kind.SUCCESSION_DECLARED, clause="P40", now=now,
        payload={"buyer": buyer, "country": country, "hands_over_at": row.hands_over_at.isoformat()},
    )  # fmt: skip
    return row.ref


def announce(buyer: str, *, country: str, transfer_basis: str, now: datetime, by: Any) -> UUID:
    """`declare`, durable when it returns. ValueError as there."""
    with writing():
        return declare(buyer, country=country, transfer_basis=transfer_basis, now=now, by=by)


def tell_everybody(*, now: datetime) -> int:
    """Write to every account that was not told yet; returns how many."""
    told = 0
    for row in Succession.objects.all():
        while True:
            known = SuccessionNotice.objects.filter(succession=row).values("account")
            with writing():
                # Their rows before the first record, which takes the ledger's: docs/design/concurrency.md.
                people = get_user_model()._default_manager.select_for_update(no_key=True)
                untold = list(people.exclude(pk__in=known).order_by("pk")[:_AT_ONCE])
                for account in untold:
                    _tell(account, row, now=now)
            told += len(untold)
            if len(untold) < _AT_ONCE:
                break
    return told


def make_hand_over(deployment: Deployment, ref: UUID, *, by: Any = None) -> Made:
    """Write down, for the buyer, everybody who may be handed over now and was not before.

    What is not known to have arrived is gone on with, and only what is missing of it is made again. Twenty
    people are one transaction: the decision of the gate about each, its record, the line and the mark. Two
    who do it at once share the work. `by`: staff; without, the operator by command. Raises NoSuchSuccession,
    NeedsAnother.
    """
    with writing():
        row = _locked(ref)
        if by is not None and by.pk == row.declared_by_id:
            raise NeedsAnother
        made, _ = HandOver.objects.get_or_create(
            succession=row, delivered_at=None,
            defaults={"ref": uuid4(), "begun_at": deployment.now(), "begun_by": by},
        )  # fmt: skip
    last, given = 0, 0
    while True:
        with writing():
            row = _locked(ref)
            # Who shares the work may have been done with it, and even have had it delivered.
            still = HandOver.objects.filter(pk=made.pk, delivered_at=None).first()
            batch = [] if still is None else _missing_in(still, after=last)
            given += sum(_write_down(deployment, row, notice, into=made) for notice in batch)
        if len(batch) < _AT_ONCE:
            break
        last = batch[-1].pk
    with writing():
        _locked(ref)
        notices = SuccessionNotice.objects.filter(succession=row)
        if not notices.filter(hand_over=made).exists():
            HandOver.objects.filter(pk=made.pk).delete()
        HandOver.objects.filter(pk=made.pk, made_at=None).update(made_at=deployment.now())
        return Made(made.ref, given, notices.filter(handed_over_at=None).count())


def fetch_lines(ref: UUID, *, now: datetime) -> Iterator[str]:
    """The file: one JSON object a line, without whoever left or objected since. Raises NoSuchHandOver."""
    with writing():
        made = _open_and_made(ref)
        record(
            Kind.SUCCESSION_FETCHED, clause="P40", now=now,
            payload={"buyer": made.succession.buyer, "hand_over": made.ref.hex},
        )  # fmt: skip
    return _lines_of(made)


@purpose(Purpose.SUCCESSION)
def deliver(ref: UUID, *, now: datetime) -> None:
    """The buyer has the file: our copy goes. Raises NoSuchHandOver."""
    with writing():
        made = _open_and_made(ref)
        HandOver.objects.filter(pk=made.pk).update(delivered_at=now)
        record(
            Kind.SUCCESSION_DELIVERED, clause="P40", now=now,
            payload={"buyer": made.succession.buyer, "hand_over": made.ref.hex},
        )  # fmt: skip
    # Where this stops, retention deletes what is left.
    rows = SuccessionNotice.objects.filter(hand_over=made).exclude(line="")
    while True:
        with writing():
            keys = list(rows.values_list("pk", flat=True)[:_AT_ONCE])
            SuccessionNotice.objects.filter(pk__in=keys).update(line="")
        if len(keys) < _AT_ONCE:
            return


def against() -> QuerySet[Restriction]:
    """Whoever said no to it, or to every use."""
    return Restriction.objects.filter(ended_at=None, purpose__in=(PURPOSE, _EVERY_USE))


def leaving() -> QuerySet[Request]:
    """Whoever asked to be deleted."""
    return Request.objects.filter(kind=Asked.ERASE, closed_at=None).exclude(subject=None)


def _locked(ref: UUID) -> Succession:
    """One at a time writes into the file of a succession."""
    row = Succession.objects.select_for_update().filter(ref=ref).first()
    if row is None:
        raise NoSuchSuccession(ref)
    return row


def _open_and_made(ref: UUID) -> HandOver:
    rows = HandOver.objects.select_for_update(of=("self",)).select_related("succession")
    made = rows.filter(ref=ref, delivered_at=None).exclude(made_at=None).first()
    if made is None:
        raise NoSuchHandOver(ref)
    return made


def _missing_in(made: HandOver, *, after: int) -> list[SuccessionNotice]:
    """People whose line is not there: nobody made it yet, or it was swept before it was fetched."""
    swept = Q(hand_over=made, line="")
    wanted = swept if made.made_at is not None else swept | Q(hand_over=None, handed_over_at=None)
    notices = SuccessionNotice.objects.filter(wanted, succession=made.succession_id, pk__gt=after)
    staying = notices.exclude(account__in=leaving().values("subject"))
    return list(staying.select_related("account").order_by("pk")[:_AT_ONCE])


def _write_down(deployment: Deployment, row: Succession, notice: SuccessionNotice, *, into: HandOver) -> bool:
    """Whether the person is in the file now."""
    now, account = deployment.now(), notice.account
    try:
        begins = check_notice(row, notice, now=now)
    except TooEarly:
        return False
    said = in_force_for(account, now).statement
    fields = fields_to_hand_over(said)
    buyer = Recipient(
        name=f"succession {row.ref.hex}", title=row.buyer, kind=RecipientKind.PURCHASER,
        purposes=frozenset({PURPOSE}), fields=fields, country=row.country, contract="", expires=None,
        reviewed=None, transfer_basis=row.transfer_basis,
    )  # fmt: skip
    offer = Offer(
        account, PURPOSE, buyer.name, fields,
        mandate=Mandate(buyer.name, fields, begins, begins + _A_CENTURY),
        statement=replace(said, recipients={buyer.name: buyer}),
    )  # fmt: skip
    line = _Line()
    if not set_down(offer, line, deployment=deployment).allow:
        return False
    SuccessionNotice.objects.filter(pk=notice.pk).update(handed_over_at=now, hand_over=into, line=line.text)
    record(Kind.SUCCESSION_DONE, clause="P40", payload={"buyer": row.buyer}, now=now, subject=account)
    return True


def _lines_of(made: HandOver) -> Iterator[str]:
    last = 0
    while True:
        with purpose(Purpose.SUCCESSION):  # never across a yield
            notices = SuccessionNotice.objects.filter(hand_over=made, pk__gt=last).exclude(line="")
            there = notices.exclude(account__in=leaving().values("subject"))
            rows = there.exclude(account__in=against().values("subject")).order_by("pk")
            batch = list(rows.values_list("pk", "line")[:_AT_ONCE])
        for _, line in batch:
            yield line + "\n"
        if len(batch) < _AT_ONCE:
            return
        last = batch[-1][0]


@dataclass
class _Line:
    """What the buyer gets of one person."""

    text: str = ""

    def send(self, values: Values) -> None:
        self.text = json.dumps(values, default=_plain, sort_keys=True)


def _plain(value: Any) -> str:
    return bytes(value).hex() if isinstance(value, (bytes, memoryview)) else str(value)


def check_notice(row: Succession, notice: SuccessionNotice | None, *, now: datetime) -> datetime:
    """From when on the person may be handed over. Raises TooEarly."""
    if notice is None:
        raise TooEarly("the person was not told")
    begins = max(row.hands_over_at, notice.told_at + NOTICE)
    if now < begins:
        raise TooEarly(f"not before {begins.isoformat()}")
    return begins


def fields_to_hand_over(statement: Statement) -> frozenset[str]:
    """Every personal column that the purpose may use, but none that proves who somebody is, and no copies."""
    allowed = statement.purposes[PURPOSE].categories - {_SECRETS}
    return frozenset(
        f"{table.label}.{column.name}"
        for table in tables_about()
        for column in table.columns
        if isinstance(column.declaration, Personal)
        and column.declaration.category in allowed
        and column.declaration.keep != OUTGOING
    )


def _tell(account: Any, row: Succession, *, now: datetime) -> None:
    at = now + NOTICE
    about = {"kind": row.buyer, "due_at": max(at, row.hands_over_at), "path": "/requests"}
    SuccessionNotice.objects.create(account=account, succession=row, told_at=now)
    notify(Told.SUCCESSION, email=account.email, about=about, now=now)
    payload = {"buyer": row.buyer, "country": row.country}
    record(Kind.SUCCESSION_ANNOUNCED, clause="P40", payload=payload, now=now, subject=account)
