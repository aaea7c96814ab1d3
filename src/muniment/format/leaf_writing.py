"""Writing leaves: entries one by one, or many plain ones as columns. `docs/design/format.md`, "Leaf".

A leaf knows its own size bound while it grows ("Where pages end"): that is part of the format, and the same
however the entries come.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from muniment.crypto.sealing import FORMAT_VERSION
from muniment.format.leaf_run import (
    DEVICE,
    FILE_SYSTEM,
    FLAGS,
    LINK_GROUP,
    LINK_TARGET,
    MACOS,
    MAX_INLINE_EXTENTS,
    WINDOWS,
    XATTRS,
    LeafRun,
)
from muniment.format.sizing import (
    BLOCK,
    ENTRY,
    EXTENT,
    EXTRAS,
    LARGE_ENTRY,
    OWNER,
    PACK,
    PAGE,
    REF,
    RUN,
    XATTR,
)
from muniment.format.tables import MAX_ENTRY, MAX_KEY, TableWriter, encode
from muniment.model.entry import Entry, Extent, Owner, PageType

# An entry of at most one extent, in a run of another file system, new in everything; but for texts.
_PLAIN = ENTRY + EXTENT + BLOCK + PACK + EXTRAS
_FIRST = PAGE + RUN + OWNER


@dataclass(frozen=True, slots=True)
class PlainEntries:
    """Entries of one directory and one owner in columns of equal length, names increasing.

    Plain: at most one extent each, and nothing of what few entries have (`has_extras`). What is no regular
    file has size 0.
    """

    directory: bytes
    file_system: int
    owner: Owner
    names: Sequence[bytes]
    modes: Sequence[int]
    sizes: Sequence[int]
    mtimes: Sequence[int]
    ctimes: Sequence[int]
    inodes: Sequence[int]
    contents: Sequence[Extent | None]

    def key(self, place: int) -> bytes:
        return self.directory + b"\0" + self.names[place]

    def entries(self) -> Iterator[Entry]:
        columns = zip(
            self.names, self.modes, self.sizes, self.mtimes, self.ctimes, self.inodes, self.contents,
            strict=True,
        )  # fmt: skip
        for name, mode, size, mtime, ctime, inode, extent in columns:
            yield Entry(
                self.directory, name, mode, size, mtime, ctime, inode, self.owner, self.file_system,
                () if extent is None else (extent,),
            )  # fmt: skip

    def growth(self, start: int, stop: int) -> int:
        """At least as much as these entries add to the bound of any leaf; cheap."""
        texts = sum(map(len, self.names[start:stop]))
        return (stop - start) * _PLAIN + texts + _FIRST + self._shared_texts

    @property
    def may_be_large(self) -> bool:
        """Whether one of them could be such that a leaf ends before it (`is_large`)."""
        return _PLAIN + _FIRST + self._shared_texts + max(map(len, self.names)) >= LARGE_ENTRY

    @property
    def _shared_texts(self) -> int:
        return len(self.directory) + len(self.owner.user) + len(self.owner.group)


class LeafWriter:
    """A leaf while it grows. Entries come in key order, each key once."""

    __slots__ = ("_last_owner", "_last_place", "_owners", "_runs", "_size", "_tables", "content", "count")

    def __init__(self) -> None:
        self._tables = TableWriter()
        self._owners: dict[Owner, int] = {}
        self._last_owner: Owner | None = None
        self._last_place = 0
        self._runs: list[LeafRun] = []
        self._size = PAGE
        self.count = 0
        """Number of entries."""
        self.content = 0
        """Bytes of regular files."""

    @property
    def bound(self) -> int:
        """Upper bound of the page's size."""
        return self._size + BLOCK * len(self._tables.blocks) + PACK * len(self._tables.packs)

    def add(self, entry: Entry) -> None:
        run = self._run(entry.directory, entry.file_system)
        owner = entry.owner
        contents = self._contents(entry)
        if has_extras(entry, run.file_system):
            run.extras[len(run.names)] = self._extra(entry, run.file_system)
        run.names.append(entry.name)
        run.modes.append(entry.mode)
        run.sizes.append(entry.size)
        run.mtimes.append(entry.mtime_ns)
        run.ctimes.append(entry.ctime_ns)
        run.inodes.append(entry.inode)
        run.owner_places.append(self._last_place if owner is self._last_owner else self._owner_place(owner))
        run.contents.append(contents)
        self._size += ENTRY + len(entry.name)
        self.count += 1
        if entry.is_file:
            self.content += entry.size

    def add_plain(self, plain: PlainEntries, start: int, stop: int) -> None:
        """Entries `start` to `stop`; the same as if they were added one by one."""
        run = self._run(plain.directory, plain.file_system)
        count = stop - start
        if plain.file_system != run.file_system:
            first = len(run.names)
            run.extras.update(
                (place, {FILE_SYSTEM: plain.file_system}) for place in range(first, first + count)
            )
            self._size += EXTRAS * count
        names, sizes, contents = plain.names[start:stop], plain.sizes[start:stop], plain.contents[start:stop]
        run.names += names
        run.modes += plain.modes[start:stop]
        run.sizes += sizes
        run.mtimes += plain.mtimes[start:stop]
        run.ctimes += plain.ctimes[start:stop]
        run.inodes += plain.inodes[start:stop]
        run.owner_places += [self._owner_place(plain.owner)] * count
        run.contents += self._tables.lone_extents(contents)
        self._size += ENTRY * count + sum(map(len, names)) + EXTENT * (count - contents.count(None))
        self.count += count
        self.content += sum(sizes)

    def page(self) -> bytes:
        """The page of all that was added. Equal entries give equal bytes."""
        owners = [tuple(owner) for owner in self._owners]
        runs = [run.row() for run in self._runs]
        tables = self._tables
        return encode((FORMAT_VERSION, int(PageType.LEAF), tables.packs, tables.blocks, owners, runs))

    def _run(self, directory: bytes, file_system: int) -> LeafRun:
        if self._runs and self._runs[-1].directory == directory:
            return self._runs[-1]
        run = LeafRun.begin(directory, file_system)
        self._runs.append(run)
        self._size += RUN + len(directory)
        return run

    def _owner_place(self, owner: Owner) -> int:
        place = self._owners.get(owner)
        if place is None:
            place = self._owners[owner] = len(self._owners)
            self._size += OWNER + len(owner.user) + len(owner.group)
        self._last_owner, self._last_place = owner, place
        return place

    def _contents(self, entry: Entry) -> Any:
        if entry.extent_tree is not None:
            self._size += REF + len(entry.extent_tree.last_key)
            return {0: self._tables.page_ref(entry.extent_tree)}
        if len(entry.extents) > MAX_INLINE_EXTENTS:
            raise ValueError(f"{len(entry.extents)} extents belong into an extent tree")
        return self._extents(entry.extents) if entry.extents else None

    def _extents(self, extents: Sequence[Extent]) -> list[Any]:
        self._size += EXTENT * len(extents)
        return self._tables.extents(extents)

    def _extra(self, entry: Entry, file_system: int) -> dict[int, Any]:
        extra: dict[int, Any] = {}
        size = EXTRAS + len(entry.link_target) + len(entry.windows) + len(entry.macos)
        if entry.link_target:
            extra[LINK_TARGET] = entry.link_target
        if entry.device is not None:
            extra[DEVICE] = entry.device
        if entry.xattrs or entry.large_xattrs:
            values: list[tuple[bytes, Any]] = [*entry.xattrs]
            values += [(name, self._extents(extents)) for name, extents in entry.large_xattrs]
            extra[XATTRS] = sorted(values, key=itemgetter(0))
            size += sum(XATTR + len(name) + len(value) for name, value in entry.xattrs)
            size += sum(XATTR + len(name) for name, _ in entry.large_xattrs)
        if entry.link_group:
            extra[LINK_GROUP] = entry.link_group
        if entry.flags:
            extra[FLAGS] = int(entry.flags)
        if entry.file_system != file_system:
            extra[FILE_SYSTEM] = entry.file_system
        if entry.windows:
            extra[WINDOWS] = entry.windows
        if entry.macos:
            extra[MACOS] = entry.macos
        self._size += size
        return extra


