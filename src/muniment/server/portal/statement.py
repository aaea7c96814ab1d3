"""Three sentences of the statement on the overview, with how they stand in the running release."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from muniment.server.privacy.proof import proofs, read_evidence
from muniment.server.privacy.statement import read_statement

_SHOWN = {
    "P7": "We cannot see your files.",
    "P45": "Requests are done within ten days.",
    "P46": "Nothing is kept past its period.",
}


@dataclass(frozen=True, slots=True)
class StatementRow:
    clause: str
    promise: str
    state: str
    word: str


@cache
def statement_rows() -> tuple[StatementRow, ...]:
    """Of the running release: the same for everybody, made once."""
    found = proofs(read_statement(), read_evidence(), counts={}, figures={})
    return tuple(
        StatementRow(item.clause.id, _SHOWN[item.clause.id], item.state, item.standing.value)
        for item in found
        if item.clause.id in _SHOWN
    )
