"""Interior pages and the pages of extent trees. `docs/design/format.md`, "Interior" and "Extent leaf"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from muniment.crypto.sealing import FORMAT_VERSION
from muniment.format.tables import (
    MAX_LEVEL,
    TableReader,
    TableWriter,
    check_place,
    checked_key,
    damaged,
    decode_page,
    encode,
    items,
    rows,
    text,
    whole,
)
from muniment.model.entry import Extent, PageRef, PageType
from muniment.model.ids import PackId, PageId

_LEAF_TYPE = {
    PageType.INTERIOR: PageType.LEAF,
    PageType.EXTENT_INTERIOR: PageType.EXTENT_LEAF,
}


@dataclass(frozen=True, slots=True)
class InteriorPage:
    """A decoded interior page: its children in key order, all of one level."""

    children: tuple[PageRef, ...]
    packs: frozenset[PackId]

    @property
    def level(self) -> int:
        return self.children[0].level + 1


@dataclass(frozen=True, slots=True)
class ExtentPage:
    """A decoded leaf of an extent tree: (file offset, extent), without gaps (a hole is an extent too)."""

    extents: tuple[tuple[int, Extent], ...]
    packs: frozenset[PackId]


def offset_key(offset: int) -> bytes:
    """The key of the extent at a file offset."""
    return offset.to_bytes(8)


def encode_interior(children: Sequence[PageRef], *, page_type: PageType = PageType.INTERIOR) -> bytes:
    """The page above `children`; `page_type` says of which sort of tree."""
    tables = TableWriter()
    child_rows = [
        (
            child.last_key, child.level, tables.pack(child.block), child.block.ordinal, child.block.offset,
            child.block.length, child.page_id.raw, child.entries, child.content,
        )
        for child in children
    ]  # fmt: skip
    return encode((FORMAT_VERSION, int(page_type), tables.packs, child_rows))


def decode_interior(content: bytes | memoryview, *, page_type: PageType = PageType.INTERIOR) -> InteriorPage:
    _, _, packs, child_rows = decode_page(content, page_type, fields=4)
    tables = TableReader(packs, [])
    children: list[PageRef] = []
    previous = b""
    for row in rows(child_rows, fields=9):
        child = _child(row, tables, page_type)
        if child.last_key <= previous or (children and child.level != children[0].level):
            raise damaged("its children are not in order")
        previous = child.last_key
        children.append(child)
    if not children:
        raise damaged("it is empty")
    return InteriorPage(tuple(children), tables.pack_ids)


def _child(row: list[Any], tables: TableReader, parent: PageType) -> PageRef:
    place = row[2:6]
    check_place(place, len(tables.packs))
    level = whole(row[1], high=MAX_LEVEL - 1)
    return PageRef(
        tables.address(place), PageId(text(row[6], length=16)), parent if level else _LEAF_TYPE[parent],
        level, checked_key(row[0]), whole(row[7], low=1), whole(row[8]),
    )  # fmt: skip


def encode_extents(extents: Sequence[tuple[int, Extent]]) -> bytes:
    """A leaf of an extent tree: (file offset, extent) in file order."""
    tables = TableWriter()
    extent_rows = [(offset, *tables.extent(extent)) for offset, extent in extents]
    return encode((FORMAT_VERSION, int(PageType.EXTENT_LEAF), tables.packs, tables.blocks, extent_rows))


def decode_extents(content: bytes | memoryview) -> ExtentPage:
    _, _, packs, blocks, extent_rows = decode_page(content, PageType.EXTENT_LEAF, fields=5)
    tables = TableReader(packs, blocks)
    extents: list[tuple[int, Extent]] = []
    end: int | None = None
    for value in items(extent_rows):
        row = items(value)
        offset, extent = whole(row[0] if row else None), tables.extent(row[1:])
        if end is not None and offset != end:
            raise damaged("its extents leave a gap or overlap")
        end = offset + extent.length
        whole(end)
        extents.append((offset, extent))
    if not extents:
        raise damaged("it is empty")
    return ExtentPage(tuple(extents), tables.pack_ids)
