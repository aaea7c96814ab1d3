"""Archives the roots of a backup set: walk, merge with the parent, read what changed, build the new tree.

One thread walks, reads and builds; a few others name, compress and seal (`storing`). Entries wait in order
until their content is placed, so the tree is built in one pass and in a bounded amount of memory.
`docs/design/engine.md` tells why it is laid out so.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from muniment.crypto.keys import VaultKeys
from muniment.engine.assembly import Assembly
from muniment.engine.chunking import Cutter
from muniment.engine.drafts import Draft, Gathered
from muniment.engine.garbage import rare_collections
from muniment.engine.merge import Changed, Kept, LostContent, Merge, Merged, New, Span, WholeLeaf
from muniment.engine.packing import IndexPack
from muniment.engine.pages import PageStore, plan_moves
from muniment.engine.ports import (
    BlockSource,
    ChunkIndex,
    Clock,
    Excludes,
    PackSink,
    PageCache,
    Progress,
    SourceDisk,
    StopRequested,
)
from muniment.engine.reading import Reader, Unread
from muniment.engine.roots import FileSystems, MountRule, plant_roots
from muniment.engine.storing import ChunkStore
from muniment.engine.tally import CoverageCounts, Tally
from muniment.engine.walk import Slice, Unreadable, Walk
from muniment.format.block import DEFAULT_LEVEL
from muniment.format.tree import TreeReader
from muniment.model.entry import Entry, EntryFlag, PageRef
from muniment.model.errors import Interrupted
from muniment.model.ids import PackId
from muniment.model.snapshot import Counts, FileSystemNote

GIB = 1 << 30
_MOST_WAITING = 32 * 1024
"""Entries that wait for content before the walk waits for them."""


_Waiting = Entry | Draft | Gathered | Span | WholeLeaf


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveRequest:
    """What to back up, and against what to compare.

    `roots` are absolute paths; those also in `network_roots` are not trusted with ctime and inode.
    `parent` is the root page of the snapshot to compare with, `file_systems` what its head says of them.
    Files whose content lies in `lost_packs` are read again though unchanged; the index must not name these.
    """

    roots: tuple[bytes, ...]
    excludes: Excludes
    parent: PageRef | None = None
    file_systems: tuple[FileSystemNote, ...] = ()
    lost_packs: frozenset[PackId] = frozenset()
    mounts: MountRule = MountRule.CROSS
    network_roots: tuple[bytes, ...] = ()
    compression_level: int = DEFAULT_LEVEL
    partial_after_bytes: int = 8 * GIB
    partial_after_seconds: float = 3600.0
    workers: int = os.cpu_count() or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveResult:
    """A tree whose packs were all handed to the sink.

    `packs` is its reference set. `index_packs` are those sent since the result before. `problems` counts
    what makes the run incomplete.
    """

    root: PageRef | None
    packs: frozenset[PackId]
    index_packs: tuple[IndexPack, ...]
    counts: Counts
    coverage: CoverageCounts
    file_systems: tuple[FileSystemNote, ...]
    problems: int
    partial: bool


OnPartial = Callable[[ArchiveResult], None]


def archive(
    request: ArchiveRequest,
    *,
    keys: VaultKeys,
    disk: SourceDisk,
    sink: PackSink,
    source: BlockSource,
    index: ChunkIndex,
    pages: PageCache,
    clock: Clock,
    progress: Progress,
    stop: StopRequested,
    on_partial: OnPartial,
) -> ArchiveResult:
    """Archive the roots; every pack of the result has been given to `sink.send`, none is drained.

    `on_partial` gets a partial result every `partial_after_bytes` of new content or `partial_after_seconds`,
    and once more when `stop()` turns true, before Interrupted is raised.
    """
    store = ChunkStore(
        keys,
        index=index,
        sink=sink,
        progress=progress,
        level=request.compression_level,
        workers=request.workers,
    )
    try:
        run = _Run(
            request, keys=keys, disk=disk, source=source, pages=pages, clock=clock, progress=progress,
            stop=stop, on_partial=on_partial, store=store,
        )  # fmt: skip
        with rare_collections():
            return run.finish()
    finally:
        store.close()


class _Run:
    """One run. `_waiting` holds, in key order, what is not yet in the tree."""

    def __init__(
        self,
        request: ArchiveRequest,
        *,
        keys: VaultKeys,
        disk: SourceDisk,
        source: BlockSource,
        pages: PageCache,
        clock: Clock,
        progress: Progress,
        stop: StopRequested,
        on_partial: OnPartial,
        store: ChunkStore,
    ) -> None:
        self._request = request
        self._clock = clock
        self._progress = progress
        self._stop = stop
        self._on_partial = on_partial
        self._store = store
        self._memo = pages
        self._tally = Tally(progress)
        self._file_systems = FileSystems(disk, known=request.file_systems)
        self._walk = Walk(
            plant_roots(request.roots, request.network_roots),
            disk=disk,
            excludes=request.excludes,
            mounts=request.mounts,
            file_systems=self._file_systems,
            tally=self._tally,
            progress=progress,
        )
        self._pages = PageStore(
            keys, source=source, cache=pages, writer=store.writer, level=request.compression_level
        )
        self._tree_reader = TreeReader(keys, self._pages.load)
        # A page in a lost pack may still be in the cache; the new tree needs it where it can be fetched.
        self._pages.move(plan_moves(self._tree_reader, request.parent) | request.lost_packs)
        self._lost = None
        if request.lost_packs:
            self._lost = LostContent(request.lost_packs, self._tree_reader, pages)
        self._merge = Merge(self._tree_reader.leaves(request.parent), disk, lost=self._lost)
        self._assembly = Assembly(keys, self._pages, self._tree_reader, disk=disk, parent=request.parent)
        self._reader = Reader(
            store,
            cutter=Cutter(keys),
            clock=clock,
            tally=self._tally,
            stop=stop,
            new_tree=self._assembly.new_extent_tree,
        )
        self._waiting: deque[_Waiting] = deque()
        self._held = 0
        """Entries in `_waiting`, unchanged ones too: they hold their leaves."""
        self._marked_bytes = 0
        self._marked_seconds = clock.monotonic()

    def finish(self) -> ArchiveResult:
        try:
            for event in self._walk:
                self._take(event)
                self._drain(_MOST_WAITING)
                if self._stop():
                    raise Interrupted("stopped on request")
                self._mark()
        except Interrupted:
            self._drain_all()
            if self._assembly.last_key:
                self._on_partial(self._partial_result())
            raise
        self._accept(self._merge.finish())
        self._drain_all()
        return self._result(self._assembly.finish(), partial=False)

    # --- from the walk to the queue

    def _take(self, event: Slice | Unreadable) -> None:
        if isinstance(event, Unreadable):
            self._accept(self._merge.keep(event.directory))
        else:
            self._accept(self._merge.match(event))

    def _accept(self, merged: list[Merged]) -> None:
        for item in merged:
            if isinstance(item, New):
                self._read_new(item)
            elif isinstance(item, Changed):
                self._read_one(item)
            elif isinstance(item, Kept):
                for entry in self._kept(item):
                    self._wait_for(entry)
            else:
                self._wait_for(item)

    def _wait_for(self, item: _Waiting) -> None:
        self._waiting.append(item)
        self._held += _entries_held(item)
        if self._held > _MOST_WAITING:
            self._drain(_MOST_WAITING)

    def _read_new(self, item: New) -> None:
        for one in self._reader.read_new(item.part, item.start, item.stop):
            if isinstance(one, int):
                self._read_one(Changed(item.part, one, None))
                continue
            if self._stop():
                raise Interrupted("stopped on request")
            self._tally.read += one.stop - one.start
            self._wait_for(one)

    def _read_one(self, item: Changed) -> None:
        if self._stop():
            raise Interrupted("stopped on request")  # a slice can hold gigabytes
        entry = self._read(item)
        if entry is not None:
            self._wait_for(entry)

    def _read(self, item: Changed) -> Entry | Draft | None:
        try:
            entry = self._reader.read(item.part, item.place)
        except Unread as unread:
            path = item.part.path + item.part.names[item.place]
            if unread.is_gone:
                self._tally.vanished(path)
                return None
            self._tally.unreadable(path, unread.cause)
            if item.parent is not None:
                return next(self._kept(item.parent))
            return self._reader.unreadable(item.part, item.place)
        self._tally.read += 1
        return entry

    def _kept(self, span: Span) -> Iterator[Entry]:
        for entry in span.entries():
            flags = entry.flags | EntryFlag.KEPT
            if self._lost is not None and self._lost.includes(entry):
                flags |= EntryFlag.DAMAGED
            yield replace(entry, flags=flags)

    # --- from the queue to the tree

    def _drain(self, most: int) -> None:
        """Bring what is ready into the tree; where more than `most` wait, wait for the first of them."""
        waiting = self._waiting
        while waiting:
            item = waiting[0]
            if isinstance(item, (Draft, Gathered)) and not item.is_done:
                if self._held <= most:
                    return
                for batch in item.batches():
                    self._reader.submit(batch)
            waiting.popleft()
            self._held -= _entries_held(item)
            self._assemble(item)

    def _drain_all(self) -> None:
        self._reader.submit_all()
        self._drain(0)

    def _assemble(self, item: _Waiting) -> None:
        if isinstance(item, Gathered):
            self._assembly.add_gathered(item)
            self._tally.add_read(item.modes, content=item.content)
        elif isinstance(item, Draft):
            entry = self._assembly.add_draft(item)
            self._tally.add(entry.mode, entry.size)
        elif isinstance(item, Entry):
            self._assembly.add_entry(item)
            self._tally.add(item.mode, item.size)
        elif isinstance(item, WholeLeaf):
            self._assembly.add_leaf(item)
            for run in item.leaf.runs:
                self._tally.add_unchanged(run.modes, content=sum(run.sizes))
        else:
            self._assembly.add_span(item)
            run, start, stop = item.run, item.start, item.stop
            self._tally.add_unchanged(run.modes[start:stop], content=sum(run.sizes[start:stop]))

    # --- results

    def _mark(self) -> None:
        """Commit a partial snapshot when enough was stored, or enough time passed, since the last."""
        new = self._store.writer.new_content - self._marked_bytes
        seconds = self._clock.monotonic() - self._marked_seconds
        if new < self._request.partial_after_bytes and seconds < self._request.partial_after_seconds:
            return
        self._drain_all()
        if self._assembly.last_key:
            self._on_partial(self._partial_result())
        self._marked_bytes = self._store.writer.new_content
        self._marked_seconds = self._clock.monotonic()

    def _partial_result(self) -> ArchiveResult:
        return self._result(self._assembly.finish_partial(), partial=True)

    def _result(self, root: PageRef | None, *, partial: bool) -> ArchiveResult:
        index_packs = self._store.writer.flush()
        self._tally.new_content = self._store.writer.new_content
        return ArchiveResult(
            root=root,
            packs=self._tree_reader.reachable_packs(root, self._memo),
            index_packs=index_packs,
            counts=self._tally.counts(),
            coverage=self._tally.coverage(),
            file_systems=self._file_systems.notes(),
            problems=self._tally.problems,
            partial=partial,
        )


def _entries_held(item: _Waiting) -> int:
    if isinstance(item, WholeLeaf):
        return item.ref.entries
    return item.stop - item.start if isinstance(item, (Gathered, Span)) else 1
