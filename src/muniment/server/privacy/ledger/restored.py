"""A database that was put back from a backup: the one honest reason for a ledger shorter than signed.

The operator says so, and it is recorded before anything else is: what had been signed, and what is left.
Whoever holds a checkpoint of what is gone finds here why the ledger does not continue it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from muniment.server.privacy.ledger.entries import rare_entries, record
from muniment.server.privacy.ledger.kept import WentBack, check_kept, keep_in_place, kept_checkpoint
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.ledger.leaves import Json
from muniment.server.privacy.ledger.tree import read_head
from muniment.server.transactions import writing


class NothingLost(Exception):
    """The ledger continues what was signed."""


@dataclass(frozen=True, slots=True)
class Restored:
    """`found` entries were in the database, where `signed` had been, under `root`."""

    hour: str
    signed: int
    root: str
    found: int


def accept_restored(data: Path, *, now: datetime) -> None:
    """Record it, and go on from here. Raises NothingLost, LedgerAltered. After a crash say it again."""
    kept = kept_checkpoint(data)
    try:
        check_kept(data)
    except WentBack:
        assert kept is not None
    else:
        raise NothingLost
    found: dict[str, Json] = {
        "signed": kept.size,
        "root": kept.root.hex(),
        "found": read_head().frontier.size,
    }
    with writing():
        record(Kind.DATABASE_RESTORED, clause="P73", payload=found, now=now)
    keep_in_place(data)


def restorations() -> list[Restored]:
    """Every one that was recorded, oldest first."""
    return [
        Restored(entry.hour, entry.said["signed"], entry.said["root"], entry.said["found"])
        for entry in rare_entries(Kind.DATABASE_RESTORED)
    ]
