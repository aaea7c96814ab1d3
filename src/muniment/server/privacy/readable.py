"""The statement as a page shows it: sentences with anchors, clause marks beside paragraphs, tables filled in.

Each clause has one anchor, `/privacy#P7`: at the first sentence in full text that speaks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from muniment.server.privacy.sentences import Block, Section, Sentence, Shape
from muniment.server.privacy.statement import Statement
from muniment.server.privacy.tables import Table, table_named

CONTACT = "contact"
"""The one table that is not the statement's: who runs the server."""


@dataclass(frozen=True, slots=True)
class Said:
    text: str
    anchors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Passage:
    """A paragraph, a list, a table, or the place where the operator is named."""

    shape: str
    said: tuple[Said, ...]
    marks: tuple[str, ...]
    """Clauses that it speaks for, to be shown beside it."""
    table: Table | None


@dataclass(frozen=True, slots=True)
class Part:
    title: str
    anchor: str
    short: Passage | None
    passages: tuple[Passage, ...]


def readable(statement: Statement) -> list[Part]:
    """The statement in the order in which it is read."""
    homes = dict[str, Sentence]()
    for sentence in _in_full_first(statement):
        for clause in sentence.clauses:
            homes.setdefault(clause, sentence)
    return [_part(section, statement, homes) for section in statement.document.sections]


def _in_full_first(statement: Statement) -> Iterator[Sentence]:
    sections = statement.document.sections
    for section in sections:
        for block in section.body:
            yield from block.sentences
    for section in sections:
        if section.short:
            yield from section.short.sentences


def _part(section: Section, statement: Statement, homes: dict[str, Sentence]) -> Part:
    short = None if section.short is None else _passage(section.short, statement, homes)
    return Part(
        section.title,
        section.anchor,
        short,
        tuple(_passage(block, statement, homes) for block in section.body),
    )


def _passage(block: Block, statement: Statement, homes: dict[str, Sentence]) -> Passage:
    if block.shape is Shape.TABLE:
        if block.table == CONTACT:
            return Passage(CONTACT, (), (), None)
        return Passage(block.shape.value, (), (), table_named(block.table, statement))
    said = tuple(
        Said(item.text, tuple(clause for clause in item.clauses if homes[clause] is item))
        for item in block.sentences
    )
    marks = dict.fromkeys(clause for item in block.sentences for clause in item.clauses)
    return Passage(block.shape.value, said, tuple(marks), None)
