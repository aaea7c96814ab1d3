"""What a tree is made of: entries, extents, page references.

A path is held in two parts. `directory` is the key of the directory that holds the entry: every
component followed by NUL, so `home/me` is ``b"home\\0me\\0"`` and the root is ``b""``. `name` is the last
component. The sort key of an entry is ``directory + b"\\0" + name``: a directory's own entries come first,
in byte order, then what its subdirectories hold, in the same order. Names are bytes, never text.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import NamedTuple

from muniment.model.ids import ChunkId, PageId
from muniment.model.packs import BlockAddress, ChunkAddress


class EntryFlag(IntFlag):
    """What a reader must know of how an entry came to be."""

    NONE = 0
    RACY = 1
    """Modified within two seconds of being read: read again next time."""
    KEPT = 2
    """Could not be read this time: the parent's entry was kept."""
    CHANGED = 4
    """Changed while being read, also after retries."""
    DAMAGED = 8
    """Names a chunk in a quarantined pack."""
    UNREADABLE = 16
    """Never read: metadata only, no content."""


class Extent(NamedTuple):
    """`length` bytes of a file, in file order; a hole where `chunk` is None."""

    length: int
    chunk: ChunkId | None = None
    address: ChunkAddress | None = None


class Owner(NamedTuple):
    """Owner of an entry: numeric ids and the names they had (empty where there was none)."""

    uid: int
    gid: int
    user: bytes = b""
    group: bytes = b""


class PageType(IntEnum):
    """First thing bound into a page's id: leaf and interior, of entries and of extents."""

    LEAF = 0
    INTERIOR = 1
    EXTENT_LEAF = 2
    EXTENT_INTERIOR = 3


@dataclass(frozen=True, slots=True)
class PageRef:
    """A page of a tree: where it is, what it must hash to, and what lies under it.

    `level` 0 is a leaf. `entries` counts entries (extents, in an extent tree), `content` sums file bytes.
    `last_key` is the greatest key under the page.
    """

    block: BlockAddress
    page_id: PageId
    page_type: PageType
    level: int
    last_key: bytes
    entries: int
    content: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, directory, link or special file, as it will be restored.

    `mode` is st_mode (type and permissions). Times are nanoseconds since the epoch. `inode` is 0 where the
    root's switch says not to trust it. `link_group` joins hard links of one file (0: not linked).
    Content is either `extents` or, above 64 of them, `extent_tree`. `xattrs` are sorted by name; an
    attribute over 4 KiB has its value in chunks (`large_xattrs`).
    """

    directory: bytes
    name: bytes
    mode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    owner: Owner
    file_system: int = 0
    extents: tuple[Extent, ...] = ()
    extent_tree: PageRef | None = None
    link_target: bytes = b""
    device: tuple[int, int] | None = None
    link_group: int = 0
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    large_xattrs: tuple[tuple[bytes, tuple[Extent, ...]], ...] = ()
    flags: EntryFlag = EntryFlag.NONE
    windows: bytes = field(default=b"", repr=False)
    macos: bytes = field(default=b"", repr=False)

    @property
    def key(self) -> bytes:
        return self.directory + b"\0" + self.name

    @property
    def path(self) -> bytes:
        """The path with slashes, without a leading one."""
        return self.directory.replace(b"\0", b"/") + self.name

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)


def child_directory(directory: bytes, name: bytes) -> bytes:
    """The key of the directory `name` inside `directory`."""
    return directory + name + b"\0"


def key_of_path(path: bytes) -> tuple[bytes, bytes]:
    """(directory, name) of a slash-separated path; leading, trailing and doubled slashes are ignored."""
    parts = [part for part in path.split(b"/") if part]
    if not parts:
        return b"", b""
    return b"".join(part + b"\0" for part in parts[:-1]), parts[-1]
