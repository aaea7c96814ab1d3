"""Which chunks the vault holds and where: the engine's ChunkIndex, and what the spool records.

New packs go into `staged`, one row each, and their chunks into a dictionary, as the rows they will be; every
128 Ki chunks it is written, sorted, into the tree of `chunks`. So a first backup writes no random pages, and
reads none while the tree is empty. What a run leaves staged, the next one begins by merging.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from muniment.client.state.database import Database, checked, unchecked
from muniment.model.ids import ChunkId, PackId
from muniment.model.packs import BlockAddress, ChunkAddress, PackKind

MERGE_AT = 128 * 1024
QUERY_WIDTH = 256

_PLACE = struct.Struct(">IIIIII")  # pack number, block ordinal, block offset, block length, inner, length
_RECORD = struct.Struct(">16sIIIII")  # chunk id, then the same without the pack number
_FORM = struct.Struct(">BI")
_FIND = f"select id, place from chunks where id in ({','.join('?' * QUERY_WIDTH)})"


class LocalChunkIndex:
    """Safe for threads. Damaged rows count as absent: the worst is that a chunk is stored once more."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._recent: dict[bytes, bytes] = {}
        """What this run staged: chunk and place, 170 bytes for both where the addresses would take 330."""
        self._merged = False
        self._tree_empty = self._is_empty("chunks")
        self._pack_of = lru_cache(4096)(self._load_pack)

    # --- the engine's port

    def find(self, ids: Sequence[ChunkId]) -> Mapping[ChunkId, ChunkAddress]:
        if not self._merged:
            self._merge_leftovers()
        recent = self._recent
        rows: list[tuple[bytes, bytes]] = []
        unseen: list[bytes] = []
        for (chunk,) in ids:
            place = recent.get(chunk)
            if place is not None:
                rows.append((chunk, place))
            elif not self._tree_empty:
                unseen.append(chunk)
        if unseen:
            rows += self._find_in_tree(unseen)
        return self._decode(rows)

    # --- packs

    def add_pack(
        self, pack: PackId, *, kind: PackKind, epoch: int, chunks: Mapping[ChunkId, ChunkAddress]
    ) -> None:
        """Record a pack made by this run, in one transaction."""
        with self._lock:
            with self._database.transaction() as connection:
                number = self._number_of(pack, kind=kind, epoch=epoch)
                if chunks:
                    connection.execute(
                        "insert or replace into staged values (?, ?)",
                        (number, checked(_encode_records(chunks), context=pack.raw)),
                    )
            self._recent.update(
                (chunk.raw, _encode_place(chunk.raw, number, address)) for chunk, address in chunks.items()
            )
            if len(self._recent) >= MERGE_AT:
                self._merge_recent()

    def add_foreign_pack(
        self, pack: PackId, *, kind: PackKind, epoch: int, chunks: Mapping[ChunkId, ChunkAddress]
    ) -> None:
        """Record a pack that another device, or an earlier life of this one, committed."""
        with self._lock, self._database.transaction() as connection:
            number = self._number_of(pack, kind=kind, epoch=epoch)
            connection.execute("update packs set committed = 1 where no = ?", (number,))
            rows = [
                (chunk.raw, _encode_place(chunk.raw, number, address)) for chunk, address in chunks.items()
            ]
            rows.sort()
            connection.executemany("insert or ignore into chunks values (?, ?)", rows)
            self._tree_empty = False

    def unknown_of(self, packs: Iterable[PackId]) -> set[PackId]:
        """Those of `packs` that the index has no record of."""
        with self._database.reading() as connection:
            query = "select 1 from packs where id = ?"
            return {pack for pack in packs if connection.execute(query, (pack.raw,)).fetchone() is None}

    def uncommitted(self) -> list[PackId]:
        """Packs recorded but not known to be held by any snapshot: the server may have let them go."""
        with self._database.reading() as connection:
            rows = connection.execute("select id from packs where committed = 0").fetchall()
        return [PackId(row[0]) for row in rows]

    def mark_committed(self, packs: Collection[PackId]) -> None:
        with self._database.transaction() as connection:
            fresh = {row[0] for row in connection.execute("select id from packs where committed = 0")}
            held = [(raw,) for raw in fresh & {pack.raw for pack in packs}]
            connection.executemany("update packs set committed = 1 where id = ?", held)

    def drop_packs(self, packs: Collection[PackId]) -> None:
        """Treat all chunks of `packs` as absent from now on."""
        if not packs:
            return
        gone = {pack.raw for pack in packs}
        with self._lock, self._database.transaction() as connection:
            numbers = [
                row[0]
                for raw in gone
                if (row := connection.execute("select no from packs where id = ?", (raw,)).fetchone())
            ]
            for number in numbers:
                connection.execute("delete from staged where pack = ?", (number,))
                connection.execute("delete from packs where no = ?", (number,))
            # Asked anew: the run of another set may have merged meanwhile.
            if numbers and not self._is_empty("chunks"):
                # Rare, so a scan of the tree is better than an index that every insertion pays for.
                connection.execute("create temp table if not exists gone (prefix blob primary key)")
                connection.executemany("insert into gone values (?)", [(n.to_bytes(4),) for n in numbers])
                connection.execute(
                    "delete from chunks where substr(place, 1, 4) in (select prefix from gone)"
                )
                connection.execute("delete from gone")
            prefixes = {number.to_bytes(4) for number in numbers}
            self._recent = {
                chunk: place for chunk, place in self._recent.items() if place[:4] not in prefixes
            }
            self._pack_of.cache_clear()

    # --- inside

    def _is_empty(self, table: str) -> bool:
        return self._database.one(f"select 1 from {table} limit 1") is None

    def _number_of(self, pack: PackId, *, kind: PackKind, epoch: int) -> int:
        row = self._database.one("select no from packs where id = ?", (pack.raw,))
        if row is not None and isinstance(row[0], int):
            return row[0]
        with self._database.transaction() as connection:
            form = checked(_FORM.pack(kind, epoch), context=pack.raw)
            number = connection.execute(
                "insert into packs (id, form) values (?, ?)", (pack.raw, form)
            ).lastrowid
        assert number is not None
        return number

    def _load_pack(self, number: int) -> tuple[PackId, PackKind, int] | None:
        row = self._database.one("select id, form from packs where no = ?", (number,))
        if row is None or not isinstance(row[0], bytes) or not isinstance(row[1], bytes):
            return None
        form = unchecked(row[1], context=row[0])
        if form is None:
            return None
        kind, epoch = _FORM.unpack(form)
        return PackId(row[0]), PackKind(kind), epoch

    def _find_in_tree(self, ids: list[bytes]) -> list[tuple[bytes, bytes]]:
        rows: list[tuple[bytes, bytes]] = []
        with self._database.reading() as connection:
            for start in range(0, len(ids), QUERY_WIDTH):
                part = ids[start : start + QUERY_WIDTH]
                part += [part[-1]] * (QUERY_WIDTH - len(part))
                rows += connection.execute(_FIND, part).fetchall()
        return rows

    def _decode(self, rows: Iterable[tuple[bytes, bytes]]) -> dict[ChunkId, ChunkAddress]:
        blocks: dict[tuple[int, int], BlockAddress] = {}
        found = ((ChunkId(chunk), self._decode_place(chunk, place, blocks)) for chunk, place in rows)
        return {chunk: address for chunk, address in found if address is not None}

    def _decode_place(
        self, chunk: bytes, stored: bytes, blocks: dict[tuple[int, int], BlockAddress]
    ) -> ChunkAddress | None:
        place = unchecked(stored, context=chunk)
        if place is None:
            return None
        number, ordinal, offset, length, inner, size = _PLACE.unpack(place)
        block = blocks.get((number, ordinal))
        if block is None:
            pack = self._pack_of(number)
            if pack is None:
                return None
            block = BlockAddress(pack[0], pack[1], pack[2], ordinal, offset, length)
            blocks[number, ordinal] = block
        elif block.offset != offset or block.length != length:
            return None
        return ChunkAddress(block, inner, size)

    def _merge_leftovers(self) -> None:
        """What earlier runs staged and did not merge goes into the tree before the first look-up."""
        with self._lock:
            if self._merged:
                return
            with self._database.reading() as connection:
                staged = connection.execute(
                    "select s.pack, p.id, s.records from staged s join packs p on p.no = s.pack"
                ).fetchall()
            if staged:
                rows: list[tuple[bytes, bytes]] = []
                for number, pack, stored in staged:
                    rows += _places(number, unchecked(stored, context=pack) or b"")
                self._merge(rows, packs={number for number, _, _ in staged})
            self._merged = True

    def _merge_recent(self) -> None:
        packs = {int.from_bytes(place[:4]) for place in self._recent.values()}
        self._merge(list(self._recent.items()), packs=packs)
        self._recent = {}

    def _merge(self, rows: list[tuple[bytes, bytes]], *, packs: Collection[int]) -> None:
        """Write `rows`, of the packs of these numbers, into the tree."""
        rows.sort()
        with self._database.transaction() as connection:
            connection.executemany("insert or replace into chunks values (?, ?)", rows)
            connection.executemany("delete from staged where pack = ?", [(number,) for number in packs])
            self._tree_empty = self._tree_empty and not rows


def _encode_records(chunks: Mapping[ChunkId, ChunkAddress]) -> bytes:
    pack = _RECORD.pack
    return b"".join(
        [
            pack(raw, ordinal, offset, size, inner, length)
            for (raw,), ((_, _, _, ordinal, offset, size), inner, length) in chunks.items()
        ]
    )


def _places(number: int, records: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Rows of `chunks` from what a pack's row of `staged` holds."""
    prefix = number.to_bytes(4)
    for at in range(0, len(records), _RECORD.size):
        chunk = records[at : at + 16]
        yield chunk, checked(prefix + records[at + 16 : at + _RECORD.size], context=chunk)


def _encode_place(chunk: bytes, number: int, address: ChunkAddress) -> bytes:
    block = address.block
    place = _PLACE.pack(number, block.ordinal, block.offset, block.length, address.inner, address.length)
    return checked(place, context=chunk)
