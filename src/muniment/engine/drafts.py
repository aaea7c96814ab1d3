"""Entries whose content is on its way: one by one, or many plain ones as columns."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from blake3 import blake3

from muniment.engine.content import Content, NewExtentTree
from muniment.engine.ports import FileStat
from muniment.engine.roots import Trust
from muniment.engine.storing import Batch
from muniment.engine.walk import Slice
from muniment.format.page import PlainEntries
from muniment.model.entry import Entry, EntryFlag, Extent, Owner


@dataclass(slots=True)
class Draft:
    """An entry of the slice's `place`-th name, but for its content, which is on its way.

    `found` is what was seen of it before it was read, `size` how much was read of it.
    """

    part: Slice
    place: int
    found: FileStat
    content: Content
    size: int = 0
    flags: EntryFlag = EntryFlag.NONE
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    large_xattrs: tuple[tuple[bytes, Content], ...] = ()
    link_target: bytes = b""
    device: tuple[int, int] | None = None

    @property
    def is_done(self) -> bool:
        return self.content.is_done and (
            not self.large_xattrs or all(value.is_done for _, value in self.large_xattrs)
        )

    def batches(self) -> Iterator[Batch]:
        yield from self.content.batches()
        for _, value in self.large_xattrs:
            yield from value.batches()

    def entry(self, owner: Owner, new_tree: NewExtentTree) -> Entry:
        """The entry itself; waits for its content."""
        extents, extent_tree = self.content.finish(new_tree)
        part, place, found = self.part, self.place, self.found
        trusted = part.trust is Trust.FULL
        systems = part.file_systems
        file_system = systems if isinstance(systems, int) else systems[place]
        return Entry(
            part.directory,
            part.names[place],
            found.mode,
            self.size,
            found.mtime_ns,
            found.ctime_ns if trusted else 0,
            found.inode if trusted else 0,
            owner,
            file_system,
            extents,
            extent_tree,
            self.link_target,
            self.device,
            link_group(found, file_system) if found.links > 1 and not stat.S_ISDIR(found.mode) else 0,
            self.xattrs,
            tuple((name, value.extents()) for name, value in self.large_xattrs) if self.large_xattrs else (),
            self.flags,
        )


@dataclass(slots=True)
class Gathered:
    """Names `start` to `stop` of a slice, of one owner, that are nothing but columns and pieces of one batch.

    Files that were read whole as they had been found, and directories; the batch is None where all are empty.
    """

    part: Slice
    start: int
    stop: int
    batch: Batch | None
    first: int
    """Place in the batch of the first file that is not empty."""

    @property
    def modes(self) -> list[int]:
        return self.part.modes[self.start : self.stop]

    @property
    def content(self) -> int:
        """Bytes of files."""
        return sum(self.part.sizes[self.start : self.stop])

    @property
    def is_done(self) -> bool:
        return self.batch is None or self.batch.is_done

    def batches(self) -> Iterator[Batch]:
        if self.batch is not None:
            yield self.batch

    def entries(self, owner: Owner) -> PlainEntries:
        """The entries; waits for their content."""
        part, start, stop = self.part, self.start, self.stop
        sizes = part.sizes[start:stop]
        contents: list[Extent | None] = [None] * (stop - start)
        if self.batch is not None:
            extents = islice(self.batch.extents, self.first, None)
            contents = [next(extents) if size else None for size in sizes]
        systems = part.file_systems
        return PlainEntries(
            part.directory, systems if isinstance(systems, int) else systems[start], owner,
            part.names[start:stop], part.modes[start:stop], sizes, part.mtimes[start:stop],
            part.ctimes[start:stop], part.inodes[start:stop], contents,
        )  # fmt: skip


def link_group(found: FileStat, file_system: int) -> int:
    """What joins the names of one file: equal for all of them, and for no other file of any run.

    More than the inode goes in, because inodes are used again: an entry kept from a run long ago must not
    become the link of a new file.
    """
    identity = f"{file_system} {found.inode} {found.mtime_ns} {found.ctime_ns} {found.size}"
    return int.from_bytes(blake3(identity.encode()).digest(8)) >> 1 or 1
