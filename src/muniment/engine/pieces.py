"""Cuts a selection of a tree into pieces of work, and those into windows of blocks fetched together."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from muniment.engine.blocks import WantedBlocks
from muniment.engine.leaves import LostRange, TreeWalk
from muniment.engine.plan_restore import Selection
from muniment.engine.ports import FileStat, Metadata
from muniment.format.leaf_reading import ChunkPlace
from muniment.format.page import LeafPage, LeafRun
from muniment.format.tree import TreeReader
from muniment.model.entry import Entry, EntryFlag, Extent, PageRef
from muniment.model.errors import IntegrityError
from muniment.model.ids import PackId
from muniment.model.packs import MIB, BlockAddress

WINDOW = 4 * MIB
"""Plain bytes of content that are fetched together and then written."""

_WINDOW_PIECES = 1024

SET_ID = stat.S_ISUID | stat.S_ISGID


@dataclass(slots=True)
class Piece:
    """An entry to restore, or a part of one whose content spans windows.

    `directory` is the key below the target. `is_link`: another name of a file that came before, and whose
    content is therefore not fetched.
    """

    entry: Entry
    directory: bytes
    extents: tuple[Extent, ...] = ()
    offset: int = 0
    is_first: bool = True
    is_last: bool = True
    is_link: bool = False
    error: IntegrityError | None = None
    """Where the content after this piece cannot be known."""

    @property
    def path(self) -> bytes:
        return self.entry.path


class SmallFile:
    """A file of one chunk, with nothing remarkable about it: what most files are, and made fast for that."""

    __slots__ = ("block", "chunk", "directory", "leaf", "metadata", "name", "place", "run")

    def __init__(
        self,
        leaf: LeafPage,
        run: LeafRun,
        place: int,
        directory: bytes,
        found: tuple[BlockAddress, ChunkPlace],
    ) -> None:
        self.leaf, self.run, self.place = leaf, run, place
        self.directory = directory
        self.name = run.names[place]
        self.metadata = Metadata(run.modes[place], leaf.owners[run.owner_places[place]], run.mtimes[place])
        self.block, self.chunk = found

    @property
    def path(self) -> bytes:
        return self.run.directory.replace(b"\0", b"/") + self.name


@dataclass(slots=True)
class Window:
    pieces: list[Piece | SmallFile] = field(default_factory=list)
    wanted: WantedBlocks = field(default_factory=WantedBlocks)
    content: int = 0

    @property
    def is_full(self) -> bool:
        return self.content >= WINDOW or len(self.pieces) >= _WINDOW_PIECES

    def add(self, piece: Piece | SmallFile) -> None:
        self.pieces.append(piece)
        if isinstance(piece, SmallFile):
            self.wanted.add_chunk(piece.block, piece.chunk)
            self.content += piece.chunk[1]
            return
        if piece.extents:
            self.wanted.add(piece.extents)
            self.content += sum(extent.length for extent in piece.extents if extent.chunk is not None)
        for _, extents in piece.entry.large_xattrs:
            self.wanted.add(extents)


def _within(key: bytes, bounds: tuple[bytes, bytes | None]) -> bool:
    start, end = bounds
    return key >= start and (end is None or key < end)


@dataclass(frozen=True, slots=True)
class Lost:
    """An entry, or a range of them, that cannot be restored because its page is damaged."""

    path: bytes
    entries: int
    error: IntegrityError
    pack: PackId | None = None
    """Where the damaged page lies."""


LookUp = Callable[[bytes, list[bytes]], Mapping[bytes, FileStat]]
"""What of these names is in the target's directory with this key."""

Keep = Callable[[Entry, FileStat], bool]
"""Whether what is there stays as it is."""


