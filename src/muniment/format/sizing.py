"""How large a page grows, bounded from above while its items arrive; leaves: `leaf_writing`.

Where pages end must be the same for everyone who builds the same tree, so these bounds are part of the
format: `docs/design/format.md`, "Where pages end".
"""

from __future__ import annotations

from muniment.model.entry import Extent, PageRef
from muniment.model.ids import PackId
from muniment.model.packs import BlockAddress

PAGE_FULL = 56 << 10
"""A page whose bound reaches this ends, whatever the keys say."""

LARGE_ENTRY = 8 << 10
"""A page also ends before an entry whose own estimate reaches this; so only such entries pass 64 KiB."""

PAGE = 32
RUN = 40
ENTRY = 54
EXTENT = 36
REF = 72
BLOCK = 20
PACK = 26
OWNER = 24
XATTR = 12
EXTRAS = 64


class _TableSizer:
    """Bytes of the tables of packs and blocks."""

    def __init__(self) -> None:
        self.size: int = PAGE
        self._packs: set[PackId] = set()
        self._blocks: set[tuple[bytes, int]] = set()
        self._last: BlockAddress | None = None

    def _pack(self, pack: PackId) -> None:
        if pack not in self._packs:
            self._packs.add(pack)
            self.size += PACK

    def _block(self, block: BlockAddress) -> None:
        if block is self._last:
            return
        self._last = block
        key = (block.pack_id.raw, block.ordinal)
        if key not in self._blocks:
            self._blocks.add(key)
            self.size += BLOCK
            self._pack(block.pack_id)

    def _extent(self, extent: Extent) -> None:
        self.size += EXTENT
        if extent.address is not None:
            self._block(extent.address.block)


class ExtentSizer(_TableSizer):
    """Upper bound of the extent leaf that holds the extents added so far."""

    def add(self, extent: Extent) -> int:
        self._extent(extent)
        self.size += 9
        return self.size


class InteriorSizer(_TableSizer):
    """Upper bound of the interior page above the children added so far."""

    def add(self, child: PageRef) -> int:
        self._pack(child.block.pack_id)
        self.size += REF + len(child.last_key)
        return self.size
