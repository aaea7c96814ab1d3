"""What anybody may fetch: checkpoints, leaves, proofs. Leaves name nobody, so nobody is asked for a name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from muniment.server.privacy.ledger.entries import NoEntry
from muniment.server.privacy.ledger.models import CheckpointRow, LeafRow
from muniment.server.privacy.ledger.tree import (
    NotInTree,
    prove_consistency,
    prove_inclusion,
    public_key,
    read_head,
)
from muniment.server.privacy.ledger.verification import CONSISTENCY, EXPORT

MOST_AT_ONCE = 5_000


def checkpoint_of(size: int | None = None) -> str:
    """The newest checkpoint, or the one kept of that size; raises NoEntry where there is none."""
    head = read_head()
    if size is None or size == head.frontier.size:
        note = head.note
    else:
        note = CheckpointRow.objects.filter(size=size).values_list("note", flat=True).first() or ""
    if not note:
        raise NoEntry
    return note


def export_lines(*, start: int, count: int) -> Iterator[bytes]:
    """A heading, at most `count` leaves from `start` on, and the newest checkpoint: one JSON object a line.

    What is fetched one after the other, put one behind the other, is one export.
    """
    head = read_head()
    yield _line({"format": EXPORT, "public_key": str(public_key())})
    rows = LeafRow.objects.filter(number__gte=start, number__lt=min(start + count, head.frontier.size))
    columns = ("number", "kind", "clause", "hour", "commitment")
    for number, kind, clause, hour, commitment in rows.order_by("number").values_list(*columns).iterator():
        yield _line(
            {
                "index": number,
                "kind": kind,
                "clause": clause,
                "hour": hour,
                "commitment": bytes(commitment).hex(),
            }
        )
    if head.note:
        yield _line({"checkpoint": head.note})


def inclusion_document(index: int) -> dict[str, Any]:
    """A leaf and its audit path under the newest checkpoint. Raises NotInTree."""
    head = read_head()
    proof = prove_inclusion(index, size=head.frontier.size)
    row = LeafRow.objects.get(number=index)
    return {
        "index": index,
        "kind": row.kind,
        "clause": row.clause,
        "hour": row.hour,
        "commitment": bytes(row.commitment).hex(),
        "proof": [step.hex() for step in proof],
        "checkpoint": head.note,
        "public_key": str(public_key()),
    }


def consistency_document(old: int) -> dict[str, Any]:
    """That the ledger as it is begins with its first `old` entries. Raises NotInTree.

    `old` is the older checkpoint where it was kept; otherwise whoever holds it has it.
    """
    head = read_head()
    document = {
        "format": CONSISTENCY,
        "public_key": str(public_key()),
        "old_size": old,
        "new": head.note,
        "proof": [step.hex() for step in prove_consistency(old, head.frontier.size)],
    }
    try:
        return {**document, "old": checkpoint_of(old)}
    except NoEntry:
        return document


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


__all__ = [
    "MOST_AT_ONCE",
    "NoEntry",
    "NotInTree",
    "checkpoint_of",
    "consistency_document",
    "export_lines",
    "inclusion_document",
]
