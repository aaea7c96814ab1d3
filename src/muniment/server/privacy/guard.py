"""Puts the question "what for?" in front of every declared personal column, of third-party models too.

Two places read columns. An attribute of a row asks each time it is read. `values()`, `values_list()`,
`annotate()` and `aggregate()` make no rows; the compiler of both databases (`server.databases`) asks when
such a query runs. Loading rows asks nothing: nobody has read anything yet. Writing is no reading, but from
one column to another; conditions of queries are none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.apps import apps
from django.db.models import Count, Exists, Field, Model
from django.db.models.expressions import Col, RawSQL  # house-rule: no-reading-behind-the-guard, refused here
from django.db.models.sql import Query

from muniment.server.privacy.purposes import Purpose, decided, may_read, refuse_read
from muniment.server.privacy.registry import Column, Personal


class GuardedColumn:
    """The attribute of a personal column, before the one that Django put there; of a foreign key, both."""

    def __init__(
        self, inner: Any, field: Field[Any, Any], attribute: str, *, column: str, readers: frozenset[str]
    ) -> None:
        self.field = field
        self._inner, self._attribute, self._column, self._readers = inner, attribute, column, readers

    def __get__(self, row: Model | None, owner: type[Model] | None = None) -> Any:
        if row is None:
            return self
        if not may_read(self._readers):
            refuse_read(self._column)
        try:
            return row.__dict__[self._attribute]
        except KeyError:  # not loaded yet
            return self._inner.__get__(row, owner)

    def __set__(self, row: Model, value: Any) -> None:
        if hasattr(self._inner, "__set__"):
            self._inner.__set__(row, value)
        else:
            row.__dict__[self._attribute] = value

    def __getattr__(self, name: str) -> Any:
        """Django asks the attribute of a foreign key for more, of the class and never of a row."""
        return getattr(self._inner, name)


def guard_columns(columns: Iterable[Column]) -> None:
    """From here on none of them that is personal can be read without a purpose that it lists."""
    for column in columns:
        if isinstance(column.declaration, Personal):
            _guard(apps.get_model(column.model), column, column.declaration)


def check_columns(expressions: Iterable[Any], *, kept_in: Field[Any, Any] | None = None) -> None:
    """What a query asks the database for by name. Raises ReadWithoutPurpose.

    A change may count up a column without reading it: what is `kept_in` the column it came from was not read.
    """
    for col in _columns_in(expressions):
        readers = getattr(col.target, "readers", None)
        if readers is not None and col.target is not kept_in and not may_read(readers):
            refuse_read(f"{col.target.model._meta.label}.{col.target.name}")


def _guard(model: type[Model], column: Column, declared: Personal) -> None:
    field: Any = model._meta.get_field(column.name)
    name = column.registered
    field.readers = frozenset({*declared.purposes, Purpose.REQUESTS.value, name})
    if isinstance(getattr(model, field.attname), GuardedColumn):
        return
    for attribute in {field.attname, field.name}:
        inner = getattr(model, attribute)
        guarded = GuardedColumn(inner, field, attribute, column=name, readers=field.readers)
        setattr(model, attribute, guarded)
    field.pre_save = _writing(field, name)


def _writing(field: Any, name: str) -> Any:
    """Django reads an attribute to write it; that tells nobody anything."""
    inner = field.pre_save

    def pre_save(row: Model, add: bool) -> Any:  # noqa: FBT001 Django's own signature
        with decided((name,)):
            return inner(row, add)

    return pre_save


def _columns_in(expressions: Iterable[Any]) -> Iterator[Col]:
    for expression in expressions:
        if isinstance(expression, Col):
            yield expression
        elif isinstance(expression, RawSQL):
            refuse_read("a column named in SQL by hand")
        elif isinstance(expression, Query):
            yield from columns_of(expression)
        # How many there are, and whether there is one, is nobody's value.
        elif expression is not None and not isinstance(expression, Count | Exists):
            yield from _columns_in(expression.get_source_expressions())


def columns_of(query: Query) -> Iterator[Col]:
    """Everything that a query within another one hands it."""
    yield from _columns_in((*query.select, *query.annotation_select.values(), *query.combined_queries))
    if query.default_cols and query.model is not None:
        yield from (field.get_col(field.model._meta.db_table) for field in query.model._meta.concrete_fields)
