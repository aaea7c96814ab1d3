"""Where the engine gets pages from, and where it puts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from muniment.crypto.digests import page_id
from muniment.crypto.keys import VaultKeys
from muniment.engine.packing import PackWriter
from muniment.engine.ports import BlockSource, PageCache
from muniment.format.block import Compressor
from muniment.format.pack import open_block
from muniment.format.page import decode_interior
from muniment.format.tree import TreeReader
from muniment.model.entry import PageRef, PageType
from muniment.model.errors import DamagedObject
from muniment.model.ids import PackId, PageId
from muniment.model.packs import MIB, PACK_TARGET, BlockAddress, BlockRole

MOST_SMALL_PACKS = 32
"""Packs of which a tree uses little: when it has more, the pages of all but half as many move."""

LITTLE_USED = PACK_TARGET // 3

_READ_AHEAD = 4 * MIB
_GAP = 64 << 10

_decode_fields = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_decode_packs = msgspec.msgpack.Decoder(list[tuple[bytes, int, int]]).decode


class PageStore:
    """The parent's pages, read through the cache, and the run's own, each stored once.

    A page that the parent has already, or that this run wrote before, is referred to where it lies: so an
    unchanged tree has the very root of its parent.
    """

    def __init__(
        self, keys: VaultKeys, *, source: BlockSource, cache: PageCache, writer: PackWriter, level: int
    ) -> None:
        self._keys = keys
        self._source = source
        self._cache = cache
        self._writer = writer
        self._compressor = Compressor(level)
        self._known: dict[PageId, BlockAddress] = {}
        self._ahead: dict[PageId, bytes] = {}
        self._has_extent_trees = False
        self._moving: frozenset[PackId] = frozenset()

    def move(self, packs: frozenset[PackId]) -> None:
        """From here on no page is referred to in these packs: what the new tree needs of them is copied."""
        self._moving = packs
        self._known = {page: block for page, block in self._known.items() if block.pack_id not in packs}

    # --- reading

    def load(self, ref: PageRef) -> bytes:
        """The bytes of a page; whoever asked verifies them (`TreeReader`)."""
        if ref.block.pack_id not in self._moving:
            self._known[ref.page_id] = ref.block
        content = self._ahead.pop(ref.page_id, None) or self._cache.get(ref.page_id)
        if content is None:
            block = ref.block
            sealed = self._source.read(block.pack_id, offset=block.offset, length=block.length)
            content = self._open(sealed, ref)
            if ref.level == 1:
                self._read_ahead(decode_interior(content, page_type=ref.page_type).children)
        return content

    def _open(self, sealed: bytes | memoryview, ref: PageRef) -> bytes:
        """Open and verify a page that came from the vault, and keep it in the cache."""
        content = bytes(open_block(sealed, ref.block, BlockRole.PAGE, self._keys))
        if page_id(self._keys, ref.page_type, content) != ref.page_id:
            raise DamagedObject(f"page {ref.page_id}", why="its bytes have another id")
        self._cache.put(ref.page_id, content)
        return content

    def _read_ahead(self, children: Sequence[PageRef]) -> None:
        """Read the leaves under a page that the cache did not have, in as few requests as they lie apart."""
        self._ahead.clear()
        missing = [child for child in children if self._cache.get(child.page_id) is None]
        missing.sort(key=lambda child: (child.block.pack_id, child.block.offset))
        group: list[PageRef] = []
        for child in missing:
            if group and not _adjoins(group, child):
                self._read_group(group)
                group = []
            group.append(child)
        if len(group) > 1:
            self._read_group(group)

    def _read_group(self, group: list[PageRef]) -> None:
        first, last = group[0].block, group[-1].block
        length = last.offset + last.length - first.offset
        try:
            sealed = memoryview(self._source.read(first.pack_id, offset=first.offset, length=length))
            for ref in group:
                start = ref.block.offset - first.offset
                self._ahead[ref.page_id] = self._open(sealed[start : start + ref.block.length], ref)
        except DamagedObject:
            return  # whoever needs the damaged page meets the error, and nobody else

    # --- writing

    def meet_extent_tree(self) -> None:
        """From here on a leaf may need packs that it does not name itself."""
        self._has_extent_trees = True

    def store(self, page_type: PageType, content: bytes, page: PageId) -> BlockAddress:
        known = self._known.get(page)
        if known is not None:
            return known
        encoded = bytes(self._compressor.encode([content]))
        address = self._writer.add_page(encoded, page, len(content))
        self._known[page] = address
        self._cache.put(page, content)
        self._note_packs(page_type, content, page)
        return address

    def settled(self, ref: PageRef) -> PageRef:
        """The reference itself; or, where its pack's pages are moving, one to a copy stored now."""
        if ref.block.pack_id not in self._moving:
            return ref
        content = self.load(ref)
        if page_id(self._keys, ref.page_type, content) != ref.page_id:
            raise DamagedObject(f"page {ref.page_id}", why="its bytes have another id")
        return replace(ref, block=self.store(ref.page_type, content, ref.page_id))

    def _note_packs(self, page_type: PageType, content: bytes, page: PageId) -> None:
        """Remember which packs the page needs, where that is known without reading others.

        What is not noted here, `TreeReader.reachable_packs` finds out from the pages themselves.
        """
        packs = {PackId(row[0]) for row in _decode_packs(_decode_fields(content)[2])}
        if page_type is PageType.LEAF and self._has_extent_trees:
            return
        if page_type in {PageType.INTERIOR, PageType.EXTENT_INTERIOR}:
            for child in decode_interior(content, page_type=page_type).children:
                below = self._cache.packs_of(child.page_id)
                if below is None:
                    return
                packs |= below
        self._cache.note_packs(page, frozenset(packs))


def plan_moves(reader: TreeReader, root: PageRef | None) -> frozenset[PackId]:
    """The packs whose pages the next tree should not refer to, so that it is not spread over too many.

    Each run adds a pack with the few pages it changed. Without moving them together again, a year of hourly
    runs would spread a tree over thousands of packs, and a restore would read from each.
    """
    used: dict[PackId, int] = {}
    waiting = [root] if root is not None else []
    while waiting:
        ref = waiting.pop()
        used[ref.block.pack_id] = used.get(ref.block.pack_id, 0) + ref.block.length
        if ref.level:
            waiting += reader.children(ref).children
    small = sorted((amount, pack) for pack, amount in used.items() if amount < LITTLE_USED)
    if len(small) <= MOST_SMALL_PACKS:
        return frozenset()
    return frozenset(pack for _, pack in small[: -MOST_SMALL_PACKS // 2])


def _adjoins(group: list[PageRef], child: PageRef) -> bool:
    first, last = group[0].block, group[-1].block
    return (
        child.block.pack_id == last.pack_id
        and child.block.offset - (last.offset + last.length) <= _GAP
        and child.block.offset + child.block.length - first.offset <= _READ_AHEAD
    )
