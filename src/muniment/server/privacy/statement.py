"""Reads the statement: `statement.toml`, what we declare; `statement.md`, how we say it.

    statement = read_statement()
    statement.purposes["backup"].basis, statement.days["session"], statement.clauses["P7"].enforce

The same text gives the same Statement whether it comes from the release or from a version kept in the
database. Raises StatementBroken where a table refers to what does not exist.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

from muniment.server.privacy.sentences import Document, parse_document
from muniment.server.privacy.terms import (
    Basis,
    Beacon,
    Category,
    Clause,
    ClauseState,
    Cookie,
    Jurisdiction,
    Message,
    MessageClass,
    Modality,
    Period,
    Purpose,
    Recipient,
    RecipientKind,
    Region,
    StatementBroken,
)

T = TypeVar("T")
Table = Mapping[str, Any]

_WIRING = frozenset({"state", "enforce", "records", "reason", "figure"})
"""What says how a clause is held: it changes with the program, not with the promise."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One version, whole."""

    version: int
    posted: date
    purposes: Mapping[str, Purpose]
    categories: Mapping[str, Category]
    periods: Mapping[str, Period]
    recipients: Mapping[str, Recipient]
    cookies: Mapping[str, Cookie]
    beacons: Mapping[str, Beacon]
    messages: Mapping[str, Message]
    jurisdictions: Mapping[str, Jurisdiction]
    regions: Mapping[str, Region]
    clauses: Mapping[str, Clause]
    document: Document
    digest: str
    """SHA-256 over all that people are promised; how clauses are enforced is not part of it."""

    @property
    def days(self) -> Mapping[str, int]:
        """Of the periods that end a number of days after something happened."""
        return {name: period.days for name, period in self.periods.items() if period.days is not None}

    @property
    def consent_purposes(self) -> tuple[Purpose, ...]:
        """What happens only when a person said yes."""
        return tuple(item for item in self.purposes.values() if item.basis is Basis.CONSENT)


@cache
def read_statement() -> Statement:
    """The statement that ships with this release."""
    return parse_statement(*shipped_texts())


def shipped_texts() -> tuple[str, str]:
    """(toml, md) as they ship."""
    folder = files("muniment.server.privacy")
    return (
        folder.joinpath("statement.toml").read_text(encoding="utf-8"),
        folder.joinpath("statement.md").read_text(encoding="utf-8"),
    )


def parse_statement(declared: str, said: str) -> Statement:
    """A Statement from the texts of its two files."""
    content = tomllib.loads(declared)
    try:
        statement = _assemble(content, parse_document(said), _digest(content, said))
    except (KeyError, TypeError, ValueError) as error:
        raise StatementBroken([f"{type(error).__name__}: {error}"]) from error
    complaints = list(_dangling(statement))
    if complaints:
        raise StatementBroken(complaints)
    return statement


def _assemble(content: Table, document: Document, digest: str) -> Statement:
    return Statement(
        version=content["version"],
        posted=content["posted"],
        purposes=_each(content, "purposes", _purpose),
        categories=_each(content, "categories", lambda name, t: Category(name, t["text"])),
        periods=_each(content, "periods", lambda name, t: Period(name, t["text"], t["ends"], t.get("days"))),
        recipients=_each(content, "recipients", _recipient),
        cookies=_each(content, "cookies", _cookie),
        beacons=_each(content, "beacons", lambda name, t: Beacon(name, **t)),
        messages=_each(content, "messages", lambda name, t: Message(MessageClass(name), **t)),
        jurisdictions=_each(content, "jurisdictions", lambda code, t: Jurisdiction(code, **t)),
        regions=_each(content, "regions", lambda name, t: Region(name, **t)),
        clauses=_each(content, "clauses", _clause),
        document=document,
        digest=digest,
    )


def _each(content: Table, kind: str, make: Callable[[str, Table], T]) -> dict[str, T]:
    return {name: make(name, table) for name, table in content.get(kind, {}).items()}


def _purpose(name: str, table: Table) -> Purpose:
    return Purpose(
        name,
        table["text"],
        Basis(table["basis"]),
        frozenset(table.get("categories", ())),
        table.get("balance", ""),
        table.get("gpc", False),
        table.get("ask", ""),
    )


def _recipient(name: str, table: Table) -> Recipient:
    return Recipient(
        name,
        table["title"],
        RecipientKind(table["kind"]),
        frozenset(table["purposes"]),
        frozenset(table["fields"]),
        table["country"],
        table.get("contract", ""),
        table.get("expires"),
        table.get("reviewed"),
        table.get("transfer_basis", ""),
        frozenset(table.get("origins", ())),
        table.get("begins"),
        table.get("contact", ""),
        frozenset(table.get("hosts", ())),
    )


def _cookie(name: str, table: Table) -> Cookie:
    return Cookie(name, table["text"], table["purpose"], table["essential"], table.get("days"))


def _clause(name: str, table: Table) -> Clause:
    return Clause(
        id=name,
        modality=Modality(table["modality"]),
        topic=table["topic"],
        state=ClauseState(table["state"]),
        enforce=table.get("enforce", ""),
        records=frozenset(table.get("records", ())),
        reason=table.get("reason", ""),
        figure=table.get("figure", ""),
    )


def _dangling(statement: Statement) -> Iterator[str]:
    """References inside the statement that lead nowhere."""
    for purpose in statement.purposes.values():
        for category in purpose.categories - set(statement.categories):
            yield f"the purpose {purpose.name!r} names the category {category!r}, which does not exist"
        if purpose.basis is Basis.LEGITIMATE_INTEREST and not purpose.balance:
            yield f"the purpose {purpose.name!r} rests on a legitimate interest without a balancing test"
    recipients = statement.recipients.values()
    named = [(f"recipient {item.name!r}", name) for item in recipients for name in item.purposes]
    named += [(f"cookie {item.name!r}", item.purpose) for item in statement.cookies.values()]
    named += [(f"beacon {item.name!r}", item.purpose) for item in statement.beacons.values()]
    named += [(f"message class {item.name.value!r}", item.purpose) for item in statement.messages.values()]
    for who, name in named:
        if name not in statement.purposes:
            yield f"the {who} names the purpose {name!r}, which does not exist"
    for clause in statement.clauses.values():
        if (clause.state is ClauseState.ENFORCED) != bool(clause.enforce):
            yield f"clause {clause.id} is {clause.state.value} and names {clause.enforce or 'no function'}"
        if clause.state is not ClauseState.ENFORCED and not clause.reason:
            yield f"clause {clause.id} is {clause.state.value} without a reason"
    yield from statement.document.dangling(set(statement.clauses))


def _digest(content: Table, said: str) -> str:
    promised = {
        **content,
        "clauses": {
            name: {key: value for key, value in table.items() if key not in _WIRING}
            for name, table in content.get("clauses", {}).items()
        },
    }
    canonical = json.dumps(promised, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(f"{canonical}\n{said}".encode()).hexdigest()
