"""Reading leaves. `docs/design/format.md`, "Leaf".

Decoding is hot: a rescan of a million files reads eight thousand leaves and compares columns. So what every
entry has is checked for a whole page at once, and what few entries have is checked where it is looked at.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from operator import lt
from typing import Any

from muniment.format.block import MAX_BLOCK_PLAIN
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
from muniment.format.packindex import ID
from muniment.format.tables import (
    MAX_KEY,
    MAX_SIZE,
    MAX_U32,
    TableReader,
    damaged,
    decode_page,
    mapping,
    rows,
    text,
    whole,
)
from muniment.model.entry import Entry, EntryFlag, Extent, Owner, PageRef, PageType
from muniment.model.errors import UnsafePath
from muniment.model.ids import PackId
from muniment.model.packs import BlockAddress

_COLUMNS = 11
_EXTENT_TREES = frozenset({PageType.EXTENT_LEAF, PageType.EXTENT_INTERIOR})
_FILE_TYPES = {
    stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFBLK, stat.S_IFCHR,
}  # fmt: skip
_ALL_FLAGS = sum(EntryFlag)

ChunkPlace = tuple[int, int, bytes]
"""(offset in the opened block, length, chunk id)"""


class LeafPage:
    """A decoded leaf. Columns are checked all at once; content and extras of an entry when looked at."""

    __slots__ = ("_tables", "content", "count", "owners", "runs")

    def __init__(self, runs: list[LeafRun], owners: list[Owner], tables: TableReader) -> None:
        self.runs = runs
        self.owners = owners
        self._tables = tables
        self.count = sum(len(run.names) for run in runs)
        """Number of entries."""
        self.content = sum(
            sum(run.sizes)
            if all(map(stat.S_ISREG, run.modes))
            else sum(size for size, mode in zip(run.sizes, run.modes, strict=True) if stat.S_ISREG(mode))
            for run in runs
        )
        """Bytes of regular files."""

    @property
    def packs(self) -> frozenset[PackId]:
        """Every pack that this page names."""
        return self._tables.pack_ids

    @property
    def first_key(self) -> bytes:
        return self.runs[0].directory + b"\0" + self.runs[0].names[0]

    @property
    def last_key(self) -> bytes:
        return self.runs[-1].directory + b"\0" + self.runs[-1].names[-1]

    def entries(self) -> Iterator[Entry]:
        for run in self.runs:
            for place in range(len(run.names)):
                yield self.entry(run, place)

    def flags(self, run: LeafRun, place: int) -> EntryFlag:
        extra = run.extras.get(place)
        return EntryFlag(extra.get(FLAGS, 0)) if extra else EntryFlag.NONE

    def file_system(self, run: LeafRun, place: int) -> int:
        extra = run.extras.get(place)
        if extra and FILE_SYSTEM in extra:
            return whole(extra[FILE_SYSTEM], high=MAX_U32)
        return run.file_system

    def contents_of(self, run: LeafRun, place: int) -> tuple[tuple[Extent, ...], PageRef | None]:
        """(extents, extent tree) of one entry; both are empty where it has no content."""
        contents = run.contents[place]
        if contents is None:
            return (), None
        if type(contents) is dict:
            tree = mapping(contents)
            if list(tree) != [0]:
                raise damaged("the content of an entry has another shape")
            return (), self._tables.page_ref(tree[0], types=_EXTENT_TREES)
        if len(contents) > MAX_INLINE_EXTENTS:
            raise damaged("an entry has more extents than a page takes")
        return self._tables.extents(contents), None

    def lone_chunk(self, run: LeafRun, place: int) -> tuple[BlockAddress, ChunkPlace] | None:
        """Where the content of an ordinary small file lies: one chunk, and nothing in the extras.

        None for everything else, and for what is damaged: then `entry` tells more, at five times the price.
        """
        contents = run.contents[place]
        if contents.__class__ is not list or place in run.extras or not stat.S_ISREG(run.modes[place]):
            return None
        extents: list[Any] = contents
        if len(extents) != 1 or extents[0].__class__ is not list:
            return None
        row: list[Any] = extents[0]
        if len(row) != 4:
            return None
        length, chunk, block, inner = row
        if type(length) is not int or length != run.sizes[place] or not length:
            return None
        if type(chunk) is not bytes or len(chunk) != ID or type(inner) is not int:
            return None
        if not 0 <= inner <= MAX_BLOCK_PLAIN - length:
            return None
        return self._tables.block(block), (inner, length, chunk)

    def extent_trees(self) -> Iterator[PageRef]:
        """The roots of the extent trees of this leaf's large files."""
        for run in self.runs:
            for place, contents in enumerate(run.contents):
                if type(contents) is dict:
                    tree = self.contents_of(run, place)[1]
                    if tree is not None:
                        yield tree

    def entry(self, run: LeafRun | int, place: int) -> Entry:
        """One entry, made and checked now. `run`: the run itself or its place."""
        if isinstance(run, int):
            run = self.runs[run]
        extents, extent_tree = self.contents_of(run, place)
        extra = run.extras.get(place)
        known = self._read_extra(extra) if extra else {}
        entry = Entry(
            run.directory, run.names[place], run.modes[place], run.sizes[place], run.mtimes[place],
            run.ctimes[place], run.inodes[place], self.owners[run.owner_places[place]],
            known.pop("file_system", run.file_system), extents, extent_tree, **known,
        )  # fmt: skip
        _check_entry(entry)
        return entry

    def _read_extra(self, extra: dict[int, Any]) -> dict[str, Any]:
        known: dict[str, Any] = {"flags": EntryFlag(extra.get(FLAGS, 0))}
        if LINK_TARGET in extra:
            known["link_target"] = _checked_target(extra[LINK_TARGET])
        if DEVICE in extra:
            major, minor = rows([extra[DEVICE]], fields=2)[0]
            known["device"] = whole(major, high=MAX_U32), whole(minor, high=MAX_U32)
        if XATTRS in extra:
            known["xattrs"], known["large_xattrs"] = self._read_xattrs(extra[XATTRS])
        if LINK_GROUP in extra:
            known["link_group"] = whole(extra[LINK_GROUP], low=1)
        if FILE_SYSTEM in extra:
            known["file_system"] = whole(extra[FILE_SYSTEM], high=MAX_U32)
        if WINDOWS in extra:
            known["windows"] = text(extra[WINDOWS])
        if MACOS in extra:
            known["macos"] = text(extra[MACOS])
        return known

    def _read_xattrs(self, value: Any) -> tuple[tuple[tuple[bytes, bytes], ...], tuple[Any, ...]]:
        small: list[tuple[bytes, bytes]] = []
        large: list[tuple[bytes, tuple[Extent, ...]]] = []
        previous = b""
        for name, content in rows(value, fields=2):
            if text(name) <= previous or b"\0" in name:
                raise damaged("extended attributes are not in order")
            previous = name
            if type(content) is bytes:
                small.append((name, content))
            else:
                large.append((name, self._tables.extents(content)))
        return tuple(small), tuple(large)


