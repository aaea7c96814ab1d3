"""Runs the statements of `hot_rows.sql` by name. Their meaning is there; here is only how values travel."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any
from uuid import UUID

from django.db import connection

from muniment.server.privacy.purposes import Purpose, may_read, refuse_read

Value = int | str | bytes | bool | UUID | datetime


def _read_statements() -> Mapping[str, str]:
    text = files("muniment.server.vaults").joinpath("hot_rows.sql").read_text(encoding="utf-8")
    parts = re.split(r"^-- name: (\w+)$", text, flags=re.MULTILINE)[1:]
    named = zip(parts[::2], parts[1::2], strict=True)
    return {name: re.sub(r"^--.*$", "", body, flags=re.MULTILINE).strip() for name, body in named}


_READERS = frozenset({Purpose.BACKUP})
_STATEMENTS = _read_statements()


def fetch_row(name: str, *values: Value) -> tuple[Any, ...] | None:
    """The one row of the statement, or None. Raises ReadWithoutPurpose: no column is asked here, so it is."""
    if not may_read(_READERS):
        refuse_read(f"hot_rows.{name}")
    with connection.cursor() as cursor:
        cursor.execute(_STATEMENTS[name], _adapted(values))
        row: tuple[Any, ...] | None = cursor.fetchone()
        return row


def change_rows(name: str, *values: Value) -> int:
    """Run the statement; returns how many rows it changed."""
    with connection.cursor() as cursor:
        cursor.execute(_STATEMENTS[name], _adapted(values))
        return int(cursor.rowcount)


def as_ref(value: str | UUID) -> UUID:
    """An id as the database gave it: PostgreSQL has a type for it, SQLite keeps hexadecimal."""
    return value if isinstance(value, UUID) else UUID(hex=value)


def _adapted(values: Sequence[Value]) -> list[Any]:
    native = connection.features.has_native_uuid_field
    return [
        connection.ops.adapt_datetimefield_value(value)
        if isinstance(value, datetime)
        else value.hex
        if isinstance(value, UUID) and not native
        else value
        for value in values
    ]
