"""Every concrete column says what it is: personal, with category, purposes, period and eraser; or public.

    email = personal(
        models.EmailField(), category="contact", purposes=("sign_in",), keep="account", erase=Erase.DELETE
    )

Models also say `subject_path` (from the row to the account it is about; empty where it is about nobody) and
`placement`. `check_registry` runs as a Django system check and at start-up: an undeclared column stops both.
Purposes and periods are those of `statement.toml`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from django.apps import apps
from django.conf import settings
from django.db import models
from django.utils.text import capfirst

from muniment.server.privacy.statement import Statement

F = TypeVar("F", bound="models.Field[Any, Any]")


class Erase(Enum):
    """What the eraser does to a personal column."""

    DELETE = "delete the row"
    CLEAR = "empty the column"


class Placement(Enum):
    """Where rows live: in one region, or in the control plane, which holds nothing personal."""

    REGION = "region"
    CONTROL = "control"


@dataclass(frozen=True, slots=True)
class Personal:
    category: str
    purposes: tuple[str, ...]
    keep: str
    erase: Erase


@dataclass(frozen=True, slots=True)
class Public:
    why: str


OUTGOING = "outgoing"
"""The period of what was written down for somebody outside: a copy, which is given to nobody else."""

STAFF = "a member of staff"
"""What people are told of who decided about them."""
_ACTED = "a member of staff acting for the operator, shown to the person concerned as just that"

Declaration = Personal | Public


@dataclass(frozen=True, slots=True)
class Column:
    """A declared column, as the data map shows it."""

    model: str
    name: str
    declaration: Declaration
    subject_path: str
    placement: Placement

    @property
    def registered(self) -> str:
        """Its name in scopes, tables of recipients and reports: "accounts.User.email"."""
        return f"{self.model}.{self.name}"


@dataclass(frozen=True, slots=True)
class External:
    """Declarations for a model that is not ours (or that Django makes by itself)."""

    subject_path: str
    placement: Placement
    columns: dict[str, Declaration]


@dataclass(frozen=True, slots=True)
class ByAddress:
    """Said by a model (`by_address`) whose rows hold somebody's address who is not whom they are about.

    That somebody may have no account; what is held is found, shown and erased by the address.
    """

    column: str
    empties: tuple[str, ...] = ()
    """Columns that are theirs. Without any the row is theirs as a whole."""
    told: tuple[str, ...] = ()
    """What is told of it to somebody without an account. What is on its way to them anyway is not."""


def personal(field: F, *, category: str, purposes: tuple[str, ...], keep: str, erase: Erase) -> F:
    """`field`, declared personal."""
    field.privacy = Personal(category, purposes, keep, erase)  # type: ignore[attr-defined]
    return field


def public(field: F, *, why: str) -> F:
    """`field`, declared to say nothing about a person."""
    field.privacy = Public(why)  # type: ignore[attr-defined]
    return field


def acted() -> models.ForeignKey[Any, Any]:
    """Who of the staff did something: kept for the operator, and shown to the person as `STAFF`."""
    user = settings.AUTH_USER_MODEL
    field = models.ForeignKey(user, null=True, on_delete=models.SET_NULL, related_name="+")
    return public(field, why=_ACTED)


def shown_as_staff(column: Column) -> bool:
    """Whether it says who of the staff did something."""
    return isinstance(column.declaration, Public) and column.declaration.why == _ACTED


def data_map(external: dict[str, External]) -> list[Column]:
    """Every declared column of every installed model."""
    return [item for item in _declarations(_concrete_models(), external) if isinstance(item, Column)]


def titles(columns: Iterable[Column]) -> dict[str, tuple[str, str]]:
    """What people call a table and each of its columns, by the registered name: what the model calls them."""
    found = {}
    for column in columns:
        meta = apps.get_model(column.model)._meta
        field: Any = meta.get_field(column.name)
        found[column.registered] = (
            str(capfirst(meta.verbose_name_plural)),
            str(capfirst(field.verbose_name)),
        )
    return found


def problems(
    statement: Statement,
    external: dict[str, External],
    *,
    model_list: Iterable[type[models.Model]] | None = None,
) -> list[str]:
    """What is undeclared, or declared with a purpose or period the statement does not have."""
    found = []
    for item in _declarations(model_list or _concrete_models(), external):
        if isinstance(item, str):
            found.append(item)
        elif isinstance(item.declaration, Personal):
            found.extend(_against_statement(item, item.declaration, statement))
    return found


def recipient_problems(statement: Statement, columns: Iterable[Column]) -> list[str]:
    """Fields that a recipient is named for though no purpose of its may use them, or nobody declared them."""
    personal_columns = {
        column.registered: column.declaration.category
        for column in columns
        if isinstance(column.declaration, Personal)
    }
    found = []
    for recipient in statement.recipients.values():
        for name in sorted(recipient.fields):
            category = personal_columns.get(name)
            if category is None:
                found.append(f"the recipient {recipient.name!r} gets {name}, which is no personal column")
            elif not any(_may_use(purpose, category, statement) for purpose in recipient.purposes):
                found.append(f"the recipient {recipient.name!r} gets {name}, which no purpose of its may use")
    return found


def _against_statement(column: Column, declared: Personal, statement: Statement) -> Iterator[str]:
    where = column.registered
    if not declared.purposes:
        yield f"{where} is personal without a purpose"
    for purpose in declared.purposes:
        if purpose not in statement.purposes:
            yield f"{where} names the purpose {purpose!r}, which the statement does not have"
    if declared.keep not in statement.periods:
        yield f"{where} names the period {declared.keep!r}, which the statement does not have"
    if declared.category not in statement.categories:
        yield f"{where} names the category {declared.category!r}, which the statement does not have"
    elif unlisted := [name for name in declared.purposes if not _may_use(name, declared.category, statement)]:
        yield f"{where} is {declared.category}, which the purpose {unlisted[0]!r} may not use"
    if not column.subject_path:
        yield f"{where} is personal, but its model has no subject_path"


def _may_use(purpose: str, category: str, statement: Statement) -> bool:
    """Purposes that do not exist are complained of elsewhere."""
    declared = statement.purposes.get(purpose)
    return declared is None or category in declared.categories


def _concrete_models() -> list[type[models.Model]]:
    return [m for m in apps.get_models(include_auto_created=True) if m._meta.managed and not m._meta.proxy]


def _declarations(
    model_list: Iterable[type[models.Model]], external: dict[str, External]
) -> Iterator[Column | str]:
    for model in model_list:
        label = model._meta.label
        outside = external.get(label)
        subject_path = outside.subject_path if outside else getattr(model, "subject_path", None)
        placement = outside.placement if outside else getattr(model, "placement", None)
        if subject_path is None or placement is None:
            yield f"{label} declares no subject_path and placement"
            continue
        for field in model._meta.concrete_fields:
            declared = outside.columns.get(str(field.column)) if outside else getattr(field, "privacy", None)
            if declared is None:
                yield f"{label}.{field.name} is not declared personal or public"
            else:
                yield Column(label, field.name, declared, subject_path, placement)
