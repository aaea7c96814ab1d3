"""What proves each clause: the function that holds it, the tests that showed it, the records it leaves.

`proof.json` is written by `make proof` and committed with the release: which tests passed, of which commit
and when. A page that shows it therefore speaks of the running release, as far as nobody changed the program:
that is what the printed limits say.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib.resources import files
from typing import Any

from muniment.server.privacy.sentences import Sentence
from muniment.server.privacy.statement import Statement
from muniment.server.privacy.terms import Aspect, Clause, ClauseState, Modality

LIMITS = (
    "Whoever runs this server can change its program. This page can then be compared with the release's.",
    "That makes a change visible, not impossible.",
    "A browser that runs the pages of a server has to trust that server for the page.",
    "The ledger proves that nothing recorded was altered. It cannot prove that everything was recorded.",
    "A test shows that a sentence held in the cases that somebody thought of.",
)


class Standing(Enum):
    """What may be said of a clause today. The value is what the page says."""

    PROVEN = "proven"
    UNPROVEN = "enforced, not proven"
    PLANNED = "planned"
    NOTHING = "no code can hold it"


@dataclass(frozen=True, slots=True)
class Evidence:
    """The proof that is committed with this release; empty where none is."""

    commit: str = ""
    date: str = ""
    digest: str = ""
    """Of the statement that was proven."""
    program: str = ""
    """Of the program that was proven; empty where the proof does not say."""
    altered: bool = False
    """The files differed from the commit when it was made."""
    tests: Mapping[str, Mapping[Aspect, tuple[str, ...]]] | None = None
    records: Mapping[str, tuple[str, ...]] | None = None

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> Evidence:
        clauses = content["clauses"]
        return cls(
            commit=content["commit"],
            date=content["date"],
            digest=content["statement"],
            program=content.get("program", ""),
            altered=content["changed"],
            tests={
                clause: {Aspect(aspect): tuple(tests) for aspect, tests in shown["tests"].items()}
                for clause, shown in clauses.items()
            },
            records={clause: tuple(shown["records"]) for clause, shown in clauses.items()},
        )

    def is_of(self, program: str) -> bool:
        """Whether it is of this very program, as far as it says of which."""
        return self.program in ("", program)

    def shown_of(self, clause: str) -> Mapping[Aspect, tuple[str, ...]]:
        return (self.tests or {}).get(clause, {})

    def recorded_of(self, clause: str) -> tuple[str, ...]:
        return (self.records or {}).get(clause, ())


@dataclass(frozen=True, slots=True)
class Record:
    kind: str
    count: int
    """How many this server's ledger holds now."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A live number beside a clause: `0`, "records past their period"."""

    value: int
    words: str


@dataclass(frozen=True, slots=True)
class Proof:
    """One clause with its margin notes."""

    clause: Clause
    sentences: tuple[Sentence, ...]
    standing: Standing
    tests: tuple[tuple[Aspect, tuple[str, ...]], ...]
    records: tuple[Record, ...]
    figure: Figure | None

    @property
    def held_by(self) -> list[str]:
        """The parts of the enforcing function's path: a narrow page may break between them."""
        return self.clause.enforce.split(".")

    @property
    def modality(self) -> str:
        return _MODALITIES[self.clause.modality]

    @property
    def state(self) -> str:
        """As the seal and the pills of our pages take it."""
        return _STATES[self.standing]


_MODALITIES = {
    Modality.NEVER: "never",
    Modality.MUST: "must",
    Modality.CEILING: "may, at most",
    Modality.TOLD: "told",
    Modality.DISCLAIMER: "disclaimer",
}
_STATES = {
    Standing.PROVEN: "good",
    Standing.UNPROVEN: "attention",
    Standing.PLANNED: "quiet",
    Standing.NOTHING: "quiet",
}


@cache
def read_evidence() -> Evidence:
    """What is committed with this release."""
    path = files("muniment.server.privacy").joinpath("proof.json")
    if not path.is_file():
        return Evidence()
    return Evidence.parse(json.loads(path.read_text(encoding="utf-8")))


def proofs(
    statement: Statement,
    evidence: Evidence,
    *,
    counts: Mapping[str, int],
    figures: Mapping[str, Figure],
) -> list[Proof]:
    """Every clause, in order. `counts` are ledger entries by kind, `figures` live numbers by name."""
    return [
        Proof(
            clause=clause,
            sentences=tuple(statement.document.said_for(clause.id)),
            standing=standing_of(clause, evidence, digest=statement.digest),
            tests=tuple((aspect, _named(tests)) for aspect, tests in evidence.shown_of(clause.id).items()),
            records=tuple(Record(kind, counts.get(kind, 0)) for kind in sorted(clause.records)),
            figure=figures.get(clause.figure),
        )
        for clause in statement.clauses.values()
    ]


def _named(tests: Iterable[str]) -> tuple[str, ...]:
    """Each test once, however many cases it has: `unit/server/test_versions.py::test_…`."""
    return tuple(sorted({test.partition("[")[0].removeprefix("tests/") for test in tests}))


def standing_of(clause: Clause, evidence: Evidence, *, digest: str) -> Standing:
    """Proven only by tests of every aspect, of this very statement, with every record that it declares."""
    if clause.state is ClauseState.PLANNED:
        return Standing.PLANNED
    if clause.state is ClauseState.NONE:
        return Standing.NOTHING
    shown = evidence.shown_of(clause.id)
    whole = all(shown.get(aspect) for aspect in clause.aspects)
    recorded = clause.records <= set(evidence.recorded_of(clause.id))
    return Standing.PROVEN if whole and recorded and evidence.digest == digest else Standing.UNPROVEN


@dataclass(frozen=True, slots=True)
class Counted:
    """How many clauses stand like this."""

    standing: Standing
    specified: int
    """Of the 88 sentences of the statement that ours answers."""
    added: int

    @property
    def state(self) -> str:
        return _STATES[self.standing]


def tally(found: Iterable[Proof]) -> list[Counted]:
    """One line for each standing."""
    counted = Counter((proof.standing, proof.clause.is_specified) for proof in found)
    return [Counted(item, counted[item, True], counted[item, False]) for item in Standing]


@dataclass(frozen=True, slots=True)
class Summary:
    """The verdict above everything."""

    state: str
    heading: str
    reason: str


def summary(counted: list[Counted]) -> Summary:
    """Good only while nothing is claimed that the release did not prove."""
    number = {item.standing: item.specified for item in counted}
    whole = sum(number.values())
    heading = f"{number[Standing.PROVEN]} of {whole} sentences are proven"
    rest = f"{number[Standing.PLANNED]} are planned, and {number[Standing.NOTHING]} no code can hold."
    unproven = number[Standing.UNPROVEN]
    if not number[Standing.PROVEN] and not unproven:
        return Summary("quiet", heading, rest)
    if unproven:
        reason = f"{unproven} are enforced, but this release brings no proof of them. {rest}"
        return Summary("attention", heading, reason)
    return Summary("proven", heading, f"Everything that we claim to enforce was shown by a test. {rest}")
