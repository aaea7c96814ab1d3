"""The tables of the statement, made from its declarations and from the registry: text never repeats a list.

table_named("purposes", statement).rows
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from muniment.server.privacy.external import EXTERNAL
from muniment.server.privacy.registry import Column, Personal, data_map
from muniment.server.privacy.statement import Statement
from muniment.server.privacy.terms import Period


@dataclass(frozen=True, slots=True)
class Table:
    """`rows` have as many cells as `head`; `nothing` is said where there are none."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    nothing: str = ""

    @property
    def labelled(self) -> tuple[tuple[tuple[str, str], ...], ...]:
        """Rows whose cells know the head of their column: narrow screens show it beside each."""
        return tuple(tuple(zip(self.head, row, strict=True)) for row in self.rows)


def table_named(name: str, statement: Statement) -> Table:
    """Raises KeyError: the text asks for a table that nobody makes."""
    return _TABLES[name](statement)


def holdings_of(columns: Iterable[Column]) -> dict[str, list[tuple[Column, Personal]]]:
    """Personal columns by category, in the order of the registry."""
    held: dict[str, list[tuple[Column, Personal]]] = {}
    for column in columns:
        if isinstance(column.declaration, Personal):
            held.setdefault(column.declaration.category, []).append((column, column.declaration))
    return held


def _holdings(statement: Statement) -> Table:
    rows = []
    held = holdings_of(data_map(EXTERNAL))
    for name, category in statement.categories.items():
        if name in held:
            kept = dict.fromkeys(personal.keep for _, personal in held[name])
            ends = " ".join(statement.periods[keep].text for keep in kept)
            rows.append((_title(name), category.text, ends))
    head = ("Kind", "What it is", "Kept")
    return Table("Made from the declaration of every column of our database.", head, tuple(rows))


def _purposes(statement: Statement) -> Table:
    rows = tuple(
        (
            purpose.text,
            _title(purpose.basis.value) + (f": {purpose.balance}" if purpose.balance else ""),
            ", ".join(sorted(purpose.categories)) or "nothing personal",
        )
        for purpose in statement.purposes.values()
    )
    head = ("What for", "Lawful basis", "Uses at most")
    return Table("Every purpose that any part of the program may name.", head, rows)


def _recipients(statement: Statement) -> Table:
    rows = tuple(
        (
            item.title,
            item.kind.value.replace("_", " "),
            " ".join(statement.purposes[name].text for name in sorted(item.purposes)),
            ", ".join(sorted(item.fields)),
            f"{item.country}{', ' + item.transfer_basis if item.transfer_basis else ''}",
            "–" if item.expires is None else item.expires.isoformat(),
        )
        for item in statement.recipients.values()
    )
    return Table(
        "Everybody outside who may be sent personal data.",
        ("Who", "Kind", "What for", "Which data", "Where", "Contract until"),
        rows,
        "Nobody. The table is empty.",
    )


def _periods(statement: Statement) -> Table:
    rows = tuple((_title(item.name), item.text, _length(item)) for item in statement.periods.values())
    return Table("Every period that a column of our database may name.", ("Period", "How long", "Days"), rows)


def _cookies(statement: Statement) -> Table:
    rows = tuple(
        (
            item.name,
            item.text,
            "Needed" if item.essential else "Only if you say yes",
            "until the browser closes" if item.days is None else f"{item.days} days",
        )
        for item in statement.cookies.values()
    )
    head = ("Cookie", "What it does", "Needed?", "Lasts")
    return Table("Every cookie that this server may set.", head, rows, "There are none.")


def _authorities(statement: Statement) -> Table:
    rows = tuple(
        (_place(item.code), item.authority, str(item.consent_age))
        for item in statement.jurisdictions.values()
    )
    head = ("Where you live", "To whom you may complain", "From this age you decide alone")
    return Table("Authorities, and ages, by country.", head, rows)


def _place(code: str) -> str:
    return {"EU": "elsewhere in the European Union", "*": "everywhere else"}.get(code, code)


def _length(period: Period) -> str:
    return "–" if period.days is None else str(period.days)


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


_TABLES: dict[str, Callable[[Statement], Table]] = {
    "holdings": _holdings,
    "purposes": _purposes,
    "recipients": _recipients,
    "periods": _periods,
    "cookies": _cookies,
    "authorities": _authorities,
}
