"""What outlives a database: whose data was erased. A backup put back from yesterday is erased again.

`DATA/erasures.log` has a line per erasure, written and synced before the first row goes: the day, and the
SHA-256 of the account's `ref`, which is 16 random bytes and so cannot be guessed back. Lines go after `KEPT`:
backups of the database may be no older than seven days.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from uuid import UUID

FILE = "erasures.log"
KEPT = timedelta(days=35)


def bury(data: Path, ref: UUID, *, now: datetime) -> None:
    """Write and sync the tombstone of an account; again does nothing."""
    name = tomb_of(ref)
    if name in set(names(data)):
        return
    path = data / FILE
    is_new = not path.exists()
    # A line break first: what a power cut left of the line before must not swallow this one.
    line = "\n" + json.dumps({"day": now.date().isoformat(), "account": name}) + "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        _sync_directory(data)


def names(data: Path) -> Iterator[str]:
    """The hashes of erased accounts. A line torn by a power cut was never acted upon, and is passed over."""
    for _, name in _lines(data):
        yield name


def tomb_of(ref: UUID) -> str:
    return hashlib.sha256(ref.bytes).hexdigest()


def clear_old(data: Path, *, now: datetime) -> int:
    """Drop the lines of erasures that no backup can be older than; returns how many."""
    last = now.date() - KEPT
    lines = list(_lines(data))
    kept = [(day, name) for day, name in lines if day >= last]
    if len(kept) == len(lines):
        return 0
    temporary = data / f"{FILE}.new"
    with temporary.open("w", encoding="utf-8") as file:
        for day, name in kept:
            file.write(json.dumps({"day": day.isoformat(), "account": name}) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(data / FILE)
    _sync_directory(data)
    return len(lines) - len(kept)


def _lines(data: Path) -> Iterator[tuple[date, str]]:
    try:
        text = (data / FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            found = json.loads(line)
            yield date.fromisoformat(found["day"]), str(found["account"])
        except (ValueError, KeyError, TypeError):
            continue


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
