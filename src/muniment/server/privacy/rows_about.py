"""The rows that are about one person, table by table, found by the way that each model declares.

    for table in tables_about():
        for row in table.rows(account_pk): ...

A table is read in short queries, a thousand rows at a time: whoever reads may be slow, and on SQLite an open
query would keep everybody else from writing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import models
from django.utils.text import capfirst

from muniment.server.privacy.external import EXTERNAL
from muniment.server.privacy.purposes import Purpose, decided
from muniment.server.privacy.registry import ByAddress, Column, Personal, data_map

SELF = "self"
"""The subject path of the model whose rows are the people themselves."""

_AT_ONCE = 1000


@dataclass(frozen=True)
class PersonalTable:
    """A model with personal columns. `path` leads from a row to whom it is about."""

    label: str
    path: str
    columns: tuple[Column, ...]

    @cached_property
    def model(self) -> type[models.Model]:
        return apps.get_model(self.label)

    @property
    def personal(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if isinstance(column.declaration, Personal))

    def about(self, person: int) -> models.QuerySet[models.Model]:
        """Rows about the account with this row number."""
        way = "pk" if self.path == SELF else self.path
        return self.model._default_manager.filter(**{way: person})

    def shown(self, person: int) -> models.QuerySet[models.Model]:
        """Those of them that the person may know of now; a model says which by `shown_where`."""
        shown: Mapping[str, Any] = getattr(self.model, "shown_where", {})
        return self.about(person).filter(**shown)

    def mentioning(self, person: int) -> models.QuerySet[models.Model]:
        """Rows that hold the account's address and are about somebody else, or nobody with an account."""
        held: ByAddress | None = getattr(self.model, "by_address", None)
        if held is None:
            return self.model._default_manager.none()
        address = get_user_model()._default_manager.filter(pk=person).values("email")
        return self.model._default_manager.filter(**{held.column: address[:1]}).exclude(**{self.path: person})

    def rows(self, person: int) -> Iterator[Mapping[str, Any]]:
        """Every column of every row about the person, by row number; keys of foreign rows as they are."""
        return self._read(self.about(person), [column.name for column in self.columns], (Purpose.REQUESTS,))

    def shown_rows(self, person: int) -> Iterator[Mapping[str, Any]]:
        """Those of the rows that the person may see now."""
        names = [column.name for column in self.columns]
        yield from self._read(self.shown(person), names, (Purpose.REQUESTS,))
        yield from self._read(self.mentioning(person), names, (Purpose.REQUESTS,))

    def values(self, person: int, names: Collection[str]) -> Iterator[Mapping[str, Any]]:
        """These columns of every row about the person, which the gate decided to give."""
        return self._read(self.about(person), names, [f"{self.label}.{name}" for name in names])

    def _read(
        self, rows: models.QuerySet[models.Model], names: Collection[str], opened: Collection[str]
    ) -> Iterator[Mapping[str, Any]]:
        fields = [self.model._meta.get_field(name).attname for name in names]  # type: ignore[union-attr]
        key = self.model._meta.pk.attname
        waiting = rows.order_by("pk")
        last: Any = None
        while True:
            later = waiting if last is None else waiting.filter(pk__gt=last)
            with decided(opened):  # never across a yield: what is open would be open to who asked, too
                part = list(later.values(*{key, *fields})[:_AT_ONCE])
            for row in part:
                yield {name: row[field] for name, field in zip(names, fields, strict=True)}
            if len(part) < _AT_ONCE:
                return
            last = part[-1][key]


def tables_about() -> list[PersonalTable]:
    """Every table that holds anything about people, in the order of the registry."""
    columns: dict[str, list[Column]] = {}
    for column in data_map(EXTERNAL):
        if column.subject_path:
            columns.setdefault(column.model, []).append(column)
    return [PersonalTable(label, held[0].subject_path, tuple(held)) for label, held in columns.items()]


@dataclass(frozen=True, slots=True)
class Addressed:
    """A table that is looked through by address, too."""

    model: type[models.Model]
    by: ByAddress

    def rows(self, email: str) -> models.QuerySet[models.Model]:
        return self.model._default_manager.filter(**{self.by.column: email})


def tables_by_address() -> list[Addressed]:
    said = ((model, getattr(model, "by_address", None)) for model in apps.get_models())
    return [Addressed(model, by) for model, by in said if isinstance(by, ByAddress)]


def held_under(email: str) -> list[str]:
    """What is held of an address without an account, a row a line, as its owner reads it."""
    found = []
    for table in tables_by_address():
        meta: Any = table.model._meta
        for row in table.rows(email).values(*table.by.told) if table.by.told else ():
            said = (f"{capfirst(meta.get_field(name).verbose_name)}: {value}" for name, value in row.items())
            found.append(f"{capfirst(meta.verbose_name)}. {'; '.join(said)}")
    return found
