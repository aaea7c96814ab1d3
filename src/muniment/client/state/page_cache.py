"""The engine's PageCache: pages beside the client, compressed and sealed, and which packs each needs."""

from __future__ import annotations

import sqlite3
import threading

from backports import zstd

from muniment.client.state.database import Database, checked, is_damage, unchecked
from muniment.crypto.keys import VaultKeys
from muniment.model.errors import DamagedObject
from muniment.model.ids import PackId, PageId

FLUSH_AT = 256
KEEP_RUNS = 50
TOUCHED_EVERY = 10
"""Runs: a page in use is touched once in so many, as a rescan should write next to nothing."""
MOST_BYTES = 512 * 1024 * 1024
_PAGE_MOST = 1 << 20


class LocalPageCache:
    """Safe for threads. Writes are collected and go to disk by `flush`, or every few hundred pages."""

    def __init__(self, database: Database, keys: VaultKeys) -> None:
        self._database = database
        self._keys = keys.local_keys(b"pages")
        self._lock = threading.Lock()
        self._pages: dict[bytes, bytes] = {}
        self._packs: dict[bytes, bytes] = {}
        self._used: set[bytes] = set()

    def get(self, page: PageId) -> bytes | None:
        sealed = self._pages.get(page.raw)
        if sealed is None:
            row = self._row("select content, run from pages where page = ?", page)
            if row is None or not isinstance(row[0], bytes):
                return None
            sealed = row[0]
            if isinstance(row[1], int) and row[1] <= self._database.run - TOUCHED_EVERY:
                self._used.add(page.raw)
        try:
            frame = self._keys.open(sealed, aad=page.raw)
            return zstd.ZstdDecompressor().decompress(frame, max_length=_PAGE_MOST)
        except (DamagedObject, zstd.ZstdError):
            return None

    def put(self, page: PageId, content: bytes) -> None:
        sealed = self._keys.seal(zstd.compress(content, level=1), aad=page.raw)
        with self._lock:
            self._pages[page.raw] = sealed
            full = len(self._pages) >= FLUSH_AT
        if full:
            self.flush()

    def packs_of(self, page: PageId) -> frozenset[PackId] | None:
        stored = self._packs.get(page.raw)
        if stored is None:
            row = self._row("select packs from page_packs where page = ?", page)
            if row is None or not isinstance(row[0], bytes):
                return None
            stored = row[0]
        packs = unchecked(stored, context=page.raw)
        if packs is None or len(packs) % PackId.LENGTH:
            return None
        return decode_packs(packs)

    def note_packs(self, page: PageId, packs: frozenset[PackId]) -> None:
        with self._lock:
            self._packs[page.raw] = checked(encode_packs(packs), context=page.raw)
            full = len(self._packs) >= 4 * FLUSH_AT
        if full:
            self.flush()

    def _row(self, query: str, page: PageId) -> tuple[object, ...] | None:
        """A damaged cache has no page; what must know of the damage meets it when it writes."""
        try:
            return self._database.one(query, (page.raw,))
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            return None

    def flush(self) -> None:
        """Write what was collected, in one transaction."""
        with self._lock:
            pages, packs, used = self._pages, self._packs, self._used
            if not pages and not packs and not used:
                return
            run = self._database.run
            with self._database.transaction() as connection:
                connection.executemany(
                    "insert or replace into pages values (?, ?, ?)", [(p, c, run) for p, c in pages.items()]
                )
                connection.executemany(
                    "insert or replace into page_packs values (?, ?, ?)",
                    [(p, c, run) for p, c in packs.items()],
                )
                connection.executemany("update pages set run = ? where page = ?", [(run, p) for p in used])
                connection.executemany(
                    "update page_packs set run = ? where page = ?", [(run, p) for p in used]
                )
            self._pages, self._packs, self._used = {}, {}, set()

    def drop_unused(self) -> None:
        """Drop pages that no recent run used, and the longest unused beyond a fixed size."""
        with self._database.transaction() as connection:
            oldest = self._database.run - KEEP_RUNS
            connection.execute("delete from pages where run < ?", (oldest,))
            connection.execute("delete from page_packs where run < ?", (oldest,))
            # The file also holds what is known of chunks and what was deleted: it only says whether to look.
            if self._database.run % TOUCHED_EVERY == 0 and self._database.path.stat().st_size > MOST_BYTES:
                self._drop_oldest(connection)

    def _drop_oldest(self, connection: sqlite3.Connection) -> None:
        """Until what is left fits, or is all in use."""
        held = 0
        for run, size in connection.execute(
            "select run, sum(length(content)) from pages group by run order by run desc"
        ).fetchall():
            held += size
            if held > MOST_BYTES and run <= self._database.run - 2 * TOUCHED_EVERY:
                connection.execute("delete from pages where run <= ?", (run,))
                return


def encode_packs(packs: frozenset[PackId]) -> bytes:
    return b"".join(sorted(pack.raw for pack in packs))


def decode_packs(raw: bytes) -> frozenset[PackId]:
    return frozenset(PackId(raw[at : at + PackId.LENGTH]) for at in range(0, len(raw), PackId.LENGTH))
