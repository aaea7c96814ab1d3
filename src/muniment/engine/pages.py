"""Where the engine gets pages from, and where it puts them."""

from __future__ import annotations

import msgspec

from muniment.crypto.keys import VaultKeys
from muniment.engine.packing import PackWriter
from muniment.engine.ports import BlockSource, PageCache
from muniment.format.block import Compressor
from muniment.format.pack import open_block
from muniment.format.page import decode_interior
from muniment.model.entry import PageRef, PageType
from muniment.model.ids import PackId, PageId
from muniment.model.packs import BlockAddress, BlockRole

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
        self._has_extent_trees = False

    def load(self, ref: PageRef) -> bytes:
        """The bytes of a page; whoever asked verifies them (`TreeReader`)."""
        self._known[ref.page_id] = ref.block
        content = self._cache.get(ref.page_id)
        if content is None:
            block = ref.block
            sealed = self._source.read(block.pack_id, offset=block.offset, length=block.length)
            content = bytes(open_block(sealed, block, BlockRole.PAGE, self._keys))
            self._cache.put(ref.page_id, content)
        return content

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
