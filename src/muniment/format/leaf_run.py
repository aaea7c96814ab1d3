"""The columns of a leaf, as they are written and read. `docs/design/format.md`, "Leaf"."""

from __future__ import annotations

from typing import Any

MAX_INLINE_EXTENTS = 64
"""A file of more extents has a tree of them."""

LINK_TARGET, DEVICE, XATTRS, LINK_GROUP, FLAGS, FILE_SYSTEM, WINDOWS, MACOS = range(1, 9)
"""Keys of what few entries have: the map `extras`."""


class LeafRun:
    """What a leaf holds of one directory, in columns of equal length.

    `contents` and `extras` are raw: use `LeafPage.entry`, `LeafPage.flags` or `LeafPage.contents_of`.
    """

    __slots__ = (
        "contents", "ctimes", "directory", "extras", "file_system", "inodes", "modes", "mtimes", "names",
        "owner_places", "sizes",
    )  # fmt: skip

    def __init__(self, row: list[Any]) -> None:
        self.directory: bytes = row[0]
        self.file_system: int = row[1]
        self.names: list[bytes] = row[2]
        self.modes: list[int] = row[3]
        self.sizes: list[int] = row[4]
        self.mtimes: list[int] = row[5]
        self.ctimes: list[int] = row[6]
        self.inodes: list[int] = row[7]
        self.owner_places: list[int] = row[8]
        self.contents: list[Any] = row[9]
        self.extras: dict[int, dict[int, Any]] = row[10]

    @classmethod
    def begin(cls, directory: bytes, file_system: int) -> LeafRun:
        """A run without entries, to be filled."""
        return cls([directory, file_system, [], [], [], [], [], [], [], [], {}])

    def row(self) -> tuple[Any, ...]:
        """As it stands in the page."""
        return (
            self.directory, self.file_system, self.names, self.modes, self.sizes, self.mtimes, self.ctimes,
            self.inodes, self.owner_places, self.contents, self.extras,
        )  # fmt: skip
