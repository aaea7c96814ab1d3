"""Proves that what snapshots need is there and readable, and names the files that would be lost where not.

First all pages, fetched from the vault itself: their ids, their order, and that every block they name lies in
a pack that the vault lists. With `Depth.DATA` then every pack, whole: everything in it is opened and every
chunk held against its id; and then the pages once more, to see that each extent names a chunk that is where
it says. What is known of a healthy pack's chunks is eight bytes each, so a terabyte takes ten megabytes.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum

from muniment.crypto.keys import VaultKeys
from muniment.engine.blocks import BlockFetcher, WantedBlocks
from muniment.engine.leaves import LostRange, PagePlace, TreeWalk
from muniment.engine.ports import BlockSource, Progress, StopRequested
from muniment.format.pack import check_pack
from muniment.format.page import LeafPage
from muniment.format.tree import TreeReader
from muniment.model.entry import Entry, Extent, PageRef
from muniment.model.errors import DamagedObject, IntegrityError, Interrupted, Outcome
from muniment.model.ids import PackId
from muniment.model.packs import MIB, BlockAddress, SealedPack

_RANGE = 8 * MIB
_AT_ONCE = 2
"""Packs that are read and opened at the same time."""

_EXAMPLES = 100
"""Paths remembered for each damaged pack; above that they are only counted."""


class Depth(Enum):
    """How far verifying goes."""

    PAGES = "pages"
    DATA = "data"


@dataclass(slots=True)
class Damage:
    """What is wrong with a pack, and what is lost with it. `entries` counts names in damaged pages."""

    pack: PackId
    why: str
    files: int = 0
    paths: list[bytes] = field(default_factory=list)
    entries: int = 0


@dataclass(slots=True)
class VerifyReport:
    """What was proved. `damages` by pack; empty when all is well."""

    snapshots: int = 0
    pages: int = 0
    files: int = 0
    extents: int = 0
    packs: int = 0
    read_bytes: int = 0
    damages: dict[PackId, Damage] = field(default_factory=dict)

    @property
    def outcome(self) -> Outcome:
        return Outcome.INTEGRITY if self.damages else Outcome.DONE


def verify(
    roots: Sequence[PageRef | None],
    *,
    stored: Mapping[PackId, SealedPack],
    depth: Depth,
    keys: VaultKeys,
    source: BlockSource,
    progress: Progress,
    stop: StopRequested,
) -> VerifyReport:
    """Verify the trees of snapshots; `stored` is what the vault says it holds for them.

    Raises Interrupted, and what `source` raises except DamagedObject, which goes into the report.
    """
    with BlockFetcher(keys, source) as fetcher:
        run = _Verification(stored, keys=keys, source=source, fetcher=fetcher, progress=progress, stop=stop)
        for root in roots:
            run.check_pages(root)
        if depth is Depth.DATA:
            run.check_packs()
            run.check_extents(roots)
        return run.report


class _Verification:
    def __init__(
        self,
        stored: Mapping[PackId, SealedPack],
        *,
        keys: VaultKeys,
        source: BlockSource,
        fetcher: BlockFetcher,
        progress: Progress,
        stop: StopRequested,
    ) -> None:
        self._stored = stored
        self._keys = keys
        self._source = source
        self._fetcher = fetcher
        self._progress = progress
        self._stop = stop
        self._reader = TreeReader(keys, fetcher.load_page)
        self._walk = TreeWalk(self._reader, fetcher)
        self._seen: set[PagePlace] = set()
        self._needed: set[PackId] = set()
        self._chunks: dict[PackId, array[int]] = {}
        self._lost: set[int] = set()
        """Which (pack, path) were told: the pages are read twice."""
        self.report = VerifyReport()

    # --- pages

    def check_pages(self, root: PageRef | None) -> None:
        self.report.snapshots += 1
        for leaf in self._leaves(root, self._seen):
            self._needed |= leaf.packs
            before = self.report.files
            for entry in self._entries(leaf):
                self.report.files += entry.is_file
                for extent in self._extents(entry):
                    self.report.extents += 1
                    if extent.address is not None:
                        self._check_place(entry, extent.address.block)
            self._progress.found(files=self.report.files - before, content=0)

    def _leaves(self, root: PageRef | None, seen: set[PagePlace]) -> Iterator[LeafPage]:
        """Leaves not met before in this pass: snapshots share most of them."""
        for leaf in self._walk.leaves(root, seen=seen):
            if self._stop():
                raise Interrupted("stopped on request")
            self.report.pages = max(self.report.pages, len(seen))
            if not isinstance(leaf, LostRange):
                yield leaf
            elif seen is self._seen:
                self._damage(leaf.ref.block.pack_id, str(leaf.error)).entries += leaf.entries

    def _entries(self, leaf: LeafPage) -> Iterator[Entry]:
        for run in leaf.runs:
            for place, name in enumerate(run.names):
                try:
                    yield leaf.entry(run, place)
                except IntegrityError as error:
                    path = run.directory.replace(b"\0", b"/") + name
                    for pack in leaf.packs:
                        self._lose(pack, str(error), path)

    def _extents(self, entry: Entry) -> Iterator[Extent]:
        for _, extents in entry.large_xattrs:
            yield from extents
        if entry.extent_tree is not None:
            self._needed.add(entry.extent_tree.block.pack_id)
        try:
            yield from self._reader.extents(entry)
        except IntegrityError as error:
            assert entry.extent_tree is not None
            self._lose(entry.extent_tree.block.pack_id, str(error), entry.path)

    def _check_place(self, entry: Entry, block: BlockAddress) -> None:
        self._needed.add(block.pack_id)
        pack = self._stored.get(block.pack_id)
        if pack is None:
            self._lose(block.pack_id, "the vault does not list it", entry.path)
        elif (pack.kind, pack.epoch) != (block.kind, block.epoch):
            self._lose(block.pack_id, "the vault lists another kind of pack under its id", entry.path)
        elif block.offset + block.length > pack.size:
            self._lose(block.pack_id, "it is shorter than its blocks", entry.path)

    # --- packs

    def check_packs(self) -> None:
        packs = sorted(self._needed | {pack for _, pack, _ in self._seen})
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="verify") as pool:
            ahead: deque[tuple[PackId, Future[array[int]]]] = deque()
            try:
                for pack in packs:
                    if self._stop():
                        raise Interrupted("stopped on request")
                    ahead.append((pack, pool.submit(self._check_pack, pack)))
                    if len(ahead) > _AT_ONCE:
                        self._note_checked(*ahead.popleft())
                while ahead:
                    self._note_checked(*ahead.popleft())
            finally:
                pool.shutdown(cancel_futures=True)

    def _check_pack(self, pack: PackId) -> array[int]:
        """What the pack holds, as sorted fingerprints; in one of a few threads."""
        stored = self._stored.get(pack)
        if stored is None:
            raise DamagedObject(f"pack {pack}", why="the vault does not list it")
        content = bytearray(stored.size)
        for offset in range(0, stored.size, _RANGE):
            part = self._source.read(pack, offset=offset, length=min(_RANGE, stored.size - offset))
            content[offset : offset + len(part)] = part
        index = check_pack(self._keys, content, pack_id=pack)
        places = [
            _fingerprint(address.block.ordinal, address.inner, address.length, chunk.raw)
            for chunk, address in index.chunks()
        ]
        return array("Q", sorted(places))

    def _note_checked(self, pack: PackId, checked: Future[array[int]]) -> None:
        try:
            self._chunks[pack] = checked.result()
        except IntegrityError as error:
            self._damage(pack, str(error))
            return
        size = self._stored[pack].size
        self.report.packs += 1
        self.report.read_bytes += size
        self._progress.found(files=0, content=size)

    # --- extents against packs

    def check_extents(self, roots: Iterable[PageRef | None]) -> None:
        seen: set[PagePlace] = set()
        for root in roots:
            for leaf in self._leaves(root, seen):
                for entry in self._entries(leaf):
                    self._check_content(entry)

    def _check_content(self, entry: Entry) -> None:
        doubtful: list[Extent] = []
        for extent in self._extents(entry):
            if extent.address is None or extent.chunk is None:
                continue
            block = extent.address.block
            known = self._chunks.get(block.pack_id)
            if known is None:
                doubtful.append(extent)
                continue
            wanted = _fingerprint(
                block.ordinal, extent.address.inner, extent.address.length, extent.chunk.raw
            )
            place = bisect_left(known, wanted)
            if place == len(known) or known[place] != wanted:
                self._lose(block.pack_id, "a page names a chunk that it does not hold there", entry.path)
        if doubtful:
            self._try(entry, doubtful)

    def _try(self, entry: Entry, extents: Sequence[Extent]) -> None:
        """In a damaged pack some blocks may still be good."""
        for extent in extents:
            wanted = WantedBlocks()
            wanted.add([extent])
            assert extent.address is not None
            try:
                self._fetcher.fetch(wanted.blocks.values()).take(extent)
            except IntegrityError as error:
                self._lose(extent.address.block.pack_id, str(error), entry.path)
                return

    # --- telling

    def _damage(self, pack: PackId, why: str) -> Damage:
        return self.report.damages.setdefault(pack, Damage(pack, why))

    def _lose(self, pack: PackId, why: str, path: bytes) -> None:
        damage = self._damage(pack, why)
        told = hash((pack, path))
        if told in self._lost:
            return
        self._lost.add(told)
        damage.files += 1
        if len(damage.paths) < _EXAMPLES:
            damage.paths.append(path)


def _fingerprint(ordinal: int, inner: int, length: int, chunk: bytes) -> int:
    """64 bits that tell one place and content from another; by a key of this process."""
    return hash((ordinal, inner, length, chunk)) & 0xFFFFFFFFFFFFFFFF
