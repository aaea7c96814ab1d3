"""Walks the roots of a backup set in tree order, a slice of a directory at a time.

Tree order is the order of entry keys (`model.entry`): all names of a directory, sorted as bytes, then what
its subdirectories hold. The tree has the roots' full absolute paths; a directory above a root appears with
only the names that lead to roots. Nested and repeated roots are walked once.

Neither depth nor width is bounded by anything but the disk: no recursion, few descriptors (`_KEEP_OPEN`), and
of a directory only its names are held whole.
"""

from __future__ import annotations

import errno
import stat
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from muniment.engine.ports import Directory, Excludes, FileStat, Progress, SourceDisk
from muniment.engine.roots import FileSystems, MountRule, RootNode, Trust
from muniment.engine.tally import Tally
from muniment.format.page import MAX_KEY
from muniment.model.entry import child_directory

SLICE = 4096
"""Most entries handed on at once: bounds memory in a directory of a million."""

_KEEP_OPEN = 64
"""Directories held open at the lower end of the stack; above it only every 64th stays open."""

_LONGEST_NAME = 255

_VANISHED = frozenset({errno.ENOENT, errno.ESTALE})
_KNOWN_TYPES = frozenset(
    {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK}
)


@dataclass(slots=True)
class Slice:
    """Consecutive names of one directory with what `lstat` told of them, as rows and as columns.

    Columns are what entries hold: sizes of other things than files are 0, and so are ctimes and inodes
    that are not trusted. `failed` has the names of this directory (of all its slices) whose `lstat` failed.
    `handle` is open until the walk goes on.
    """

    directory: bytes
    path: bytes
    handle: Directory
    names: list[bytes]
    stats: list[FileStat]
    modes: list[int]
    sizes: list[int]
    mtimes: list[int]
    ctimes: list[int]
    inodes: list[int]
    owners: list[tuple[int, int]]
    file_systems: int | list[int]
    others: list[int]
    """Places of what is no regular file."""
    failed: Mapping[bytes, OSError]
    last: bool
    trust: Trust


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A directory that could not be read: what the parent snapshot holds under `directory` is kept."""

    directory: bytes
    path: bytes
    cause: OSError


class _Trail:
    """Where the walk is: every directory on its stack is the beginning of this one."""

    __slots__ = ("directory", "path")

    def __init__(self) -> None:
        self.directory = b""
        self.path = b"/"


@dataclass(slots=True)
class _Frame:
    """A directory some of whose subdirectories are still to come (`below`, last first).

    It has no path of its own, only how much of the trail is its: ten thousand directories one in the other
    would hold ten thousand paths. `whole`: all of it belongs to the set; else only what leads to roots.
    `is_root`: it was named as one.
    `device` is the only one entered under `MountRule.STAY` (None above the roots).
    """

    trail: _Trail
    depth: int
    """Length of its directory, `path_length` of its path."""
    path_length: int
    handle: Directory
    roots: Mapping[bytes, RootNode]
    whole: bool
    trust: Trust
    device: int | None
    is_root: bool = False
    is_open: bool = True
    below: list[bytes] = field(default_factory=list)
    failed: dict[bytes, OSError] = field(default_factory=dict)
    devices: dict[bytes, int] = field(default_factory=dict)
    """Devices of those names that are in `roots`."""
    passages: set[bytes] = field(default_factory=set)
    """Names left out by a rule or as another file system, and entered only for the roots beneath."""

    @property
    def directory(self) -> bytes:
        return self.trail.directory[: self.depth]

    @property
    def path(self) -> bytes:
        return self.trail.path[: self.path_length]

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            self.handle.close()


class Walk:
    """One walk over the roots. Iterate once."""

    def __init__(
        self,
        roots: RootNode,
        *,
        disk: SourceDisk,
        excludes: Excludes,
        mounts: MountRule,
        file_systems: FileSystems,
        tally: Tally,
        progress: Progress,
    ) -> None:
        self._roots = roots
        self._disk = disk
        self._excludes = excludes
        self._mounts = mounts
        self._file_systems = file_systems
        self._tally = tally
        self._progress = progress
        self._stack: list[_Frame] = []
        self._trail = _Trail()

    def __iter__(self) -> Iterator[Slice | Unreadable]:
        try:
            yield from self._walk()
        finally:
            for frame in self._stack:
                frame.close()

    def _walk(self) -> Iterator[Slice | Unreadable]:
        top = _Frame(
            trail=self._trail,
            depth=0,
            path_length=1,
            handle=self._disk.open_root(b"/"),
            roots=self._roots.children,
            whole=self._roots.whole,
            trust=self._roots.trust,
            device=None,
            is_root=self._roots.whole,
        )
        stack = self._stack
        stack.append(top)
        if top.whole:
            top.device = top.handle.stat_self().device
        yield from self._list(top)
        while stack:
            frame = stack[-1]
            child = self._enter(frame, frame.below.pop()) if frame.below else None
            if not frame.below:
                # Nothing else to come here: a chain of any length holds no more than its last link.
                stack.pop().close()
            if isinstance(child, Unreadable):
                yield child
            elif child is not None:
                stack.append(child)
                yield from self._list(child)
                self._spare_descriptors()

    # --- opening

    def _enter(self, frame: _Frame, name: bytes) -> _Frame | Unreadable | None:
        directory = child_directory(frame.directory, name)
        path = frame.path + name + b"/"
        if len(directory) + _LONGEST_NAME >= MAX_KEY:
            self._tally.unsupported(path[:-1], "its path is too long")
            return None
        if name in frame.failed:
            return Unreadable(directory, path, frame.failed[name])
        node = frame.roots.get(name) if frame.roots else None
        try:
            if node is not None:
                handle = self._disk.open_root(path[:-1])
            else:
                if not frame.is_open:
                    self._reopen()
                handle = frame.handle.open_directory(name)
        except OSError as error:
            self._tally.unreadable(path[:-1], error)
            return Unreadable(directory, path, error)
        trail = self._trail
        trail.directory, trail.path = directory, path
        place = (trail, len(directory), len(path))
        if node is None:
            return _Frame(*place, handle, {}, whole=True, trust=frame.trust, device=frame.device)
        if node.whole:
            trust, device = node.trust, frame.devices.get(name)
        else:
            trust, device = frame.trust, frame.device
        whole = node.whole or (frame.whole and name not in frame.passages)
        return _Frame(
            *place, handle, node.children, whole=whole, trust=trust, device=device, is_root=node.whole
        )

    def _spare_descriptors(self) -> None:
        place = len(self._stack) - 1 - _KEEP_OPEN
        if place > 0 and place % _KEEP_OPEN:
            self._stack[place].close()

    def _reopen(self) -> None:
        """Open the last frame's directory again, and those above it down from the nearest open one."""
        place = len(self._stack) - 1
        while not self._stack[place].is_open:
            place -= 1
        for upper, frame in zip(self._stack[place:-1], self._stack[place + 1 :], strict=True):
            handle = upper.handle
            # The stack leaves out directories that had nothing else to come: several names may be missing.
            for name in self._trail.directory[upper.depth : frame.depth - 1].split(b"\0"):
                passed, handle = handle, handle.open_directory(name)
                if passed is not upper.handle:
                    passed.close()
            frame.handle, frame.is_open = handle, True

    # --- listing

    def _list(self, frame: _Frame) -> Iterator[Slice | Unreadable]:
        names = list(frame.roots)
        if frame.whole:
            try:
                names = frame.handle.names()
            except OSError as error:
                self._tally.unreadable(frame.path[:-1], error)
                yield Unreadable(frame.directory, frame.path, error)
                return
            if self._is_tagged(frame, names):
                return
        self._progress.at(frame.path)
        for joined, is_last in _slices(names):
            listed = self._slice(frame, joined.split(b"\0"))
            listed.last = is_last
            if listed.names or (is_last and frame.failed):
                yield listed
        frame.below.reverse()

    def _is_tagged(self, frame: _Frame, names: list[bytes]) -> bool:
        # Who names a directory as a root wants what is in it, whatever somebody put there.
        tags = () if frame.is_root or frame.roots else self._excludes.tag_files
        present = [tag for tag in tags if tag in names]
        rule = self._excludes.is_tagged(frame.handle, present) if present else None
        if rule is not None:
            self._tally.left_out(frame.path[:-1], rule)
        return rule is not None

    def _slice(self, frame: _Frame, names: list[bytes]) -> Slice:
        found = frame.handle.stats(names)
        asked = names
        try:
            columns = list(zip(*found, strict=True))
            stats: list[FileStat] = found  # type: ignore[assignment]
        except TypeError:  # an OSError among them
            names, stats = self._without_failed(frame, names, found)
            columns = list(zip(*stats, strict=True))
        if frame.roots:
            stats = self._resolve_roots(frame, names, stats)
            columns = list(zip(*stats, strict=True))
        others = _others(columns[0]) if stats else []
        left_out = self._left_out(frame, names, stats, others)
        if left_out:
            kept = [place for place, name in enumerate(names) if name not in left_out]
            names = [names[place] for place in kept]
            stats = [stats[place] for place in kept]
            columns = list(zip(*stats, strict=True))
            others = _others(columns[0]) if stats else []
        self._note_below(frame, asked, names, stats, others)
        return self._columns(frame, names, stats, columns, others)

    def _columns(
        self,
        frame: _Frame,
        names: list[bytes],
        stats: list[FileStat],
        columns: list[tuple[int, ...]],
        others: list[int],
    ) -> Slice:
        if not stats:
            columns = [()] * len(FileStat._fields)
        modes, sizes, mtimes, ctimes, inodes, devices, _, uids, gids, _, _ = columns
        sizes_of_files = list(sizes)
        for place in others:
            sizes_of_files[place] = 0
        unknown = [0] * len(names) if frame.trust is not Trust.FULL else None
        return Slice(
            directory=frame.directory,
            path=frame.path,
            handle=frame.handle,
            names=names,
            stats=stats,
            modes=list(modes),
            sizes=sizes_of_files,
            mtimes=list(mtimes),
            ctimes=unknown or list(ctimes),
            inodes=unknown or list(inodes),
            owners=list(zip(uids, gids, strict=True)),
            file_systems=self._ordinals(frame, names, devices),
            others=others,
            failed=frame.failed,
            last=True,
            trust=frame.trust,
        )

    def _ordinals(self, frame: _Frame, names: list[bytes], devices: tuple[int, ...]) -> int | list[int]:
        ordinal, path, trust = self._file_systems.ordinal, frame.path, frame.trust
        if not devices:
            return 0
        if devices.count(devices[0]) == len(devices):
            return ordinal(devices[0], path=path, trust=trust)
        pairs = zip(devices, names, strict=True)
        return [ordinal(device, path=path + name, trust=trust) for device, name in pairs]

    def _without_failed(
        self, frame: _Frame, names: list[bytes], found: Sequence[FileStat | OSError]
    ) -> tuple[list[bytes], list[FileStat]]:
        good: list[bytes] = []
        stats: list[FileStat] = []
        for name, result in zip(names, found, strict=True):
            if not isinstance(result, OSError):
                good.append(name)
                stats.append(result)
            elif result.errno in _VANISHED and name not in frame.roots:
                self._tally.vanished(frame.path + name)
            else:
                # A root that is gone is more likely not mounted than meant to leave the snapshot.
                self._tally.unreadable(frame.path + name, result)
                frame.failed[name] = result
        return good, stats

    def _resolve_roots(self, frame: _Frame, names: list[bytes], stats: list[FileStat]) -> list[FileStat]:
        """A root, or a directory above one, that is reached by a link counts as where the link leads."""
        resolved = list(stats)
        for name in frame.roots:
            place = bisect_left(names, name)
            if place == len(names) or names[place] != name:
                continue
            if stat.S_ISLNK(stats[place].mode):
                try:
                    target = self._disk.open_root(frame.path + name)
                except OSError:
                    continue  # it leads to no directory: the link itself is backed up
                try:
                    resolved[place] = target.stat_self()
                finally:
                    target.close()
            frame.devices[name] = resolved[place].device
        return resolved

    # --- what is left out

    def _left_out(
        self, frame: _Frame, names: list[bytes], stats: list[FileStat], others: list[int]
    ) -> set[bytes]:
        left_out: set[bytes] = set()
        for place in others:
            if stat.S_IFMT(stats[place].mode) not in _KNOWN_TYPES:
                self._tally.unsupported(frame.path + names[place], "is of no known type")
                left_out.add(names[place])
        if not frame.whole:
            return left_out
        directories = [names[place] for place in others if stat.S_ISDIR(stats[place].mode)]
        for name, rule in self._excludes.rules_for(frame.path, names, directories=directories).items():
            if name in frame.roots:
                frame.passages.add(name)
            else:
                left_out.add(name)
                self._tally.left_out(frame.path + name, rule)
        return left_out

    def _note_below(
        self, frame: _Frame, asked: list[bytes], names: list[bytes], stats: list[FileStat], others: list[int]
    ) -> None:
        """Add the subdirectories to be entered, and failed names: those may be directories in the parent."""
        below = [place for place in others if stat.S_ISDIR(stats[place].mode)]
        if self._mounts is MountRule.STAY and frame.device is not None:
            away = [place for place in below if stats[place].device != frame.device]
            for place in away:
                if names[place] in frame.roots:
                    frame.passages.add(names[place])
                else:
                    below.remove(place)
                    self._tally.left_out(frame.path + names[place], "another file system")
        entered = [names[place] for place in below]
        if frame.failed:
            entered = sorted([*entered, *(name for name in asked if name in frame.failed)])
        frame.below += entered


def _slices(names: list[bytes]) -> list[tuple[bytes, bool]]:
    """The names, sorted, a slice's joined with NUL each, and whether it is the last; empties `names`.

    A directory of a million waits as a few texts, a quarter of what as many objects take.
    """
    names.sort()
    count = len(names)
    slices = [
        (b"\0".join(names[start : start + SLICE]), start + SLICE >= count) for start in range(0, count, SLICE)
    ]
    names.clear()
    return slices


def _others(modes: Sequence[int]) -> list[int]:
    """Places of what is no regular file."""
    return [place for place, mode in enumerate(modes) if mode & 0o170000 != 0o100000]
