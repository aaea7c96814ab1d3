"""Reads changed files into batches: each file once per run, `stat` before the first read.

Small files of one owner are gathered into a batch of about two megabytes; large ones go through windows that
are cut into chunks here and named, compressed and sealed by the threads. A file that differs after it was
read from what it was before is read again, up to three times.
"""

from __future__ import annotations

import errno
import os
import stat
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, groupby, islice

from muniment.engine.chunking import WHOLE_BELOW, Cutter
from muniment.engine.content import NOTHING, Content, NewExtentTree, Window
from muniment.engine.drafts import Draft, Gathered
from muniment.engine.ports import Clock, Directory, FileStat, OpenFile, StopRequested
from muniment.engine.roots import Trust
from muniment.engine.storing import Batch, ChunkStore
from muniment.engine.tally import Tally
from muniment.engine.walk import Slice
from muniment.model.entry import EntryFlag
from muniment.model.packs import KIB

_BATCH_PIECES = 2048
_OPEN_BATCHES = 2
ATTEMPTS = 3
LARGE_XATTR = 4 * KIB
LINKS_REMEMBERED = 1 << 15
"""Most files some of whose names are still to come; one takes about a kilobyte."""
_RACY_NS = 2_000_000_000
_TYPE, _FILE, _DIRECTORY = 0o170000, stat.S_IFREG, stat.S_IFDIR
_NO_BYTES = memoryview(b"")
_GONE = frozenset({errno.ENOENT, errno.ESTALE})


