"""How large a page grows, bounded from above while its entries arrive.

Where pages end must be the same for everyone who builds the same tree, so these bounds are part of the
format: `docs/design/format.md`, "Where pages end".
"""

from __future__ import annotations

from muniment.format.leaf import has_extras
from muniment.format.tables import MAX_ENTRY, MAX_KEY
from muniment.model.entry import Entry, Extent, Owner, PageRef
from muniment.model.ids import PackId
from muniment.model.packs import BlockAddress

PAGE_FULL = 56 << 10
"""A page whose bound reaches this ends, whatever the keys say."""

LARGE_ENTRY = 8 << 10
"""A page also ends before an entry whose own estimate reaches this; so only such entries pass 64 KiB."""

_PAGE = 32
_RUN = 40
_ENTRY = 54
_EXTENT = 36
_REF = 72
_BLOCK = 20
_PACK = 26
_OWNER = 24
_XATTR = 12
_EXTRAS = 64
# An entry of at most one extent and no extras, new in everything; but for texts.
_PLAIN = _PAGE + _RUN + _ENTRY + _EXTENT + _BLOCK + _PACK + _OWNER + _EXTRAS


def estimate_entry_size(entry: Entry) -> int:
    """Upper bound, in bytes, of a leaf that holds nothing but `entry`."""
    return LeafSizer().add(entry)


def loose_growth(entry: Entry) -> int:
    """At least as much as `entry` adds to the bound of any leaf, and no less than its own estimate; cheap."""
    if entry.extents[1:] or entry.extent_tree is not None or has_extras(entry, entry.file_system):
        return estimate_entry_size(entry) + _EXTRAS
    owner = entry.owner
    texts = len(entry.directory) + len(entry.name) + len(owner.user) + len(owner.group)
    return _PLAIN + texts


def fits_page(entry: Entry) -> bool:
    """Whether a tree takes the entry. Where not: attributes belong into chunks, or the path is too long."""
    return len(entry.directory) + len(entry.name) < MAX_KEY and estimate_entry_size(entry) <= MAX_ENTRY


class _TableSizer:
    """Bytes of the tables of packs and blocks."""

    def __init__(self) -> None:
        self.size: int = _PAGE
        self._packs: set[PackId] = set()
        self._blocks: set[tuple[bytes, int]] = set()
        self._last: BlockAddress | None = None

    def _pack(self, pack: PackId) -> None:
        if pack not in self._packs:
            self._packs.add(pack)
            self.size += _PACK

    def _block(self, block: BlockAddress) -> None:
        if block is self._last:
            return
        self._last = block
        key = (block.pack_id.raw, block.ordinal)
        if key not in self._blocks:
            self._blocks.add(key)
            self.size += _BLOCK
            self._pack(block.pack_id)

    def _extent(self, extent: Extent) -> None:
        self.size += _EXTENT
        if extent.address is not None:
            self._block(extent.address.block)


class LeafSizer(_TableSizer):
    """Upper bound of the leaf that holds the entries added so far."""

    def __init__(self) -> None:
        super().__init__()
        self._directory: bytes | None = None
        self._file_system = 0
        self._owners: set[Owner] = set()
        self._owner: Owner | None = None

    def add(self, entry: Entry) -> int:
        size = _ENTRY + len(entry.name)
        if entry.directory != self._directory:
            self._directory, self._file_system = entry.directory, entry.file_system
            size += _RUN + len(entry.directory)
        owner = entry.owner
        if owner is not self._owner:
            self._owner = owner
            if owner not in self._owners:
                self._owners.add(owner)
                size += _OWNER + len(owner.user) + len(owner.group)
        for extent in entry.extents:
            self._extent(extent)
        if entry.extent_tree is not None:
            size += _REF + len(entry.extent_tree.last_key)
            self._pack(entry.extent_tree.block.pack_id)
        if has_extras(entry, self._file_system):
            size += self._extras(entry)
        self.size += size
        return self.size

    def _extras(self, entry: Entry) -> int:
        size = _EXTRAS + len(entry.link_target) + len(entry.windows) + len(entry.macos)
        for name, value in entry.xattrs:
            size += _XATTR + len(name) + len(value)
        for name, extents in entry.large_xattrs:
            size += _XATTR + len(name)
            for extent in extents:
                self._extent(extent)
        return size


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
        self.size += _REF + len(child.last_key)
        return self.size