class Pieces:
    """The pieces of a selection, in key order. What stays as it is in the target is told, and not read."""

    def __init__(
        self,
        reader: TreeReader,
        walk: TreeWalk,
        *,
        root: PageRef | None,
        selection: Selection,
        look_up: LookUp,
        keep: Keep,
        kept: Callable[[Entry], None],
        lost: Callable[[Lost], None],
    ) -> None:
        self._reader = reader
        self._walk = walk
        self._root = root
        self._selection = selection
        self._look_up = look_up
        self._keep = keep
        self._kept = kept
        self._lost = lost
        self._groups: dict[int, int] = {}
        """Hard-link group → fingerprint of its content, of groups met so far."""

    def windows(self) -> Iterator[Window]:
        window = Window()
        for piece in self._pieces():
            try:
                window.add(piece)
            except IntegrityError as error:
                window.pieces.pop()
                self._lost(Lost(piece.path, 1, error))
            if window.is_full:
                yield window
                window = Window()
        if window.pieces:
            yield window

    def _pieces(self) -> Iterator[Piece | SmallFile]:
        for start, end in self._selection.ranges:
            for leaf in self._walk.leaves(self._root, start=start, end=end):
                if isinstance(leaf, LostRange):
                    path = leaf.last.replace(b"\0\0", b"/").replace(b"\0", b"/")
                    self._lost(Lost(path, leaf.entries, leaf.error, leaf.ref.block.pack_id))
                    continue
                whole = leaf.first_key >= start and (end is None or leaf.last_key < end)
                for run in leaf.runs:
                    yield from self._of_run(leaf, run, None if whole else (start, end))

    def _of_run(
        self, leaf: LeafPage, run: LeafRun, bounds: tuple[bytes, bytes | None] | None
    ) -> Iterator[Piece | SmallFile]:
        prefix = run.directory + b"\0"
        places: Sequence[int] = range(len(run.names))
        if bounds is not None:
            places = [place for place, name in enumerate(run.names) if _within(prefix + name, bounds)]
            if not places:
                return  # another directory's run in the same leaf: it has no place in the target
        directory = run.directory[self._selection.stripped :]
        there = self._look_up(directory, [run.names[place] for place in places])
        for place in places:
            name = run.names[place]
            try:
                if not there and not run.modes[place] & SET_ID:
                    found = leaf.lone_chunk(run, place)
                    if found is not None:
                        yield SmallFile(leaf, run, place, directory, found)
                        continue
                entry = leaf.entry(run, place)
            except IntegrityError as error:
                self._lost(Lost(prefix.replace(b"\0", b"/")[:-1] + name, 1, error))
                continue
            if there and name in there and not entry.is_directory and self._keep(entry, there[name]):
                self._kept(entry)
            else:
                yield from self._of_entry(entry, directory)

    def _of_entry(self, entry: Entry, directory: bytes) -> Iterable[Piece]:
        if entry.link_group:
            known = self._groups.get(entry.link_group)
            fingerprint = hash((entry.mode, entry.size, entry.mtime_ns, entry.extents, entry.extent_tree))
            if known == fingerprint:
                return (Piece(entry, directory, is_link=True),)
            self._groups[entry.link_group] = fingerprint
        if entry.extent_tree is None and entry.size <= WINDOW:
            return (Piece(entry, directory, entry.extents),)
        return self._cut(entry, directory)

    def _cut(self, entry: Entry, directory: bytes) -> Iterator[Piece]:
        """A large file in pieces of about a window each."""
        gathered: list[Extent] = []
        size = 0
        offset = end = 0
        is_first = True
        error: IntegrityError | None = None
        extents = iter(self._reader.extents(entry))
        while True:
            try:
                extent = next(extents, None)
            except IntegrityError as damage:
                extent, error = None, damage
            if extent is None:
                break
            if size >= WINDOW or len(gathered) >= _WINDOW_PIECES:
                yield Piece(entry, directory, tuple(gathered), offset, is_first, is_last=False)
                gathered, size, offset, is_first = [], 0, end, False
            gathered.append(extent)
            end += extent.length
            if extent.chunk is not None:
                size += extent.length
        yield Piece(entry, directory, tuple(gathered), offset, is_first, error=error)

    def whole(self, entry: Entry, directory: bytes) -> Iterable[Piece]:
        """The pieces of one file that was to be a link to a file that could not be restored."""
        return self._cut(entry, directory)

    @staticmethod
    def has_no_content(entry: Entry) -> bool:
        """A file that could never be read when it was backed up."""
        return EntryFlag.UNREADABLE in entry.flags and entry.is_file and not entry.extents
