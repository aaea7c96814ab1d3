"""What outlives a database: whose data was erased. A backup put back from yesterday is erased again.

`DATA/erasures.log` has a line per erasure, written and synced before the first row goes: the day, and the
SHA-256 of the account's `ref`, which is 16 random bytes and so cannot be guessed back. Beside it stands a
line for each address of the person, for what others' rows or nobody's hold of it: the `ref` of the request,
and a hash of the address that is keyed with the site's secret. Lines go after `KEPT`: backups of the database
may be no older than seven days.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from uuid import UUID

from django.utils.crypto import salted_hmac

FILE = "erasures.log"
KEPT = timedelta(days=35)
_SALT = "muniment.erased-address"


def bury(data: Path, ref: UUID, *, now: datetime) -> None:
    """Write and sync the tombstone of an account; again does nothing."""
    name = tomb_of(ref)
    if name in set(names(data)):
        return
    _append(data, {"day": now.date().isoformat(), "account": name})


def bury_address(data: Path, email: str, *, request: UUID, now: datetime) -> None:
    """The same for what is held by an address, erased because of this request."""
    name = tomb_of_address(email)
    if (request, name) not in set(addresses(data)):
        _append(data, {"day": now.date().isoformat(), "request": request.hex, "address": name})


def names(data: Path) -> Iterator[str]:
    """The hashes of erased accounts. A line torn by a power cut was never acted upon, and is passed over."""
    for _, line in _lines(data):
        if "account" in line:
            yield line["account"]


def addresses(data: Path) -> Iterator[tuple[UUID, str]]:
    """Requests, each with the hash of an address that was erased because of it."""
    for _, line in _lines(data):
        if "address" in line:
            yield UUID(hex=line["request"]), line["address"]


def tomb_of(ref: UUID) -> str:
    return hashlib.sha256(ref.bytes).hexdigest()


def tomb_of_address(email: str) -> str:
    return salted_hmac(_SALT, email.lower(), algorithm="sha256").hexdigest()


def clear_old(data: Path, *, now: datetime) -> int:
    """Drop the lines of erasures that no backup can be older than; returns how many."""
    last = now.date() - KEPT
    lines = list(_lines(data))
    kept = [line for day, line in lines if day >= last]
    if len(kept) == len(lines):
        return 0
    temporary = data / f"{FILE}.new"
    with temporary.open("w", encoding="utf-8") as file:
        for line in kept:
            file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(data / FILE)
    _sync_directory(data)
    return len(lines) - len(kept)


def _append(data: Path, line: Mapping[str, str]) -> None:
    path = data / FILE
    is_new = not path.exists()
    # A line break first: what a power cut left of the line before must not swallow this one.
    text = "\n" + json.dumps(line) + "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, text.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        _sync_directory(data)


def _lines(data: Path) -> Iterator[tuple[date, dict[str, str]]]:
    try:
        text = (data / FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            found = {name: str(value) for name, value in json.loads(line).items()}
            yield date.fromisoformat(found["day"]), found
        except (ValueError, KeyError, TypeError, AttributeError):
            continue


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
