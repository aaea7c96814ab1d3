"""Pages of every type, in one place: what the engine imports. `docs/design/format.md`, "Tree"."""

from __future__ import annotations

from muniment.format.branch import (
    ExtentPage,
    InteriorPage,
    decode_extents,
    decode_interior,
    encode_extents,
    encode_interior,
)
from muniment.format.leaf_reading import LeafPage, decode_leaf
from muniment.format.leaf_run import MAX_INLINE_EXTENTS, LeafRun
from muniment.format.leaf_writing import PlainEntries, encode_leaf, estimate_entry_size, fits_page
from muniment.format.tables import MAX_ENTRY, MAX_KEY, MAX_LEVEL, MAX_PAGE_PLAIN, damaged
from muniment.model.entry import PageType
from muniment.model.ids import PackId

__all__ = [
    "MAX_ENTRY",
    "MAX_INLINE_EXTENTS",
    "MAX_KEY",
    "MAX_LEVEL",
    "MAX_PAGE_PLAIN",
    "ExtentPage",
    "InteriorPage",
    "LeafPage",
    "LeafRun",
    "PlainEntries",
    "decode_any",
    "decode_extents",
    "decode_interior",
    "decode_leaf",
    "encode_extents",
    "encode_interior",
    "encode_leaf",
    "estimate_entry_size",
    "fits_page",
    "packs_named",
]

Page = LeafPage | InteriorPage | ExtentPage


def decode_any(content: bytes | memoryview, page_type: PageType) -> Page:
    """The page of a type that its reference has named and its id has confirmed."""
    if page_type is PageType.LEAF:
        return decode_leaf(content)
    if page_type is PageType.EXTENT_LEAF:
        return decode_extents(content)
    return decode_interior(content, page_type=page_type)


def packs_named(content: bytes | memoryview) -> frozenset[PackId]:
    """Every pack that a page names: of data, of its child pages, of the roots of extent trees."""
    # Version 1 pages begin with a small array, the version, and the type: one byte each.
    if len(content) < 3 or content[2] > max(PageType):
        raise damaged("it does not begin as pages do")
    return decode_any(content, PageType(content[2])).packs