def decode_leaf(content: bytes | memoryview) -> LeafPage:
    """DamagedObject or UnsafePath when the page is not what an honest client writes; NewerFormat."""
    _, _, packs, blocks, owner_rows, run_rows = decode_page(content, PageType.LEAF, fields=6)
    tables = TableReader(packs, blocks)
    owners = [_owner(row) for row in rows(owner_rows, fields=4)]
    columns = list(zip(*rows(run_rows, fields=_COLUMNS), strict=True))
    if not columns:
        raise damaged("it is empty")
    try:
        _check_columns(columns, owners=len(owners))
    except (TypeError, OverflowError):
        raise damaged("a column holds what it cannot") from None
    _check_order(run_rows)
    return LeafPage([LeafRun(row) for row in run_rows], owners, tables)


def _check_columns(columns: list[tuple[Any, ...]], *, owners: int) -> None:
    directories, file_systems, names, *numeric, contents, extras = columns
    _check_directories(directories)
    _check_numbers(file_systems, low=0, high=MAX_U32)
    counts = _lengths(names)
    if 0 in counts:
        raise damaged("a directory's run is empty")
    _check_names(list(chain.from_iterable(names)))
    modes, sizes, mtimes, ctimes, inodes, owner_places = (_flat(column, counts) for column in numeric)
    _check_numbers(modes, low=0, high=MAX_U32)
    if not set(map(stat.S_IFMT, modes)) <= _FILE_TYPES:
        raise damaged("an entry is of no known type")
    _check_numbers(sizes, low=0, high=MAX_SIZE)
    _check_numbers(mtimes, low=-MAX_SIZE - 1, high=MAX_SIZE)
    _check_numbers(ctimes, low=-MAX_SIZE - 1, high=MAX_SIZE)
    _check_numbers(inodes, low=0, high=(1 << 64) - 1)
    _check_numbers(owner_places, low=0, high=owners - 1)
    if not set(map(type, _flat(contents, counts))) <= {type(None), list, dict}:
        raise damaged("the content of an entry has another shape")
    if set(map(type, extras)) != {dict}:
        raise damaged("the extras of a run have another shape")
    for extra, count in zip(extras, counts, strict=True):
        if extra:
            _check_extras(extra, count)


