"""What pages share among themselves: the local tables of packs and blocks, extents, page references.

A page names every pack it needs in one table, so that opening a block needs no pack header and a reference
set can be read off. `docs/design/format.md`, "Tree".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from muniment.crypto.sealing import FORMAT_VERSION, SEAL_OVERHEAD
from muniment.format.block import MAX_BLOCK_PLAIN
from muniment.format.packindex import HEADER
from muniment.model.entry import Extent, PageRef, PageType
from muniment.model.errors import DamagedObject, NewerFormat
from muniment.model.ids import ChunkId, PackId, PageId
from muniment.model.packs import PACK_CEILING, BlockAddress, ChunkAddress, PackKind

MAX_LEVEL = 24
"""No tree is deeper. With 128 children a page 8 levels would hold 10^16 entries; but where paths are tens of
thousands of bytes long a page takes two children only."""

MAX_PAGE_PLAIN = 1 << 20
"""No page is larger, whatever its entries: a reader refuses it before it parses."""

MAX_KEY = 128 << 10
"""Longest key of an entry, in bytes: the depth of directories is bounded by nothing else."""

MAX_ENTRY = 512 << 10
"""Largest estimate of an entry that a page takes: values of attributes go into chunks before that."""

MAX_SIZE = (1 << 63) - 1
MAX_U32 = (1 << 32) - 1

encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode

PackRow = tuple[bytes, int, int]
"""(pack id, kind, epoch)"""


def damaged(why: str) -> DamagedObject:
    return DamagedObject("a page", why=why)


def decode_page(content: bytes | memoryview, page_type: PageType, *, fields: int) -> list[Any]:
    """The outer list of a page of this type, of `fields` items; nothing inside is checked yet."""
    if len(content) > MAX_PAGE_PLAIN:
        raise damaged("it is larger than any page")
    try:
        found = _decode(content)
    except (msgspec.DecodeError, RecursionError, ValueError, TypeError):
        raise damaged("it does not parse") from None
    page = items(found)
    if not page or type(page[0]) is not int:
        raise damaged("it does not begin as pages do")
    if page[0] > FORMAT_VERSION:
        raise NewerFormat("a page", version=page[0], known=FORMAT_VERSION)
    if page[0] != FORMAT_VERSION or len(page) != fields or type(page[1]) is not int or page[1] != page_type:
        raise damaged("it is not of the type that was asked for")
    return page


def whole(value: Any, *, low: int = 0, high: int = MAX_SIZE) -> int:
    """`value` as an integer in range; a page is damaged that has anything else there."""
    if type(value) is not int or not low <= value <= high:
        raise damaged("a number in it is impossible")
    return value


def text(value: Any, *, length: int | None = None) -> bytes:
    if type(value) is not bytes or (length is not None and len(value) != length):
        raise damaged("a byte string in it is impossible")
    return value


def items(value: Any, *, fields: int | None = None) -> list[Any]:
    """`value` as a list, of `fields` items where that is said."""
    if value.__class__ is not list:
        raise damaged("a list in it is missing")
    found: list[Any] = value
    if fields is not None and len(found) != fields:
        raise damaged("a list in it has another length")
    return found


def mapping(value: Any) -> dict[Any, Any]:
    """`value` as a map that is not empty."""
    if value.__class__ is not dict or not value:
        raise damaged("a map in it is missing or empty")
    found: dict[Any, Any] = value
    return found


def rows(value: Any, *, fields: int) -> list[list[Any]]:
    """`value` as a list of lists of `fields` items each."""
    table = items(value)
    if table and (set(map(type, table)) != {list} or set(map(len, table)) != {fields}):
        raise damaged("a table in it has rows of another shape")
    return table


class TableWriter:
    """The pack and block tables of a page being encoded, in order of first use."""

    def __init__(self) -> None:
        self.packs: list[PackRow] = []
        self.blocks: list[tuple[int, int, int, int]] = []
        self._pack_places: dict[bytes, int] = {}
        self._block_places: dict[tuple[bytes, int], int] = {}
        self._last: BlockAddress | None = None
        self._last_place = 0

    def pack(self, address: BlockAddress) -> int:
        raw = address.pack_id.raw
        place = self._pack_places.get(raw)
        if place is None:
            place = self._pack_places[raw] = len(self.packs)
            self.packs.append((raw, int(address.kind), address.epoch))
        return place

    def block(self, address: BlockAddress) -> int:
        # Small files of one block follow one another and share the very same address.
        if address is self._last:
            return self._last_place
        key = (address.pack_id.raw, address.ordinal)
        place = self._block_places.get(key)
        if place is None:
            pack = self.pack(address)
            place = self._block_places[key] = len(self.blocks)
            self.blocks.append((pack, address.ordinal, address.offset, address.length))
        self._last, self._last_place = address, place
        return place

    def extent(self, extent: Extent) -> tuple[int] | tuple[int, bytes, int, int]:
        if extent.chunk is None or extent.address is None:
            return (extent.length,)
        return (extent.length, extent.chunk.raw, self.block(extent.address.block), extent.address.inner)

    def extents(self, extents: Sequence[Extent]) -> list[tuple[int] | tuple[int, bytes, int, int]]:
        return [self.extent(extent) for extent in extents]

    def lone_extents(self, contents: Sequence[Extent | None]) -> list[Any]:
        """`extents` of many files that have one extent each, or none."""
        extent = self.extent
        return [None if one is None else [extent(one)] for one in contents]

    def page_ref(self, ref: PageRef) -> tuple[int | bytes, ...]:
        block = ref.block
        return (
            self.pack(block), block.ordinal, block.offset, block.length, ref.page_id.raw, int(ref.page_type),
            ref.level, ref.last_key, ref.entries, ref.content,
        )  # fmt: skip


class TableReader:
    """The tables of a decoded page; addresses are made when first asked for."""

    __slots__ = ("_addresses", "_blocks", "packs")

    def __init__(self, packs: Any, blocks: Any) -> None:
        self.packs: tuple[tuple[PackId, PackKind, int], ...] = tuple(
            [_pack_row(row) for row in rows(packs, fields=3)]
        )
        if len({pack for pack, _, _ in self.packs}) != len(self.packs):
            raise damaged("its table of packs names one twice")
        self._blocks = rows(blocks, fields=4)
        self._addresses: list[BlockAddress | None] = [None] * len(self._blocks)
        for row in self._blocks:
            check_place(row, len(self.packs))

    @property
    def pack_ids(self) -> frozenset[PackId]:
        return frozenset(pack for pack, _, _ in self.packs)

    def address(self, row: list[Any]) -> BlockAddress:
        """The address written as `[pack, ordinal, offset, length, …]`, already checked."""
        place: int = row[0]
        pack, kind, epoch = self.packs[place]
        return BlockAddress(pack, kind, epoch, row[1], row[2], row[3])

    def block(self, place: Any) -> BlockAddress:
        if type(place) is not int or not 0 <= place < len(self._addresses):
            raise damaged("an extent names a block that its table has not")
        address = self._addresses[place]
        if address is None:
            address = self._addresses[place] = self.address(self._blocks[place])
        return address

    def extent(self, row: Any) -> Extent:
        fields = items(row)
        if len(fields) not in {1, 4}:
            raise damaged("an extent has another shape")
        length = whole(fields[0], low=1)
        if len(fields) == 1:
            return Extent(length)
        inner = whole(fields[3])
        if inner + length > MAX_BLOCK_PLAIN:
            raise damaged("an extent is longer than any block")
        chunk = ChunkId(text(fields[1], length=16))
        return Extent(length, chunk, ChunkAddress(self.block(fields[2]), inner, length))

    def extents(self, value: Any) -> tuple[Extent, ...]:
        found = items(value)
        if not found:
            raise damaged("a list of extents is empty")
        return tuple([self.extent(row) for row in found])

    def page_ref(self, value: Any, *, types: frozenset[PageType]) -> PageRef:
        row = items(value, fields=10)
        check_place(row, len(self.packs))
        page_type = whole(row[5], high=max(PageType))
        level = whole(row[6], high=MAX_LEVEL)
        interior = page_type in {PageType.INTERIOR, PageType.EXTENT_INTERIOR}
        if page_type not in types or interior != (level > 0):
            raise damaged("a page reference is of a type or level that cannot be there")
        return PageRef(
            self.address(row), PageId(text(row[4], length=16)), PageType(page_type), level,
            checked_key(row[7]), whole(row[8], low=1), whole(row[9]),
        )  # fmt: skip


def check_place(row: list[Any], packs: int) -> None:
    """Refuse a `[pack, ordinal, offset, length, …]` that no pack could hold."""
    if (
        [type(item) for item in row[:4]] != [int] * 4
        or not 0 <= row[0] < packs
        or not 0 <= row[1] < MAX_U32 - 1
        or row[2] < HEADER
        or row[3] <= SEAL_OVERHEAD
        or row[2] + row[3] > PACK_CEILING
    ):
        raise damaged("a block is said to lie where none can")


def checked_key(value: Any) -> bytes:
    key = text(value)
    if not 0 < len(key) <= MAX_KEY:
        raise damaged("a key is empty or too long")
    return key


def _pack_row(row: list[Any]) -> tuple[PackId, PackKind, int]:
    kind = whole(row[1], low=min(PackKind), high=max(PackKind))
    return PackId(text(row[0], length=16)), PackKind(kind), whole(row[2], high=MAX_U32)
