"""What a restore will do, before it does it."""

from __future__ import annotations

import stat
from dataclasses import dataclass

from muniment.crypto.keys import VaultKeys
from muniment.engine.blocks import BlockFetcher
from muniment.engine.leaves import LostRange, TreeWalk
from muniment.engine.ports import BlockSource, Overwrite, PageCache, Special
from muniment.format.tree import TreeReader, subtree_range
from muniment.model.entry import Entry, PageRef, child_directory, key_of_path
from muniment.model.errors import IntegrityError, UsageError
from muniment.model.ids import PackId


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreRequest:
    """What to restore. `under` is a path (None: everything), whose last component lands in the target."""

    root: PageRef | None
    under: bytes | None = None
    overwrite: Overwrite = Overwrite.NEVER
    special: Special = Special.SKIP


@dataclass(frozen=True, slots=True)
class Selection:
    """Part of a tree: key ranges [start, end) in order, and what is left away before each directory's key."""

    ranges: tuple[tuple[bytes, bytes | None], ...]
    above: bytes
    entries: int
    content: int

    @property
    def stripped(self) -> int:
        return len(self.above)

    def path_of(self, directory: bytes, name: bytes) -> bytes:
        """As it was on its machine, of what has this key in the target."""
        return (self.above + directory).replace(b"\0", b"/") + name


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """What a restore will write and read. `read_bytes` is what is fetched of `packs`, each block once."""

    files: int
    directories: int
    others: int
    content: int
    packs: frozenset[PackId]
    read_bytes: int
    lost: tuple[LostRange, ...]
    damaged: int
    """Entries that are damaged themselves, beside those in lost ranges."""


def select(reader: TreeReader, root: PageRef | None, under: bytes | None) -> Selection:
    """The part of the tree at `under`. UsageError when there is nothing of that name."""
    directory, name = key_of_path(under or b"")
    if not name:
        entries, content = (root.entries, root.content) if root is not None else (0, 0)
        return Selection(((b"", None),), b"", entries, content)
    entry = reader.find(root, directory, name)
    if entry is None:
        raise not_held(under or b"")
    inside = child_directory(directory, name)
    ranges: tuple[tuple[bytes, bytes | None], ...] = ((entry.key, entry.key + b"\0"),)
    entries, content = 1, entry.size if entry.is_file else 0
    if entry.is_directory:
        more = reader.totals(root, inside)
        entries, content = entries + more[0], content + more[1]
        ranges += (subtree_range(inside),)
    return Selection(ranges, directory, entries, content)


def not_held(path: bytes) -> UsageError:
    """That a snapshot has nothing at `path`."""
    return UsageError(
        f"the snapshot holds no /{path.strip(b'/').decode(errors='backslashreplace')}",
        advice="List what it holds with `muniment ls`, or look for a name with `muniment find`.",
    )


def plan_restore(
    request: RestoreRequest, *, keys: VaultKeys, source: BlockSource, pages: PageCache | None = None
) -> RestorePlan:
    """Read every page of what is to be restored, and nothing of its content."""
    with BlockFetcher(keys, source, pages=pages) as fetcher:
        reader = TreeReader(keys, fetcher.load_page)
        selection = select(reader, request.root, request.under)
        planner = _Planner(reader)
        walk = TreeWalk(reader, fetcher)
        for start, end in selection.ranges:
            for leaf in walk.leaves(request.root, start=start, end=end):
                if isinstance(leaf, LostRange):
                    planner.lost.append(leaf)
                    continue
                for run in leaf.runs:
                    prefix = run.directory + b"\0"
                    for place, name in enumerate(run.names):
                        key = prefix + name
                        if key < start or (end is not None and key >= end):
                            continue
                        try:
                            planner.count(leaf.entry(run, place))
                        except IntegrityError:
                            planner.damaged += 1
        return planner.plan()


class _Planner:
    """Sums up. Which blocks were counted is one bit each: a terabyte has two million."""

    def __init__(self, reader: TreeReader) -> None:
        self._reader = reader
        self._files = self._directories = self._others = self._content = self._read = 0
        self._blocks: dict[PackId, int] = {}
        self._linked: set[int] = set()
        self.lost: list[LostRange] = []
        self.damaged = 0

    def count(self, entry: Entry) -> None:
        if not entry.is_file:
            self._directories += entry.is_directory
            self._others += not entry.is_directory and not stat.S_ISSOCK(entry.mode)
            return
        self._files += 1
        if entry.link_group:
            if entry.link_group in self._linked:
                return
            self._linked.add(entry.link_group)
        self._content += entry.size
        for extent in self._reader.extents(entry):
            if extent.address is None:
                continue
            block = extent.address.block
            seen = self._blocks.get(block.pack_id, 0)
            if not seen >> block.ordinal & 1:
                self._blocks[block.pack_id] = seen | 1 << block.ordinal
                self._read += block.length

    def plan(self) -> RestorePlan:
        return RestorePlan(
            files=self._files,
            directories=self._directories,
            others=self._others,
            content=self._content,
            packs=frozenset(self._blocks),
            read_bytes=self._read,
            lost=tuple(self.lost),
            damaged=self.damaged,
        )
