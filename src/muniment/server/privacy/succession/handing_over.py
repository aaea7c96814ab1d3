"""A buyer of the service: declared, told to everybody, and handed over to only after thirty days.

    declare ──▶ tell_everybody (every ten minutes) ──▶ 30 days after each person was told ──▶ hand_over

Until then people take everything along, delete their account, or object (`/requests`), which the gate heeds:
who objected stays out. The gate decides each person by itself, with the succession as its mandate.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TextIO
from uuid import UUID, uuid4

from django.contrib.auth import get_user_model

from muniment.server.deployment import Deployment
from muniment.server.privacy.gate.decide import Decision, Mandate
from muniment.server.privacy.gate.disclose import Offer, Sender, Values, disclose
from muniment.server.privacy.ledger.entries import record
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.ports import Told, notify
from muniment.server.privacy.registry import Personal
from muniment.server.privacy.rows_about import tables_about
from muniment.server.privacy.statement import Statement
from muniment.server.privacy.succession.models import Succession, SuccessionNotice
from muniment.server.privacy.terms import Recipient, RecipientKind
from muniment.server.privacy.versions.in_force import in_force_for
from muniment.server.transactions import writing

NOTICE = timedelta(days=30)
PURPOSE = "succession"
_AT_ONCE = 20
"""In one transaction, which keeps every other writer waiting."""
_SECRETS = "credential"
_A_CENTURY = timedelta(days=36500)


class NoSuchSuccession(LookupError):
    """None of that name was declared."""


class TooEarly(Exception):
    """The person was not told, or less than thirty days ago."""


def declare(buyer: str, *, country: str, transfer_basis: str, now: datetime) -> UUID:
    """Somebody is going to take over. Only inside `writing()`. ValueError: it lacks a name or a country."""
    if not buyer.strip() or len(country) != 2:
        raise ValueError("a buyer has a name and a country")
    row = Succession.objects.create(
        ref=uuid4(), buyer=buyer, country=country, transfer_basis=transfer_basis,
        declared_at=now, hands_over_at=now + NOTICE,
    )  # fmt: skip
    record(
        Kind.SUCCESSION_DECLARED, clause="P40", now=now,
        payload={"buyer": buyer, "country": country, "hands_over_at": row.hands_over_at.isoformat()},
    )  # fmt: skip
    return row.ref


def announce(buyer: str, *, country: str, transfer_basis: str, now: datetime) -> UUID:
    """`declare`, durable when it returns. ValueError as there."""
    with writing():
        return declare(buyer, country=country, transfer_basis=transfer_basis, now=now)


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


def hand_over(deployment: Deployment, ref: UUID, account: Any, sender: Sender) -> Decision:
    """Give the buyer what is held about one person, if it may be.

    Raises NoSuchSuccession, TooEarly, NotSent.
    """
    row = Succession.objects.filter(ref=ref).first()
    if row is None:
        raise NoSuchSuccession(ref)
    notice = SuccessionNotice.objects.filter(succession=row, account=account).first()
    now = deployment.now()
    begins = check_notice(row, notice, now=now)
    fields = fields_to_hand_over(in_force_for(account, now).statement)
    buyer = Recipient(
        name=f"succession {row.ref.hex}", title=row.buyer, kind=RecipientKind.PURCHASER,
        purposes=frozenset({PURPOSE}), fields=fields, country=row.country, contract="", expires=None,
        reviewed=None, transfer_basis=row.transfer_basis,
    )  # fmt: skip
    statement = replace(in_force_for(account, now).statement, recipients={buyer.name: buyer})
    mandate = Mandate(buyer.name, fields, begins, begins + _A_CENTURY)
    offer = Offer(account, PURPOSE, buyer.name, fields, mandate=mandate, statement=statement)
    decision = disclose(offer, sender, deployment=deployment)
    if decision.allow:
        with writing():
            SuccessionNotice.objects.filter(succession=row, account=account).update(handed_over_at=now)
            record(Kind.SUCCESSION_DONE, clause="P40", payload={"buyer": row.buyer}, now=now, subject=account)
    return decision


def hand_over_everybody(deployment: Deployment, ref: UUID, file: TextIO) -> tuple[int, int]:
    """One line of JSON for each person who may be handed over; (how many, how many not).

    Who was handed over already is not again. Raises NoSuchSuccession.
    """
    if not Succession.objects.filter(ref=ref).exists():
        raise NoSuchSuccession(ref)
    given = kept = 0
    waiting = SuccessionNotice.objects.filter(succession__ref=ref, handed_over_at=None)
    for notice in waiting.select_related("account").order_by("pk").iterator():
        try:
            decision = hand_over(deployment, ref, notice.account, _Lines(file))
        except TooEarly:
            kept += 1
            continue
        given, kept = (given + 1, kept) if decision.allow else (given, kept + 1)
    return given, kept


@dataclass(frozen=True, slots=True)
class _Lines:
    """A file that the operator hands to the buyer."""

    file: TextIO

    def send(self, values: Values) -> None:
        self.file.write(json.dumps(values, default=_plain, sort_keys=True) + "\n")


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
    """Every personal column that the purpose may use, but none that proves who somebody is."""
    allowed = statement.purposes[PURPOSE].categories - {_SECRETS}
    return frozenset(
        f"{table.label}.{column.name}"
        for table in tables_about()
        for column in table.columns
        if isinstance(column.declaration, Personal) and column.declaration.category in allowed
    )


def _tell(account: Any, row: Succession, *, now: datetime) -> None:
    at = now + NOTICE
    about = {"kind": row.buyer, "due_at": max(at, row.hands_over_at), "path": "/requests"}
    SuccessionNotice.objects.create(account=account, succession=row, told_at=now)
    notify(Told.SUCCESSION, email=account.email, about=about, now=now)
    payload = {"buyer": row.buyer, "country": row.country}
    record(Kind.SUCCESSION_ANNOUNCED, clause="P40", payload=payload, now=now, subject=account)
