"""What the rest of the server asks of the ledger: to record, to show a person what is recorded, to forget."""

from __future__ import annotations

import json
import re
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import Count, JSONField
from django.db.models.fields.json import KT
from django.db.models.functions import Cast

from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.ledger.leaves import SALT_SIZE, Json, Leaf, canonical, commitment_to, hour_of
from muniment.server.privacy.ledger.models import LeafRow, Opening
from muniment.server.privacy.ledger.tree import append_leaf, prove_inclusions, public_key, read_head
from muniment.server.privacy.ledger.verification import BUNDLE, RECEIPT
from muniment.server.privacy.purposes import Purpose, purpose

_HASH = re.compile(r"[0-9a-f]{64}")
SUBJECT = "subject"
"""The payload's key that names whom it is about, so that an entry cannot be moved to somebody else."""


class Subject(Protocol):
    """An account, as far as the ledger knows it. `ref` is the id that the world sees."""

    pk: Any
    ref: UUID


class NoEntry(Exception):
    """The ledger has no such entry, or what it committed to was forgotten."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A record with its opening."""

    index: int
    leaf: Leaf
    salt: bytes
    payload: str

    @property
    def said(self) -> Mapping[str, Any]:
        """The payload."""
        content: Mapping[str, Any] = json.loads(self.payload)
        return content

    @property
    def words(self) -> str:
        """The kind as people read it."""
        return self.leaf.kind.replace("_", " ")

    @property
    def facts(self) -> list[tuple[str, Any]]:
        """The payload as people read it; whom it is about they know. Hashes are cut; downloads are not."""
        said = [(name, _readable(value)) for name, value in self.said.items() if name != SUBJECT]
        return [(name.replace("_", " "), value) for name, value in said if value]

    @property
    def hour(self) -> str:
        """The hour as people read it."""
        return f"{self.leaf.hour.replace('T', ' ')}:00"

    def document(self) -> dict[str, Any]:
        """As bundles and receipts hold it; `payload` is text because its bytes are what was committed to."""
        return {
            "index": self.index,
            "kind": self.leaf.kind,
            "clause": self.leaf.clause,
            "hour": self.leaf.hour,
            "salt": self.salt.hex(),
            "payload": self.payload,
        }


@purpose(Purpose.ACCOUNTABILITY)
def record(
    kind: Kind,
    *,
    clause: str,
    payload: Mapping[str, Json],
    now: datetime,
    subject: Subject | None = None,
) -> int:
    """Append a record; returns its index. Only inside `writing()`: it stands or falls with its effect.

    The leaf tells kind, clause and hour to everybody. The payload is kept in the opening and goes with the
    `subject`, an account, whose `ref` is added to it; without a subject it must be about nobody. Raises
    TypeError for floats in the payload.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("a record belongs into the transaction of what it records")
    if subject is not None:
        payload = {**payload, SUBJECT: subject.ref.hex}
        _hold(subject)
    content, salt = canonical(payload), secrets.token_bytes(SALT_SIZE)
    index = append_leaf(Leaf(kind.value, clause, hour_of(now), commitment_to(content, salt=salt)))
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO privacy_ledger_opening (leaf_id, subject_id, salt, payload) VALUES (%s, %s, %s, %s)",
            [index, None if subject is None else subject.pk, salt, content],
        )
    return index


def _hold(subject: Subject) -> None:
    """Its row before the ledger's: the opening refers to it, and who changes it may want the ledger next."""
    if connection.features.has_select_for_update:
        table = get_user_model()._meta.db_table
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT FROM {table} WHERE id = %s FOR KEY SHARE", [subject.pk])


def entries_of(account: Subject, *, before: int | None = None, limit: int | None = None) -> list[Entry]:
    """What is recorded about the account, newest first; `before` continues a page."""
    rows = Opening.objects.filter(subject=account.pk).select_related("leaf").order_by("-leaf_id")
    if before is not None:
        rows = rows.filter(leaf_id__lt=before)
    return [_entry(row) for row in (rows if limit is None else rows[:limit])]


def rare_entries(kind: Kind) -> list[Entry]:
    """All records of a kind of which there are few, oldest first."""
    rows = Opening.objects.filter(leaf__kind=kind.value).select_related("leaf").order_by("leaf_id")
    return [_entry(row) for row in rows]


def count_of_kind(kind: Kind, *, clause: str | None = None) -> int:
    """How many were ever recorded, forgotten openings included."""
    rows = LeafRow.objects.filter(kind=kind.value)
    return (rows if clause is None else rows.filter(clause=clause)).count()


@purpose(Purpose.ACCOUNTABILITY)
def count_by(key: str, kind: Kind) -> Counter[str]:
    """How many say what under `key`, of those whose openings are still there. The database counts them."""
    rows = Opening.objects.filter(leaf__kind=kind.value).alias(content=Cast("payload", JSONField()))
    said = rows.annotate(said=KT(f"content__{key}")).values_list("said")
    return Counter({value or "": count for value, count in said.annotate(Count("pk")).order_by()})


def entry_at(index: int) -> Entry:
    """Raises NoEntry."""
    row = Opening.objects.filter(leaf_id=index).select_related("leaf").first()
    if row is None:
        raise NoEntry
    return _entry(row)


def proof_of(index: int) -> dict[str, Any]:
    """One record with all that proves it offline: a bundle of one. Raises NoEntry."""
    return bundle_of([entry_at(index)])


def receipt_of(index: int) -> dict[str, Any]:
    """A receipt whose content is the payload: `muniment-ledger-verify` checks that. Raises NoEntry."""
    entry = entry_at(index)
    return {"format": RECEIPT, "content": entry.said, "proof": bundle_of([entry])}


def bundle_of(entries: list[Entry]) -> dict[str, Any]:
    """Records with their inclusion proofs under the newest checkpoint: what a person downloads."""
    head = read_head()
    proofs = prove_inclusions([entry.index for entry in entries], size=head.frontier.size)
    return {
        "format": BUNDLE,
        "public_key": str(public_key()),
        "checkpoint": head.note,
        "entries": [
            {**entry.document(), "proof": [step.hex() for step in proof]}
            for entry, proof in zip(entries, proofs, strict=True)
        ],
    }


def _readable(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_readable(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')}: {_readable(item)}" for name, item in value.items())
    text = "" if value is None else str(value)
    return f"{text[:12]}…" if _HASH.fullmatch(text) else text


@purpose(Purpose.ACCOUNTABILITY)
def _entry(row: Opening) -> Entry:
    leaf = row.leaf
    told = Leaf(leaf.kind, leaf.clause, leaf.hour, bytes(leaf.commitment))
    return Entry(leaf.number, told, bytes(row.salt), row.payload)
