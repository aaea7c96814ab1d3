"""The operator's own recipients, as `DATA/recipients.toml` declares them.

    [recipients.mail_carrier]
    title = "…"                     kind = "processor"              country = "IE"
    purposes = ["service_mail"]     categories = ["contact"]        # or fields = ["accounts.Account.email"]
    contract = "…"                  begins = 2026-01-01             expires = 2028-01-01
    reviewed = 2026-01-01           contact = "privacy@…"           transfer_basis = "…"
    hosts = ["mail.example.org:587"]                                origins = ["https://…"]

They speak in the words of the statement: its purposes, the categories that those may use, its kinds. The
lawful basis comes with the purpose. Together with the shipped statement they are one version
(`versions.posting`), so that a wider recipient is told and waited for like every other change. Needs Django's
models.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

from muniment.server.privacy.external import EXTERNAL
from muniment.server.privacy.gate.areas import crosses_border
from muniment.server.privacy.operator import read_operator
from muniment.server.privacy.registry import Column, Personal, data_map, recipient_problems
from muniment.server.privacy.statement import Statement, read_statement
from muniment.server.privacy.terms import Recipient, RecipientKind, RecipientsRefused

FILE = "recipients.toml"

_SECRETS = "credential"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_COUNTRY = re.compile(r"[A-Z]{2}")
_HOST = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-f:]+\]):([0-9]{1,5})")
_ORIGIN = re.compile(r"https://[a-z0-9.-]+(:[0-9]{1,5})?")
_NEEDED = frozenset({"title", "kind", "purposes", "country", "contract", "expires", "reviewed", "contact"})
_TEXTS = frozenset({"title", "kind", "country", "contract", "contact", "transfer_basis"})
_DATES = frozenset({"begins", "expires", "reviewed"})
_LISTS = frozenset({"purposes", "fields", "categories", "hosts", "origins"})
_ELSEWHERE = {
    RecipientKind.AUTHORITY: "an authority is named by its order, on /console/orders",
    RecipientKind.PURCHASER: "a buyer is named on /console/succession",
}
_KINDS = [kind.value for kind in RecipientKind if kind not in _ELSEWHERE]

Table = Mapping[str, Any]
Problem = tuple[str, str]
"""The field, and what is wrong with it and what to do."""


def read_recipients(data: Path, *, statement: Statement | None = None) -> dict[str, Recipient]:
    """By name; none without a file. Raises RecipientsRefused, OperatorUnreadable."""
    path = data / FILE
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise RecipientsRefused([f"{path}: {error}"]) from error
    shipped = read_statement() if statement is None else statement
    here = read_operator(data).country
    reading = _Reading(shipped, data_map(EXTERNAL), here)
    complaints, found = [], dict[str, Recipient]()
    for key in sorted(set(content) - {"recipients"}):
        complaints.append(_at(path, text, "", key, "is not asked; recipients are tables [recipients.NAME]"))
    tables = content.get("recipients", {})
    for name, table in tables.items() if isinstance(tables, dict) else ():
        recipient, problems = reading.recipient(name, table)
        complaints += [_at(path, text, name, field, what) for field, what in problems]
        if recipient is not None:
            found[name] = recipient
    if complaints:
        raise RecipientsRefused(complaints)
    return found


def text_of(recipients: Mapping[str, Recipient]) -> str:
    """As TOML in one fixed form: what a version keeps, whatever comments and order the file has."""
    return "".join(_written(recipients[name]) for name in sorted(recipients))


def _written(recipient: Recipient) -> str:
    lines: dict[str, str] = {
        "title": _quoted(recipient.title),
        "kind": _quoted(recipient.kind.value),
        "country": _quoted(recipient.country),
        "contract": _quoted(recipient.contract),
        "contact": _quoted(recipient.contact),
        "transfer_basis": _quoted(recipient.transfer_basis),
    }
    for name in ("purposes", "fields", "origins", "hosts"):
        lines[name] = f"[{', '.join(_quoted(item) for item in sorted(getattr(recipient, name)))}]"
    for name in sorted(_DATES):
        if (day := getattr(recipient, name)) is not None:
            lines[name] = day.isoformat()
    return f"\n[recipients.{recipient.name}]\n" + "".join(f"{key} = {said}\n" for key, said in lines.items())


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


class _Reading:
    """What a table is held against."""

    def __init__(self, statement: Statement, columns: list[Column], here: str) -> None:
        self.statement, self.columns, self.here = statement, columns, here

    def recipient(self, name: str, table: Any) -> tuple[Recipient | None, list[Problem]]:
        """The recipient, or why there is none."""
        if not isinstance(table, dict):
            return None, [("", "is no table; write [recipients.NAME]")]
        problems = [*self._name(name), *_shape(table)]
        if problems:
            return None, problems
        problems = [*self._words(table), *_dates(table), *_addresses(table)]
        if problems:
            return None, problems
        made = Recipient(
            name, table["title"], RecipientKind(table["kind"]), frozenset(table["purposes"]),
            self._fields(table), table["country"], table["contract"], table["expires"], table["reviewed"],
            table.get("transfer_basis", ""), frozenset(table.get("origins", ())), table.get("begins"),
            table["contact"], frozenset(table.get("hosts", ())),
        )  # fmt: skip
        problems = list(self._whole(made))
        return (None, problems) if problems else (made, [])

    def _name(self, name: str) -> Iterator[Problem]:
        if not _NAME.fullmatch(name):
            yield "", "has a name of other than small letters, digits and _"
        elif name in self.statement.recipients:
            yield "", "has the name of a recipient that ships with the statement; choose another"

    def _words(self, table: Table) -> Iterator[Problem]:
        """Only words that the statement has."""
        kind = table["kind"]
        if kind in set(_ELSEWHERE):
            yield "kind", f"cannot stand here: {_ELSEWHERE[RecipientKind(kind)]}"
        elif kind not in _KINDS:
            yield "kind", f"is none of {', '.join(_KINDS)}"
        for purpose in sorted(set(table["purposes"]) - set(self.statement.purposes)):
            yield "purposes", f"names {purpose!r}, which the statement does not have; /privacy lists them"
        for category in sorted(set(table.get("categories", ())) - set(self.statement.categories)):
            yield "categories", f"names {category!r}, which the statement does not have; /privacy lists them"
        if not _COUNTRY.fullmatch(table["country"]):
            yield "country", "is not two capital letters (ISO 3166)"
        elif self.here and not table.get("transfer_basis") and crosses_border(self.here, table["country"]):
            yield "country", f"is across a border from {self.here}: say which transfer_basis there is"

    def _fields(self, table: Table) -> frozenset[str]:
        """Columns by name, and all columns of a category that one of its purposes may use."""
        wanted = set(table.get("categories", ()))
        return frozenset(table.get("fields", ())) | {
            column.registered
            for column in self.columns
            if isinstance(column.declaration, Personal) and column.declaration.category in wanted
        }

    def _whole(self, made: Recipient) -> Iterator[Problem]:
        alone = replace(self.statement, recipients={made.name: made})
        for problem in recipient_problems(alone, self.columns):
            yield "fields", problem.partition(" gets ")[2] or problem
        secrets = {
            column.registered
            for column in self.columns
            if isinstance(column.declaration, Personal) and column.declaration.category == _SECRETS
        }
        for field in sorted(made.fields & secrets):
            yield "fields", f"names {field}, which proves who somebody is: nobody outside gets that"


def _shape(table: Table) -> Iterator[Problem]:
    """Every field is asked for, and of its kind."""
    for field in sorted(set(table) - _TEXTS - _DATES - _LISTS):
        yield field, "is not asked; leave it out"
    for field in sorted(_NEEDED - set(table)):
        yield field, "is missing"
    if not {"fields", "categories"} & set(table):
        yield "fields", "is missing, and so is categories: say what they may be sent"
    for field, said in table.items():
        if field in _TEXTS and not (isinstance(said, str) and _is_line(said)):
            yield field, "is not one line of text"
        elif field in _NEEDED & _TEXTS and not said.strip():
            yield field, "is empty"
        elif field in _DATES and (not isinstance(said, date) or isinstance(said, datetime)):
            yield field, "is not a day such as 2027-01-31, without quotes"
        elif field in _LISTS and not (isinstance(said, list) and all(_is_text(item) for item in said)):
            yield field, 'is not a list of texts such as ["contact"]'
        elif field == "purposes" and not said:
            yield field, "is empty"


def _dates(table: Table) -> Iterator[Problem]:
    begins = table.get("begins")
    if begins is not None and begins >= table["expires"]:
        yield "begins", "is not before expires"


def _addresses(table: Table) -> Iterator[Problem]:
    for field, is_one, what in _KNOWN_ADDRESSES:
        for said in table.get(field, ()):
            if not is_one(said):
                yield field, f"names {said!r}, which is {what}"


def _is_host(text: str) -> bool:
    found = _HOST.fullmatch(text)
    return found is not None and 0 < int(found[2]) < 65536


_KNOWN_ADDRESSES: tuple[tuple[str, Callable[[str], object], str], ...] = (
    ("hosts", _is_host, "no host with a port, such as mail.example.org:587"),
    ("origins", _ORIGIN.fullmatch, "no web origin such as https://stats.example.org"),
)


def _is_line(text: str) -> bool:
    return all(letter.isprintable() for letter in text)


def _is_text(item: Any) -> bool:
    return isinstance(item, str) and bool(item) and _is_line(item)


def _at(path: Path, text: str, name: str, field: str, what: str) -> str:
    """`/data/recipients.toml, line 4: recipients.carrier: kind is missing`."""
    where = f"{path}, line {_line(text, name, field)}"
    who = f"recipients.{name}: " if name else ""
    return f"{where}: {who}{field or 'it'} {what}"


def _line(text: str, name: str, field: str) -> int:
    """Of the field; of the recipient's head where it has none; 1 where neither can be found."""
    head = re.compile(rf"""\s*\[\s*recipients\s*\.\s*["']?{re.escape(name)}["']?\s*\]""")
    wanted = re.compile(rf"""\s*["']?{re.escape(field)}["']?\s*=""")
    found, inside = 1, not name
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("["):
            inside = bool(name) and head.match(line) is not None
            found = number if inside else found
        elif inside and field and wanted.match(line):
            return number
    return found
