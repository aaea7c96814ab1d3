"""What the first page says of the statement: only what the proof page says, too."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from muniment.server.privacy.proof import Proof, Summary, proofs, read_evidence, summary, tally
from muniment.server.privacy.statement import read_statement

_SHOWN = ("P7", "P41", "P45", "P46")
"""What people ask first: can you look, do you sell, how long does an answer take, how long is it kept."""


@dataclass(frozen=True, slots=True)
class Promises:
    summary: Summary
    shown: tuple[Proof, ...]
    cannot_look: Proof | None
    """The clause on contents."""


@cache
def promises_today() -> Promises:
    """How the running release stands; made once, and asks no database."""
    found = proofs(read_statement(), read_evidence(), counts={}, figures={})
    by_clause = {proof.clause.id: proof for proof in found}
    return Promises(
        summary=summary(tally(found)),
        shown=tuple(by_clause[clause] for clause in _SHOWN if clause in by_clause),
        cannot_look=by_clause.get("P7"),
    )
