"""Fetches blocks ahead of their use: ranges coalesced, opened and verified by a few threads.

Readers say in good time which blocks they will need, and of each which chunks. Neighbours within a pack are
read as one range, aligned outward to 64 KiB so that the server cannot count single files. A thread reads
a range, opens its blocks and checks every chunk against its id; so the thread that writes files only slices.

beside     fetch, load_page              the pool's threads
fetch      never: one thread asks        safe: futures, and one lock around what is remembered
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Self

from blake3 import blake3

from muniment.crypto.digests import page_id
from muniment.crypto.keys import VaultKeys
from muniment.engine.ports import BlockSource, PageCache
from muniment.format.leaf_reading import ChunkPlace
from muniment.format.pack import open_block
from muniment.model.entry import Extent, PageRef
from muniment.model.errors import DamagedObject
from muniment.model.ids import PackId
from muniment.model.packs import KIB, MIB, BlockAddress, BlockRole

ALIGNMENT = 64 * KIB
"""Every permitted size of a pack is a multiple of it, so an aligned range never passes the end."""

LARGEST_RANGE = 8 * MIB
_LARGEST_GAP = 128 * KIB
"""Cheaper to read and drop than to ask again."""

REMEMBERED = 16 * MIB
_PAGES_AHEAD = 512

BlockKey = tuple[bytes, int]
"""(pack id, ordinal)"""


@dataclass(slots=True)
class Wanted:
    """A block that is needed, and which of its chunks."""

    address: BlockAddress
    chunks: set[ChunkPlace] = field(default_factory=set)


@dataclass(slots=True)
class OpenedBlock:
    """What a block holds. `wrong`: those of the chunks asked for that are not what their ids say."""

    content: memoryview
    wrong: frozenset[ChunkPlace] = frozenset()


class BlockFetcher:
    """Reads blocks of one vault. Use as a context manager: it owns threads."""

    def __init__(
        self,
        keys: VaultKeys,
        source: BlockSource,
        *,
        pages: PageCache | None = None,
        workers: int = 4,
        remembered: int = REMEMBERED,
    ) -> None:
        self._keys = keys
        self._source = source
        self._cache = pages
        self._limit = remembered
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="fetch")
        self._lock = threading.Lock()
        self._blocks: OrderedDict[BlockKey, Future[OpenedBlock]] = OrderedDict()
        self._held = 0
        self._pages: OrderedDict[BlockKey, Future[OpenedBlock] | bytes] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    # --- data blocks

    def fetch(self, wanted: Collection[Wanted]) -> OpenedBlocks:
        """Begin to read these blocks."""
        futures: dict[BlockKey, Future[OpenedBlock]] = {}
        missing: list[tuple[Wanted, Future[OpenedBlock]]] = []
        for block in wanted:
            key = key_of(block.address)
            with self._lock:
                known = self._blocks.get(key)
                if known is not None:
                    self._blocks.move_to_end(key)
            if known is None:
                future: Future[OpenedBlock] = Future()
                missing.append((block, future))
                self._remember(key, future)
            else:
                # Opened, or being opened by a task that was given to the pool before this one: waiting for
                # it there cannot block it.
                future = self._pool.submit(self._check_again, known, block)
            futures[key] = future
        self._read_all(missing, BlockRole.DATA)
        return OpenedBlocks(futures)

    def _remember(self, key: BlockKey, future: Future[OpenedBlock]) -> None:
        with self._lock:
            self._blocks[key] = future
        future.add_done_callback(lambda done: self._account(key, done))

    def _account(self, key: BlockKey, done: Future[OpenedBlock]) -> None:
        with self._lock:
            if done.cancelled() or done.exception() is not None:
                self._blocks.pop(key, None)
                return
            self._held += len(done.result().content)
            while self._held > self._limit:
                oldest, future = next(iter(self._blocks.items()))
                if not future.done() or oldest == key:
                    break
                del self._blocks[oldest]
                self._held -= len(future.result().content)

    def _check_again(self, known: Future[OpenedBlock], wanted: Wanted) -> OpenedBlock:
        content = known.result().content
        return OpenedBlock(content, self._wrong_chunks(content, wanted.chunks))

    # --- pages

    def prefetch_pages(self, refs: Iterable[PageRef]) -> None:
        """Begin to read pages that `load_page` will be asked for soon."""
        missing = []
        for ref in refs:
            key = key_of(ref.block)
            if key in self._pages:
                continue
            cached = self._cached(ref)
            if cached is not None:
                self._pages[key] = cached
                continue
            self._pages[key] = future = Future[OpenedBlock]()
            missing.append((Wanted(ref.block), future))
        self._read_all(missing, BlockRole.PAGE)
        while len(self._pages) > _PAGES_AHEAD:
            self._pages.popitem(last=False)

    def load_page(self, ref: PageRef) -> bytes:
        """The bytes of a page, for a TreeReader (which verifies them)."""
        ahead = self._pages.pop(key_of(ref.block), None)
        if ahead is None:
            ahead = self._cached(ref)
        if isinstance(ahead, bytes):
            return ahead
        if ahead is None:
            ahead = Future()
            self._read_all([(Wanted(ref.block), ahead)], BlockRole.PAGE)
        content = bytes(ahead.result().content)
        if self._cache is not None:
            self._cache.put(ref.page_id, content)
        return content

    def _cached(self, ref: PageRef) -> bytes | None:
        """From the cache, unless what it holds has gone bad: then the vault is asked."""
        content = self._cache.get(ref.page_id) if self._cache is not None else None
        if content is None or page_id(self._keys, ref.page_type, content) != ref.page_id:
            return None
        return content

    # --- reading

    def _read_all(self, blocks: Sequence[tuple[Wanted, Future[OpenedBlock]]], role: BlockRole) -> None:
        for group in coalesce(blocks):
            self._pool.submit(self._read_group, group, role).add_done_callback(
                lambda done, group=group: _cancel_with(done, group)  # type: ignore[misc]
            )

    def _read_group(self, group: Sequence[tuple[Wanted, Future[OpenedBlock]]], role: BlockRole) -> None:
        first, last = group[0][0].address, group[-1][0].address
        start = first.offset // ALIGNMENT * ALIGNMENT
        end = -(-(last.offset + last.length) // ALIGNMENT) * ALIGNMENT
        try:
            sealed = memoryview(self._source.read(first.pack_id, offset=start, length=end - start))
        except DamagedObject as error:
            if len(group) == 1:
                group[0][1].set_exception(error)
                return
            # Part of the range may still be there: each block on its own.
            for item in group:
                self._read_group([item], role)
            return
        except BaseException as error:
            for _, future in group:
                future.set_exception(error)
            return
        for wanted, future in group:
            address = wanted.address
            at = address.offset - start
            try:
                future.set_result(self._open(sealed[at : at + address.length], wanted, role))
            except BaseException as error:
                future.set_exception(error)

    def _open(self, sealed: memoryview, wanted: Wanted, role: BlockRole) -> OpenedBlock:
        content = memoryview(open_block(sealed, wanted.address, role, self._keys))
        return OpenedBlock(content, self._wrong_chunks(content, wanted.chunks))

    def _wrong_chunks(self, content: memoryview, chunks: Collection[ChunkPlace]) -> frozenset[ChunkPlace]:
        key = self._keys.chunk_key
        return frozenset(
            [
                place
                for place in chunks
                if blake3(content[place[0] : place[0] + place[1]], key=key).digest(16) != place[2]
            ]
        )


def key_of(address: BlockAddress) -> BlockKey:
    return address.pack_id.raw, address.ordinal


class WantedBlocks:
    """Gathers what some files need, block by block."""

    def __init__(self) -> None:
        self.blocks: dict[BlockKey, Wanted] = {}
        self._last: BlockAddress | None = None
        self._chunks: set[ChunkPlace] = set()

    def add(self, extents: Iterable[Extent]) -> None:
        for extent in extents:
            address, chunk = extent.address, extent.chunk
            if address is not None and chunk is not None:
                self.add_chunk(address.block, (address.inner, address.length, chunk.raw))

    def add_chunk(self, block: BlockAddress, place: ChunkPlace) -> None:
        # Small files of one block follow one another and share the very same address.
        if block is not self._last:
            key = key_of(block)
            wanted = self.blocks.get(key)
            if wanted is None:
                wanted = self.blocks[key] = Wanted(block)
            elif wanted.address != block:
                raise DamagedObject(
                    f"block {key[1]} of pack {block.pack_id}", why="two places are named for it"
                )
            self._last, self._chunks = block, wanted.chunks
        self._chunks.add(place)


class OpenedBlocks:
    """The blocks of a window, each waited for when first used. For one thread."""

    def __init__(self, futures: dict[BlockKey, Future[OpenedBlock]]) -> None:
        self._futures = futures
        self._last: BlockAddress | None = None
        self._opened = OpenedBlock(memoryview(b""))

    def take(self, extent: Extent) -> memoryview:
        """The chunk of an extent that was wanted, verified."""
        address, chunk = extent.address, extent.chunk
        assert address is not None
        assert chunk is not None
        return self.take_chunk(address.block, (address.inner, address.length, chunk.raw))

    def take_chunk(self, block: BlockAddress, place: ChunkPlace) -> memoryview:
        """Raises DamagedObject, and whatever kept the block from being read."""
        if block is not self._last:
            self._opened = self._futures[key_of(block)].result()
            self._last = block
        opened = self._opened
        if opened.wrong and place in opened.wrong:
            raise DamagedObject(
                f"chunk {place[2].hex()} in pack {block.pack_id}", why="it is not what its id says"
            )
        return opened.content[place[0] : place[0] + place[1]]


def coalesce(
    blocks: Sequence[tuple[Wanted, Future[OpenedBlock]]],
) -> list[list[tuple[Wanted, Future[OpenedBlock]]]]:
    """Groups of blocks that are worth one request each, in the order of their first use."""
    places: dict[PackId, list[tuple[Wanted, Future[OpenedBlock]]]] = {}
    for item in blocks:
        places.setdefault(item[0].address.pack_id, []).append(item)
    groups: list[list[tuple[Wanted, Future[OpenedBlock]]]] = []
    for items in places.values():
        items.sort(key=lambda item: item[0].address.offset)
        group: list[tuple[Wanted, Future[OpenedBlock]]] = []
        for item in items:
            address = item[0].address
            if group:
                first, last = group[0][0].address, group[-1][0].address
                gap = address.offset - last.offset - last.length
                if gap > _LARGEST_GAP or address.offset + address.length - first.offset > LARGEST_RANGE:
                    groups.append(group)
                    group = []
            group.append(item)
        groups.append(group)
    return groups


def _cancel_with(done: Future[None], group: Sequence[tuple[Wanted, Future[OpenedBlock]]]) -> None:
    """A task that the pool dropped leaves nobody waiting."""
    if done.cancelled():
        for _, future in group:
            future.cancel()
