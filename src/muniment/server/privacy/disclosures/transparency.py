"""What everybody may know about orders, counted from the ledger alone: `/transparency`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from muniment.server.privacy.ledger.entries import count_by, count_of_kind
from muniment.server.privacy.ledger.kinds import Kind

FORMAT = "muniment-transparency-1"
CANNOT_GIVE = (
    "The contents, names, sizes and shapes of what is backed up: sealed with keys that we never had.",
    "Passwords, keys and recovery kits: we hold hashes, or nothing.",
    "Which pages somebody looked at: it is not recorded.",
)


@dataclass(frozen=True, slots=True)
class Transparency:
    """Counts since this server began."""

    received: int
    refused: int
    exported: int
    told: int
    by_country: tuple[tuple[str, int], ...]
    by_cause: tuple[tuple[str, int], ...]
    other_disclosures: int
    refused_disclosures: int

    def document(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "orders": {
                "received": self.received, "refused": self.refused, "exported": self.exported,
                "told": self.told, "by_country": dict(self.by_country), "by_cause": dict(self.by_cause),
            },
            "disclosures": {"made": self.other_disclosures, "refused_by_the_gate": self.refused_disclosures},
            "cannot_give": list(CANNOT_GIVE),
        }  # fmt: skip


def read_transparency() -> Transparency:
    exported = count_of_kind(Kind.ORDER_EXPORTED)
    sent = count_of_kind(Kind.DISCLOSED) - count_of_kind(Kind.DISCLOSURE_STOPPED)
    return Transparency(
        received=count_of_kind(Kind.ORDER_RECEIVED),
        refused=count_of_kind(Kind.ORDER_REFUSED),
        exported=exported,
        told=count_of_kind(Kind.ORDER_TOLD),
        by_country=tuple(sorted(count_by("country", Kind.ORDER_RECEIVED).items())),
        by_cause=tuple(sorted(count_by("cause", Kind.ORDER_RECEIVED).items())),
        other_disclosures=max(sent - exported, 0),
        refused_disclosures=count_of_kind(Kind.DISCLOSURE_REFUSED),
    )
