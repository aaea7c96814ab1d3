"""What changed between two versions, sentence by sentence and in what they declare."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import Enum

from muniment.server.privacy.statement import Statement
from muniment.server.privacy.versions.in_force import Version
from muniment.server.privacy.versions.materiality import material_changes


class Fate(Enum):
    """What became of a sentence."""

    ADDED = "added"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class ChangedSentence:
    fate: Fate
    text: str
    clauses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    sentences: tuple[ChangedSentence, ...]
    changes: tuple[str, ...]
    """What matters, as computed."""


def difference(old: Statement, new: Statement) -> Difference:
    """From `old` to `new`; a reworded sentence is removed and added."""
    changes = tuple(change.sentence for change in material_changes(old, new))
    return Difference(tuple(_changed_sentences(old, new)), changes)


def _changed_sentences(old: Statement, new: Statement) -> Iterator[ChangedSentence]:
    before, after = list(old.document.sentences()), list(new.document.sentences())
    matcher = SequenceMatcher(
        None, [item.text for item in before], [item.text for item in after], autojunk=False
    )
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag != "equal":
            for item in before[i1:i2]:
                yield ChangedSentence(Fate.REMOVED, item.text, item.clauses)
            for item in after[j1:j2]:
                yield ChangedSentence(Fate.ADDED, item.text, item.clauses)


@dataclass(frozen=True, slots=True)
class Step:
    """A version, and how it differs from the one before."""

    version: Version
    before: Version | None
    difference: Difference | None
    is_current: bool
    """It holds for whoever comes now."""


def history_of(versions: list[Version]) -> list[Step]:
    """One step for each version, in the order given (newest first)."""
    current = next((version for version in versions if version.in_force_at), None)
    befores: list[Version | None] = [*versions[1:], None]
    return [
        Step(new, old, None if old is None else difference(old.statement, new.statement), new is current)
        for new, old in zip(versions, befores, strict=True)
    ]
