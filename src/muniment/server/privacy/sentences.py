"""The text of the statement: one sentence a line, each ending in the ids of the clauses it speaks for.

    # Title
    ## Heading {#anchor}
    > The short answer. [P7]
    A sentence. [P7 P12]
    - An item. [P12]
    {{ purposes }}

A blank line ends a paragraph; `{{ name }}` stands for a table made from `statement.toml`. Nothing else of
Markdown is understood, so nothing can be hidden in it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

_HEADING = re.compile(r"## (?P<title>.+?) \{#(?P<anchor>[a-z-]+)\}")
_SENTENCE = re.compile(r"(?P<text>.+[.:?]) \[(?P<ids>[A-Z]\d+(?: [A-Z]\d+)*)\]")
_TABLE = re.compile(r"\{\{ (?P<name>[a-z_]+) \}\}")


class Shape(Enum):
    """How a block of the text is shown."""

    SHORT = "short"
    PARAGRAPH = "paragraph"
    LIST = "list"
    TABLE = "table"


@dataclass(frozen=True, slots=True)
class Sentence:
    """`clauses` is empty only where the text forgot to say it, which `lint.statement_rules` refuses."""

    text: str
    clauses: tuple[str, ...]
    line: int

    @property
    def digest(self) -> str:
        """SHA-256 of the words: changes whenever they do."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Block:
    shape: Shape
    sentences: tuple[Sentence, ...] = ()
    table: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    anchor: str
    blocks: tuple[Block, ...]

    @property
    def short(self) -> Block | None:
        """The answer in one breath."""
        return next((block for block in self.blocks if block.shape is Shape.SHORT), None)

    @property
    def body(self) -> tuple[Block, ...]:
        return tuple(block for block in self.blocks if block.shape is not Shape.SHORT)


@dataclass(frozen=True, slots=True)
class Document:
    title: str
    sections: tuple[Section, ...]

    def sentences(self) -> Iterator[Sentence]:
        """Every sentence, in order."""
        for section in self.sections:
            for block in section.blocks:
                yield from block.sentences

    def said_for(self, clause: str) -> list[Sentence]:
        """The sentences that speak for a clause."""
        return [sentence for sentence in self.sentences() if clause in sentence.clauses]

    def dangling(self, known: set[str]) -> Iterator[str]:
        for sentence in self.sentences():
            for clause in sentence.clauses:
                if clause not in known:
                    yield f"line {sentence.line} of the text names the clause {clause}, which is not declared"


def parse_document(text: str) -> Document:
    """Never fails on prose: a line without ids becomes a Sentence without clauses."""
    title, sections, blocks = "", list[Section](), list[Block]()
    heading: tuple[str, str] = ("", "")
    lines: list[tuple[int, str]] = []

    def end_block() -> None:
        if lines:
            blocks.append(_block(lines))
            lines.clear()

    def end_section() -> None:
        end_block()
        if heading[0] or blocks:
            sections.append(Section(*heading, tuple(blocks)))
            blocks.clear()

    for number, line in enumerate(text.splitlines(), start=1):
        found = _HEADING.fullmatch(line)
        if found:
            end_section()
            heading = (found["title"], found["anchor"])
        elif line.startswith("# "):
            title = line[2:]
        elif not line.strip():
            end_block()
        else:
            if _TABLE.fullmatch(line) or (lines and _mark(line) != _mark(lines[-1][1])):
                end_block()
            lines.append((number, line))
            if _TABLE.fullmatch(line):
                end_block()
    end_section()
    return Document(title, tuple(sections))


def _mark(line: str) -> str:
    """What the line begins with, which is what its whole block begins with."""
    return line[:2] if line[:2] in ("> ", "- ") else ""


def _block(lines: list[tuple[int, str]]) -> Block:
    table = _TABLE.fullmatch(lines[0][1])
    if table:
        return Block(Shape.TABLE, table=table["name"])
    shape = {"> ": Shape.SHORT, "- ": Shape.LIST}.get(_mark(lines[0][1]), Shape.PARAGRAPH)
    return Block(shape, tuple(_sentence(number, line) for number, line in lines))


def _sentence(number: int, line: str) -> Sentence:
    text = line[len(_mark(line)) :]
    found = _SENTENCE.fullmatch(text)
    if not found:
        return Sentence(text, (), number)
    return Sentence(found["text"], tuple(found["ids"].split()), number)