def _lengths(column: Sequence[Any]) -> list[int]:
    if set(map(type, column)) != {list}:
        raise damaged("a column is missing")
    return list(map(len, column))


def _flat(column: Sequence[Any], counts: list[int]) -> list[Any]:
    if _lengths(column) != counts:
        raise damaged("columns differ in length")
    return list(chain.from_iterable(column))


def _check_numbers(values: Sequence[Any], *, low: int, high: int) -> None:
    if set(map(type, values)) != {int} or min(values) < low or max(values) > high:
        raise damaged("a column of numbers holds something impossible")


def _check_extras(extra: dict[Any, Any], count: int) -> None:
    _check_numbers(list(extra), low=0, high=count - 1)
    for value in extra.values():
        item = mapping(value)
        _check_numbers(list(item), low=LINK_TARGET, high=MACOS)
        whole(item.get(FLAGS, 0), high=_ALL_FLAGS)


def _check_directories(directories: Sequence[Any]) -> None:
    if set(map(type, directories)) != {bytes}:
        raise damaged("a directory's key is no byte string")
    joined = b"\0" + b"".join(directories)
    if b"/" in joined or b"\0\0" in joined or b"\0.\0" in joined or b"\0..\0" in joined:
        raise UnsafePath("a page names a directory that cannot exist")
    if any(directory and directory[-1] for directory in directories) or b"" in directories[1:]:
        raise damaged("a directory's key does not end as keys do")


def _check_names(names: list[Any]) -> None:
    if set(map(type, names)) != {bytes}:
        raise damaged("a name is no byte string")
    joined = b"/".join(names)
    slashes = joined.count(b"/") - len(names) + 1
    if slashes or b"\0" in joined or b"" in names or b"." in names or b".." in names:
        raise UnsafePath("a page holds a name that would leave its directory")


def _check_order(runs: list[list[Any]]) -> None:
    previous: bytes | None = None
    for row in runs:
        directory: bytes = row[0]
        names: list[bytes] = row[2]
        if previous is not None and directory <= previous:
            raise damaged("its directories are not in order")
        if len(names) > 1 and not all(map(lt, names, islice(names, 1, None))):
            raise damaged("its names are not in order")
        if len(directory) + max(map(len, names)) >= MAX_KEY:
            raise damaged("a key is too long")
        previous = directory


def _check_entry(entry: Entry) -> None:
    """What no column tells alone: content agrees with type and size."""
    kind = stat.S_IFMT(entry.mode)
    if kind == stat.S_IFREG:
        held = entry.extent_tree.content if entry.extent_tree else sum(e.length for e in entry.extents)
        missing = not held and EntryFlag.UNREADABLE in entry.flags
        if held != entry.size and not missing:
            raise damaged("the extents of a file do not add up to its size")
    elif entry.extents or entry.extent_tree:
        raise damaged("something that is no file has content")
    if bool(entry.link_target) != (kind == stat.S_IFLNK):
        raise damaged("a link has no target, or a target no link")
    if (entry.device is not None) != (kind in {stat.S_IFBLK, stat.S_IFCHR}):
        raise damaged("a device has no number, or a number no device")


def _checked_target(value: Any) -> bytes:
    target = text(value)
    if not target or b"\0" in target:
        raise damaged("the target of a link is impossible")
    return target


def _owner(row: list[Any]) -> Owner:
    return Owner(whole(row[0], high=MAX_U32), whole(row[1], high=MAX_U32), text(row[2]), text(row[3]))
