"""What a query reads that makes no rows of models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.db.models.sql import Query

from muniment.server.privacy.guard import check_columns


class AsksWhatFor:
    """Mixed into a compiler that answers."""

    query: Any
    klass_info: Mapping[str, Any] | None

    def get_converters(self, expressions: Sequence[Any]) -> Any:
        """Django asks for these before it reads the first row."""
        asked = list(expressions)
        # `values()` has a `klass_info` too, of columns that become no row.
        makes_rows = self.klass_info and getattr(self.query, "default_cols", False)
        loaded = set(_loaded(self.klass_info or {})) if makes_rows else set()
        check_columns(expression for number, expression in enumerate(asked) if number not in loaded)
        # Rows beside ours come back as ours are, whatever their columns are called.
        check_columns(other for other in self.query.combined_queries if not _are_rows(other, self.query))
        return super().get_converters(asked)  # type: ignore[misc]


class AsksWhatIsCopied:
    """Mixed into a compiler that changes rows: a value taken from a column is read, unless it stays there."""

    query: Any

    def as_sql(self, *args: Any, **options: Any) -> Any:
        for field, _, value in self.query.values:
            if hasattr(value, "get_source_expressions"):
                check_columns([value], kept_in=field)
        return super().as_sql(*args, **options)  # type: ignore[misc]


def _loaded(info: Mapping[str, Any]) -> Iterator[int]:
    """Numbers of the columns that become rows of models, whose attributes ask for themselves."""
    yield from info.get("select_fields", ())
    for related in info.get("related_klass_infos", ()):
        yield from _loaded(related)


def _are_rows(other: Query, of: Query) -> bool:
    return other.default_cols and of.default_cols and other.model is of.model and not other.annotation_select
