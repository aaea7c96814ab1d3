"""The data map: what is held where, why and how long, read off the declaration of every column.

holdings(statement)             for the page
data_map_document(statement)    for programs: /privacy/data-map.json
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from muniment.server.privacy.external import EXTERNAL
from muniment.server.privacy.registry import Column, Personal, data_map, titles
from muniment.server.privacy.statement import Statement
from muniment.server.privacy.terms import Recipient

FORMAT = "muniment-data-map-1"


@dataclass(frozen=True, slots=True)
class HeldColumn:
    name: str
    title: str
    """What people call it."""
    is_personal: bool
    category: str
    why: tuple[str, ...]
    """Texts of its purposes; of a public column, why it tells nothing about anybody."""
    until: str
    erased_by: str


@dataclass(frozen=True, slots=True)
class Holding:
    """One table of the database."""

    model: str
    title: str
    """What people call its rows."""
    about: str
    """The way from a row to the person it is about; empty where it is about nobody."""
    placement: str
    columns: tuple[HeldColumn, ...]

    @property
    def personal(self) -> list[tuple[HeldColumn, ...]]:
        """Personal columns, those of which the same is declared together."""
        alike: dict[object, list[HeldColumn]] = {}
        for column in self.columns:
            if column.is_personal:
                said = (column.category, column.why, column.until, column.erased_by)
                alike.setdefault(said, []).append(column)
        return [tuple(columns) for columns in alike.values()]


def holdings(statement: Statement) -> list[Holding]:
    """Tables in the order in which they are declared, those with personal data first."""
    declared = data_map(EXTERNAL)
    named = titles(declared)
    tables: dict[str, list[Column]] = {}
    for column in declared:
        tables.setdefault(column.model, []).append(column)
    found = [_holding(columns, statement, named) for columns in tables.values()]
    return sorted(found, key=lambda holding: not holding.personal)


def data_map_document(
    statement: Statement, *, recipients: Mapping[str, Recipient] | None = None
) -> dict[str, Any]:
    """Everything, as JSON; names of purposes, categories and periods come with what they mean.

    `recipients` are those in force, where they are others than the statement's own.
    """
    receive = statement.recipients if recipients is None else recipients
    return {
        "format": FORMAT,
        "statement": {"version": statement.version, "sha256": statement.digest},
        "purposes": {
            item.name: {"text": item.text, "basis": item.basis.value} for item in statement.purposes.values()
        },
        "categories": {item.name: item.text for item in statement.categories.values()},
        "periods": {
            item.name: {"text": item.text, "ends": item.ends, "days": item.days}
            for item in statement.periods.values()
        },
        "recipients": {name: _receives(item) for name, item in receive.items()},
        "columns": [_described(column) for column in data_map(EXTERNAL)],
    }


def _receives(recipient: Recipient) -> dict[str, Any]:
    return {
        "title": recipient.title,
        "kind": recipient.kind.value,
        "purposes": sorted(recipient.purposes),
        "columns": sorted(recipient.fields),
        "country": recipient.country,
        "transfer_basis": recipient.transfer_basis,
        "contract_until": None if recipient.expires is None else recipient.expires.isoformat(),
        "contact": recipient.contact,
    }


_Titles = Mapping[str, tuple[str, str]]


def _holding(columns: list[Column], statement: Statement, named: _Titles) -> Holding:
    first = columns[0]
    return Holding(
        first.model,
        named[first.registered][0],
        first.subject_path,
        first.placement.value,
        tuple(_held(columns, statement, named)),
    )


def _held(columns: list[Column], statement: Statement, named: _Titles) -> Iterator[HeldColumn]:
    for column in columns:
        declared, title = column.declaration, named[column.registered][1]
        if isinstance(declared, Personal):
            why = tuple(statement.purposes[name].text for name in declared.purposes)
            until = statement.periods[declared.keep].text
            yield HeldColumn(column.name, title, True, declared.category, why, until, declared.erase.value)
        else:
            yield HeldColumn(column.name, title, False, "", (declared.why,), "", "")


def _described(column: Column) -> dict[str, Any]:
    declared = column.declaration
    where = {"table": column.model, "column": column.name, "placement": column.placement.value}
    if isinstance(declared, Personal):
        return where | {
            "personal": True,
            "subject_path": column.subject_path,
            "category": declared.category,
            "purposes": list(declared.purposes),
            "keep": declared.keep,
            "erase": declared.erase.value,
        }
    return where | {"personal": False, "why": declared.why}
