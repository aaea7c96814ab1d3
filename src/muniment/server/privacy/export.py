"""Everything that is held about a person, as a ZIP of JSON and CSV that is written while it is sent.

    for piece in export_archive(account, statement, now=now): response.write(piece)

    manifest.json        what is inside: every table and column, why and how long it is kept, digests, counts
    tables/<table>.json  an array of rows; bytes in base64, times in ISO 8601
    tables/<table>.csv   the same for spreadsheets
    README.txt           how to read it, and what is not in it

Made from the registry: a column that is declared is exported, without anybody having to remember it. Of what
proves who somebody is (password hashes, token hashes) it tells that it is held, not what it is: whoever finds
this file must not be able to sign in with it. `read_archive` reads it back.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, BinaryIO
from uuid import UUID

from muniment.server.privacy.registry import STAFF, Column, Personal, shown_as_staff
from muniment.server.privacy.rows_about import PersonalTable, tables_about
from muniment.server.privacy.statement import Statement

FORMAT = "muniment-export-1"
HELD = "(held; not shown, because it could be used to sign in)"
"""Stands where a secret, or what guards one, is kept."""

_SECRET = "credential"
_BYTES = "base64:"
_PIECE = 64 << 10
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Spreadsheets run cells that begin so; the CSV has them as text, the JSON as they are."""

_README = """\
This is everything that this service holds about you.

manifest.json says what each table and column is, why it is held, for how long, and the SHA-256 of each file.
tables/ has each table twice: .json is exact, .csv is for spreadsheets.

Not in here: your backups. They are sealed with a key that only you have; `muniment export DIR` takes them
out as they are, and `muniment restore` opens them. Passwords, keys and tokens are held only as hashes; the
tables say that there is one, not what it is.
"""


class _Pipe(io.RawIOBase):
    """Where the archive is written: what has come in is taken out piece by piece, and never sought in."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.waiting = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self.waiting += len(part)
        return len(part)

    def take(self) -> bytes:
        parts, self._parts, self.waiting = self._parts, [], 0
        return b"".join(parts)


@dataclass
class _File:
    """A file of the archive, hashed while it is written."""

    name: str
    digest: Any = field(default_factory=hashlib.sha256)
    size: int = 0

    def described(self) -> dict[str, Any]:
        return {"name": self.name, "sha256": self.digest.hexdigest(), "bytes": self.size}


def export_archive(person: int, statement: Statement, *, now: datetime) -> Iterator[bytes]:
    """The archive of the account with this row number, in pieces of some 64 KiB."""
    pipe = _Pipe()
    tables: list[dict[str, Any]] = []
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        stamp = now.timetuple()[:6]
        yield from _write(archive, pipe, _File("README.txt"), [_README.encode()], stamp)
        for table in tables_about():
            exact, spread = _File(f"tables/{table.label}.json"), _File(f"tables/{table.label}.csv")
            counted = _Counted(_shown(table, person))
            yield from _write(archive, pipe, exact, _json_lines(counted), stamp)
            yield from _write(archive, pipe, spread, _csv_lines(table, _shown(table, person)), stamp)
            tables.append(_described(table, counted.count, (exact, spread)))
        manifest = _manifest(tables, statement, now=now)
        yield from _write(archive, pipe, _File("manifest.json"), [manifest], stamp)
    yield pipe.take()


def read_archive(source: BinaryIO) -> dict[str, list[dict[str, Any]]]:
    """The rows of an exported archive by table, with bytes as bytes. ValueError where it is damaged."""
    with zipfile.ZipFile(source) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        if manifest.get("format") != FORMAT:
            raise ValueError(f"this is no {FORMAT}")
        found = {}
        for table in manifest["tables"]:
            for described in table["files"]:
                if hashlib.sha256(archive.read(described["name"])).hexdigest() != described["sha256"]:
                    raise ValueError(f"{described['name']} is not what was exported")
            rows = json.loads(archive.read(f"tables/{table['table']}.json"))
            if len(rows) != table["rows"]:
                raise ValueError(f"rows of {table['table']} are missing")
            found[table["table"]] = [{name: _from_json(value) for name, value in row.items()} for row in rows]
    return found


def shown(column: Column, value: Any) -> Any:
    """What the export says of a value: the value itself; of a secret that it is held; of staff no name."""
    declared = column.declaration
    if isinstance(declared, Personal) and declared.category == _SECRET and value not in (None, "", b""):
        return HELD
    if shown_as_staff(column) and value is not None:
        return STAFF
    return value


def _shown(table: PersonalTable, person: int) -> Iterator[dict[str, Any]]:
    for row in table.shown_rows(person):
        yield {column.name: shown(column, row[column.name]) for column in table.columns}


class _Counted:
    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._rows = rows
        self.count = 0

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        for row in self._rows:
            self.count += 1
            yield row


def _json_lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    between = b"[\n"
    for row in rows:
        yield between + json.dumps({k: _to_json(v) for k, v in row.items()}, ensure_ascii=False).encode()
        between = b",\n"
    yield b"[]\n" if between == b"[\n" else b"\n]\n"


def _csv_lines(table: PersonalTable, rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    line = io.StringIO()
    writer = csv.writer(line)
    writer.writerow([column.name for column in table.columns])
    for row in rows:
        writer.writerow([_cell(value) for value in row.values()])
        yield line.getvalue().encode()
        line.seek(0)
        line.truncate()
    yield line.getvalue().encode()


def _write(
    archive: zipfile.ZipFile, pipe: _Pipe, file: _File, parts: Iterable[bytes], stamp: tuple[int, ...]
) -> Iterator[bytes]:
    info = zipfile.ZipInfo(file.name, stamp)  # type: ignore[arg-type]
    info.compress_type = zipfile.ZIP_DEFLATED
    with archive.open(info, "w", force_zip64=True) as member:
        for part in parts:
            member.write(part)
            file.digest.update(part)
            file.size += len(part)
            if pipe.waiting >= _PIECE:
                yield pipe.take()


def _described(table: PersonalTable, rows: int, files: tuple[_File, ...]) -> dict[str, Any]:
    return {
        "table": table.label,
        "rows": rows,
        "files": [file.described() for file in files],
        "columns": [_column(column) for column in table.columns],
    }


def _column(column: Column) -> dict[str, Any]:
    declared = column.declaration
    if isinstance(declared, Personal):
        return {
            "name": column.name,
            "personal": True,
            "category": declared.category,
            "purposes": list(declared.purposes),
            "keep": declared.keep,
        }
    return {"name": column.name, "personal": False, "why": declared.why}


def _manifest(tables: list[dict[str, Any]], statement: Statement, *, now: datetime) -> bytes:
    content = {
        "format": FORMAT,
        "made_at": now.isoformat(),
        "statement": {"version": statement.version, "sha256": statement.digest},
        "purposes": {item.name: item.text for item in statement.purposes.values()},
        "periods": {item.name: item.text for item in statement.periods.values()},
        "categories": {item.name: item.text for item in statement.categories.values()},
        "tables": tables,
    }
    return json.dumps(content, indent=2, ensure_ascii=False).encode()


def _to_json(value: Any) -> Any:
    if isinstance(value, (bytes, memoryview)):
        return _BYTES + b64encode(bytes(value)).decode()
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, (UUID, Decimal)):
        return str(value)
    return value


def _from_json(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_BYTES):
        return b64decode(value.removeprefix(_BYTES))
    return value


def _cell(value: Any) -> str:
    plain = _to_json(value)
    text = "" if plain is None else plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
    return "'" + text if text.startswith(_FORMULA) and isinstance(plain, str) else text