class Unread(Exception):
    """A name that could not be read; `cause` says why. Never leaves the engine."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause

    @property
    def is_gone(self) -> bool:
        return self.cause.errno in _GONE


@dataclass(slots=True)
class _Linked:
    """A file with several names, until the last was met: what its entries have in common.

    Not the draft, which would hold the columns of a whole slice for as long.
    """

    asked: FileStat
    """What the walk found, `found` what held once it was read."""
    found: FileStat
    content: Content
    size: int
    flags: EntryFlag
    xattrs: tuple[tuple[bytes, bytes], ...]
    large_xattrs: tuple[tuple[bytes, Content], ...]
    left: int

    def draft(self, part: Slice, place: int) -> Draft:
        """The entry of a further name."""
        return Draft(
            part, place, self.found, self.content, self.size, self.flags, self.xattrs, self.large_xattrs
        )


class Reader:
    """Makes entries of what is new or changed. For the walking thread."""

    def __init__(
        self,
        store: ChunkStore,
        *,
        cutter: Cutter,
        clock: Clock,
        tally: Tally,
        stop: StopRequested,
        new_tree: NewExtentTree,
    ) -> None:
        self._store = store
        self._new_tree = new_tree
        self._cutter = cutter
        self._clock = clock
        self._tally = tally
        self._stop = stop
        self._open: dict[int, Batch] = {}
        self._linked: dict[tuple[int, int], _Linked] = {}

    # --- entries

    def read(self, part: Slice, place: int) -> Draft:
        """The entry at `place` of the slice, read now. Raises Unread."""
        found = part.stats[place]
        name = part.names[place]
        try:
            if stat.S_ISREG(found.mode):
                return self._read_file(part, place, name, found)
            draft = Draft(part, place, found, NOTHING, flags=self._racy(found, part.trust))
            if stat.S_ISLNK(found.mode):
                draft.link_target = part.handle.read_link(name)
            elif stat.S_ISBLK(found.mode) or stat.S_ISCHR(found.mode):
                draft.device = (os.major(found.rdev), os.minor(found.rdev))
            self._take_xattrs(draft, part.handle.xattrs(name))
        except OSError as error:
            raise Unread(error) from error
        return draft

    def read_new(self, part: Slice, start: int, stop: int) -> Iterator[Gathered | int]:
        """Reads what is plain together, as it comes; places of what is to be read by itself (`read`).

        What comes must be taken before the next is asked for.
        """
        at = start
        for owner, alike in groupby(self._plain_owners(part, start, stop)):
            end = at + len(list(alike))
            while at < end:
                gathered = self._gather_files(part, at, end, uid=owner[1]) if owner else None
                yield at if gathered is None else gathered
                at = at + 1 if gathered is None else gathered.stop

    def _plain_owners(self, part: Slice, start: int, stop: int) -> list[tuple[int, int, int] | None]:
        """Of each name its file system and owner, or None where more than columns may be needed of it.

        A clock read now stands for those that follow: what changed two seconds before it, or earlier, did so
        before them, too. What is said to change in future is looked at by itself.
        """
        limit = self._clock.now_ns() - _RACY_NS
        systems = part.file_systems
        return [
            (systems if isinstance(systems, int) else systems[place], found.uid, found.gid)
            if found.mtime_ns <= limit and part.ctimes[place] <= limit and _is_plain(found)
            else None
            for place, found in enumerate(part.stats[start:stop], start)
        ]

    def _gather_files(self, part: Slice, start: int, stop: int, *, uid: int) -> Gathered | None:
        """As many of the names as are still plain and have room in the batch; None where not one is."""
        sizes = part.sizes[start:stop]
        batch: Batch | None = None
        view = _NO_BYTES
        if any(sizes):
            batch = self._batch(uid, next(filter(None, sizes)))
            fitting = bisect_right(list(accumulate(sizes)), batch.room)
            sizes = sizes[: min(fitting, _BATCH_PIECES - len(batch.lengths))]
            view = batch.view[batch.end :]
        stop = start + len(sizes)
        count = part.handle.read_unchanged(part.names[start:stop], part.stats[start:stop], view)
        if not count:
            return None
        held = list(filter(None, sizes[:count]))
        if not held or batch is None:
            return Gathered(part, start, start + count, None, 0)
        return Gathered(part, start, start + count, batch, self._store.gather(batch, held))

    def unreadable(self, part: Slice, place: int) -> Draft:
        """What was never read: metadata alone."""
        return Draft(
            part, place, part.stats[place], NOTHING, size=part.sizes[place], flags=EntryFlag.UNREADABLE
        )

    def _racy(self, found: FileStat, trust: Trust) -> EntryFlag:
        """RACY when changed so shortly ago that a change from now on might leave the same times."""
        now = self._clock.now_ns()
        if -_RACY_NS < now - found.mtime_ns < _RACY_NS:
            return EntryFlag.RACY
        if trust is Trust.FULL and -_RACY_NS < now - found.ctime_ns < _RACY_NS:
            return EntryFlag.RACY
        return EntryFlag.NONE

    # --- files

    def _read_file(self, part: Slice, place: int, name: bytes, found: FileStat) -> Draft:
        if found.links < 2:
            return self._read_content(part, place, name, found)
        key = (found.device, found.inode)
        linked = self._linked.get(key)
        if linked is None or linked.asked[:6] != found[:6]:
            draft = self._read_content(part, place, name, found)
            self._remember(key, found, draft)
            return draft
        linked.left -= 1
        if linked.left <= 0:
            del self._linked[key]
        return linked.draft(part, place)

    def _remember(self, key: tuple[int, int], asked: FileStat, draft: Draft) -> None:
        """The further names of a file may all lie outside the set, and of a million files so: the oldest is
        forgotten. All it costs is to read it again, as its content and its link group are what they were."""
        while len(self._linked) >= LINKS_REMEMBERED:
            del self._linked[next(iter(self._linked))]
        self._linked[key] = _Linked(
            asked, draft.found, draft.content, draft.size, draft.flags, draft.xattrs, draft.large_xattrs,
            asked.links - 1,
        )  # fmt: skip

    def _read_content(self, part: Slice, place: int, name: bytes, found: FileStat) -> Draft:
        for attempt in range(ATTEMPTS):
            flags = self._racy(found, part.trust)
            file = part.handle.open_file(name)
            try:
                content, taken = self._take(file, found)
                after = file.stat()
                xattrs = file.xattrs()
            finally:
                file.close()
            if taken == found.size and after[:6] == found[:6]:
                break
            if attempt < ATTEMPTS - 1:
                found = self._regular(part.handle, name)
            else:
                flags |= EntryFlag.CHANGED
                self._tally.changed(part.path + name)
        draft = Draft(part, place, found, content, taken, flags)
        if xattrs:
            self._take_xattrs(draft, xattrs)
        return draft

    def _regular(self, handle: Directory, name: bytes) -> FileStat:
        found = handle.stat(name)
        if not stat.S_ISREG(found.mode):
            raise OSError(errno.ESTALE, "became something else while it was read")
        return found

    def _take(self, file: OpenFile, found: FileStat) -> tuple[Content, int]:
        """The content of an open file, and how many bytes it turned out to have."""
        size = found.size
        sparse = found.blocks * 512 < size
        if sparse and size <= WHOLE_BELOW:
            # Compressed by its file system rather than with holes, most likely.
            sparse = list(islice(file.data_ranges(size), 2)) != [(0, size)]
        if size > WHOLE_BELOW or sparse:
            return self._take_ranges(file, found, sparse=sparse)
        if not size:
            return NOTHING, 0
        batch = self._batch(found.uid, size)
        start, taken = batch.end, 0
        while taken < size and (
            got := file.read_into(batch.view[start + taken : start + size], offset=taken)
        ):
            taken += got
        return Content((batch, batch.add(taken), 1)) if taken else NOTHING, taken

    def _batch(self, uid: int, size: int) -> Batch:
        """The open batch of an owner, with room for `size` bytes."""
        batch = self._open.get(uid)
        if batch is not None:
            if batch.room >= size and len(batch.lengths) < _BATCH_PIECES:
                return batch
            self.submit(batch)
        elif len(self._open) >= _OPEN_BATCHES:
            self.submit(next(iter(self._open.values())))
        batch = self._open[uid] = Batch(self._store.batches)
        return batch

    def _gather(self, data: bytes, uid: int) -> Content:
        """Content that is in memory already."""
        batch = self._batch(uid, len(data))
        batch.view[batch.end : batch.end + len(data)] = data
        return Content((batch, batch.add(len(data)), 1))

    def submit(self, batch: Batch) -> None:
        """Hand a batch to the threads now, though it may not be full."""
        for uid, gathering in list(self._open.items()):
            if gathering is batch:
                del self._open[uid]
        if not batch.is_submitted:
            self._store.submit(batch)

    def submit_all(self) -> None:
        for batch in list(self._open.values()):
            self.submit(batch)

    def _take_xattrs(self, draft: Draft, xattrs: list[tuple[bytes, bytes]]) -> None:
        """Attributes into the draft: large ones as content."""
        draft.xattrs = tuple((name, value) for name, value in xattrs if len(value) <= LARGE_XATTR)
        draft.large_xattrs = tuple(
            (name, self._gather(value, draft.found.uid)) for name, value in xattrs if len(value) > LARGE_XATTR
        )

    # --- large and sparse files

    def _take_ranges(self, file: OpenFile, found: FileStat, *, sparse: bool) -> tuple[Content, int]:
        size = found.size
        window = Window(self._store, self._cutter, stop=self._stop, new_tree=self._new_tree)
        at = 0
        try:
            for offset, length in file.data_ranges(size) if sparse else ((0, size),):
                if offset > at:
                    window.add_hole(offset - at)
                taken = window.add_range(file, offset, length)
                at = offset + taken
                if taken < length:
                    return window.finish(), at  # cut short while we read
            if at < size:
                window.add_hole(size - at)
            return window.finish(), size
        finally:
            window.close()


def _is_plain(found: FileStat) -> bool:
    """A file with one name, small and without holes; or a directory."""
    if found.mode & _TYPE == _FILE:
        return found.links < 2 and found.size <= WHOLE_BELOW and found.blocks * 512 >= found.size
    return found.mode & _TYPE == _DIRECTORY
