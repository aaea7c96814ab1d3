"""What a form may ask, as the statement declares it: the field, where its answer goes, why, and of whom.

Forms are made from these declarations and take nothing else, so a page cannot ask for more than we say.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from muniment.server.privacy.registry import Column, Personal
from muniment.server.privacy.statement import shipped_texts


@dataclass(frozen=True, slots=True)
class FormField:
    name: str
    column: str
    """`accounts.Account.email`: a column of the registry."""
    why: str
    """Shown beside the field."""
    needed: Mapping[str, str]
    """By edition: `required` or `optional`; editions that are not named are not asked."""


@dataclass(frozen=True, slots=True)
class DeclaredForm:
    name: str
    notice: str
    fields: tuple[FormField, ...]

    def asked_of(self, edition: str) -> tuple[FormField, ...]:
        return tuple(field for field in self.fields if edition in field.needed)


@cache
def declared_form(name: str) -> DeclaredForm:
    """Raises KeyError: the statement declares no such form."""
    table = tomllib.loads(shipped_texts()[0])["forms"][name]
    return DeclaredForm(
        name,
        table["notice"],
        tuple(_field(key, dict(value)) for key, value in table["fields"].items()),
    )


def form_problems(form: DeclaredForm, columns: list[Column]) -> Iterator[str]:
    """Fields whose answers would go where nothing personal is declared."""
    personal = {column.registered for column in columns if isinstance(column.declaration, Personal)}
    for field in form.fields:
        if field.column not in personal:
            yield f"the form {form.name!r} asks for {field.name!r}; {field.column} is not declared personal"
        if not field.why:
            yield f"the form {form.name!r} asks for {field.name!r} without saying why"


def _field(name: str, table: dict[str, Any]) -> FormField:
    column, why = table.pop("column"), table.pop("why")
    return FormField(name, column, why, table)
