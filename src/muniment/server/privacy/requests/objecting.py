"""What people may object to, and what they did."""

from __future__ import annotations

from muniment.server.privacy.ledger.entries import Subject
from muniment.server.privacy.purposes import Purpose as For
from muniment.server.privacy.purposes import purpose
from muniment.server.privacy.requests.models import Restriction
from muniment.server.privacy.statement import read_statement
from muniment.server.privacy.terms import Basis, Purpose


def objectable() -> tuple[Purpose, ...]:
    """Purposes that rest on our interest alone (GDPR, article 21); where a yes is needed, people say no."""
    return tuple(
        item for item in read_statement().purposes.values() if item.basis is Basis.LEGITIMATE_INTEREST
    )


def restrictions_of(subject: Subject) -> list[tuple[Restriction, str]]:
    """What is in force, with the text of the purpose; empty for everything but keeping."""
    purposes = read_statement().purposes
    rows = Restriction.objects.filter(subject=subject.pk, ended_at=None).order_by("id")
    return [(row, purposes[row.purpose].text if row.purpose in purposes else "") for row in rows]


@purpose(For.REQUESTS)
def objections(subject: int) -> tuple[bool, frozenset[str]]:
    """(all use restricted, purposes objected to): what the gate asks."""
    named = list(Restriction.objects.filter(subject=subject, ended_at=None).values_list("purpose", flat=True))
    return "" in named, frozenset(named) - {""}


def stands_against(subject: int, purpose: str) -> bool:
    """Whether the person restricted all use, or objects to this one: asked before any use of our own."""
    is_restricted, objected = objections(subject)
    return is_restricted or purpose in objected
