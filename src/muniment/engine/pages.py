"""Where the engine gets pages from, and where it puts them."""

from __future__ import annotations

from muniment.crypto.keys import VaultKeys
from muniment.engine.packing import PackWriter
from muniment.engine.ports import BlockSource, PageCache
from muniment.format.block import Compressor
from muniment.format.pack import open_block
from muniment.model.entry import PageRef, PageType
from muniment.model.ids import PageId
from muniment.model.packs import BlockAddress, BlockRole


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

    def store(self, page_type: PageType, content: bytes, page: PageId) -> BlockAddress:
        known = self._known.get(page)
        if known is not None:
            return known
        encoded = bytes(self._compressor.encode([content]))
        address = self._writer.add_page(encoded, page, len(content))
        self._known[page] = address
        self._cache.put(page, content)
        return address
