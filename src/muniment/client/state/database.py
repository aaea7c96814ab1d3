"""One SQLite file per vault, with a check sum on every row that a decision rests on.

Loss, damage and copies are expected. A file that does not open or does not parse is set aside and made anew;
a row whose check sum is wrong counts as absent; a file that was copied here from elsewhere keeps its content
but begins a new installation, because two installations must never share a counter.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from muniment.model.ids import InstallationId

SCHEMA_VERSION = 2

_LISTED_HEADS = """
-- The history from its first snapshot on, without gaps; sealed.
create table if not exists listed_heads (place integer primary key, record blob not null);
"""

_SCHEMA = f"""
create table meta (key text primary key, value blob not null) without rowid;
-- `form`: kind (1), epoch (4). `committed`: whether a snapshot of ours is known to hold the pack.
-- A number is never used again: a run of another set may remember which pack it meant.
create table packs (no integer primary key autoincrement, id blob not null unique, form blob not null,
                    committed integer not null default 0);
-- Chunks of packs newly made, one row per pack, until they are merged into `chunks`.
create table staged (pack integer primary key, records blob not null);
create table chunks (id blob primary key, place blob not null) without rowid;
create table heads (device blob, set_id blob, record blob not null,
                    primary key (device, set_id)) without rowid;
create table reference_sets (snapshot blob primary key, packs blob not null) without rowid;
-- `run`: number of the run that last used the page; what is long unused is dropped.
create table pages (page blob primary key, content blob not null, run integer not null);
create table page_packs (page blob primary key, packs blob not null, run integer not null) without rowid;
{_LISTED_HEADS}
"""

_UPGRADES = {1: _LISTED_HEADS}
"""By version of the state that is found: what makes it one of the next version."""


_OBSTACLES = frozenset(
    {
        sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY,
    }
)  # fmt: skip


class Origin(Enum):
    """What was found where the state should be."""

    KEPT = "kept"
    NEW = "new"
    DAMAGED = "damaged"
    COPIED = "copied"


def checked(content: bytes, *, context: bytes = b"") -> bytes:
    """`content` with a check sum that also covers `context`."""
    return content + zlib.crc32(content, zlib.crc32(context)).to_bytes(4)


def unchecked(stored: bytes | None, *, context: bytes = b"") -> bytes | None:
    """The content of `checked`, or None where the row is missing or damaged."""
    if stored is None or len(stored) < 4:
        return None
    content = stored[:-4]
    return content if checked(content, context=context) == stored else None


class Database:
    """The connection, shared by all threads under one lock."""

    def __init__(self, path: Path, *, machine: bytes) -> None:
        """Open or make the state at `path`; `machine` tells this machine from others."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = path
        self._lock = threading.RLock()
        self._machine = machine
        existed = path.exists()
        self._connection = self._open()
        try:
            self._prepare()
            self.origin = self._recognise(existed=existed)
        except (sqlite3.DatabaseError, ValueError) as error:
            self._connection.close()
            if isinstance(error, sqlite3.DatabaseError) and is_obstacle(error):
                raise
            # Not only not ours: also cut short, overwritten, or of a version we do not know.
            self._set_aside()
            self._connection = self._open()
            self._prepare()
            self._recognise(existed=False)
            self.origin = Origin.DAMAGED
        self.run = int.from_bytes(self.get("run") or b"")
        """Number of the newest backup run; pages remember the last one that used them."""

    # --- rows of `meta`

    def get(self, key: str) -> bytes | None:
        row = self.one("select value from meta where key = ?", (key,))
        return unchecked(row[0], context=key.encode()) if row and isinstance(row[0], bytes) else None

    def put(self, key: str, value: bytes) -> None:
        with self.transaction() as connection:
            connection.execute(
                "insert or replace into meta values (?, ?)", (key, checked(value, context=key.encode()))
            )

    def begin_run(self) -> None:
        """Number a backup run; written down by `end_run`, as every transaction of a rescan counts."""
        self.run += 1

    def end_run(self) -> None:
        self.put("run", self.run.to_bytes(8))

    @property
    def installation(self) -> InstallationId:
        """This life of the local state; made anew when the state is new, damaged or copied."""
        raw = self.get("installation")
        if raw is None or len(raw) != InstallationId.LENGTH:
            fresh = InstallationId.random()
            self.put("installation", fresh.raw)
            return fresh
        return InstallationId(raw)

    # --- access

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; nested uses join the outer one."""
        with self._lock:
            if self._connection.in_transaction:
                yield self._connection
                return
            self._connection.execute("begin immediate")
            try:
                yield self._connection
            except BaseException:
                self._connection.rollback()
                raise
            self._connection.commit()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            yield self._connection

    def one(self, query: str, values: tuple[object, ...] = ()) -> tuple[object, ...] | None:
        with self._lock:
            row: tuple[object, ...] | None = self._connection.execute(query, values).fetchone()
            return row

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def forget_everything(self) -> None:
        """Set the file aside, for a damage that only showed while working. The object is of no use after."""
        self.close()
        self._set_aside()

    # --- opening

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(
            self.path, timeout=60, isolation_level=None, check_same_thread=False, cached_statements=64
        )

    def _prepare(self) -> None:
        connection = self._connection
        if stat.S_IMODE(os.stat(self.path).st_mode) != 0o600:
            os.chmod(self.path, 0o600)
        # Damage may turn a value into text that is none; it must still come out, to be found wrong.
        connection.text_factory = bytes
        connection.execute("pragma cache_size = -8192")
        connection.execute("pragma synchronous = full")
        connection.execute("pragma temp_store = memory")

    def _recognise(self, *, existed: bool) -> Origin:
        version = self._connection.execute("pragma user_version").fetchone()[0]
        if version == 0:
            self._connection.executescript(
                f"begin immediate; {_SCHEMA} pragma user_version = {SCHEMA_VERSION}; commit;"
            )
            self.put("binding", self._binding())
            return Origin.DAMAGED if existed else Origin.NEW
        while version in _UPGRADES:
            upgrade, version = _UPGRADES[version], version + 1
            self._connection.executescript(
                f"begin immediate; {upgrade} pragma user_version = {version}; commit;"
            )
        if version != SCHEMA_VERSION:
            raise ValueError(f"state of version {version}")
        self._connection.execute("select count(*) from heads").fetchone()
        if self.get("binding") != self._binding():
            with self.transaction():
                self.put("binding", self._binding())
                self.put("installation", InstallationId.random().raw)
            return Origin.COPIED
        return Origin.KEPT

    def _binding(self) -> bytes:
        """Machine and inode: a copy differs in at least one."""
        inode = os.stat(self.path).st_ino
        return hashlib.sha256(self._machine + inode.to_bytes(16)).digest()

    def _set_aside(self) -> None:
        for suffix in ("", "-journal"):
            source = Path(f"{self.path}{suffix}")
            if source.exists():
                source.replace(f"{source}.damaged")


def is_obstacle(error: sqlite3.DatabaseError) -> bool:
    """Whether something around the file is in the way: a lock, a full disk, a right."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _OBSTACLES


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether the file itself is at fault, and not a full disk or a lock."""
    return (error.sqlite_errorcode & 0xFF) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def machine_identity() -> bytes:
    """Something that differs between machines and stays on one; empty where the system has nothing such."""
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            return Path(path).read_bytes().strip()
        except OSError:
            continue
    return b""