def has_extras(entry: Entry, file_system: int) -> bool:
    """Whether a leaf holds anything of `entry` outside its columns, in a run of this file system."""
    return bool(
        entry.link_target
        or entry.xattrs
        or entry.flags
        or entry.link_group
        or entry.file_system != file_system
        or entry.device is not None
        or entry.large_xattrs
        or entry.windows
        or entry.macos
    )


def encode_leaf(entries: Sequence[Entry]) -> bytes:
    """The page of `entries`, which are in key order, each key once."""
    leaf = LeafWriter()
    for entry in entries:
        leaf.add(entry)
    return leaf.page()


def estimate_entry_size(entry: Entry) -> int:
    """Upper bound, in bytes, of a leaf that holds nothing but `entry`."""
    leaf = LeafWriter()
    leaf.add(entry)
    return leaf.bound


def is_large(entry: Entry) -> bool:
    """Whether a leaf ends before `entry`."""
    if not entry.extents[1:] and entry.extent_tree is None and not has_extras(entry, entry.file_system):
        owner = entry.owner
        texts = len(entry.directory) + len(entry.name) + len(owner.user) + len(owner.group)
        if _PLAIN + _FIRST + texts < LARGE_ENTRY:
            return False
    return estimate_entry_size(entry) >= LARGE_ENTRY


def fits_page(entry: Entry) -> bool:
    """Whether a tree takes the entry. Where not: attributes belong into chunks, or the path is too long."""
    return len(entry.directory) + len(entry.name) < MAX_KEY and estimate_entry_size(entry) <= MAX_ENTRY
