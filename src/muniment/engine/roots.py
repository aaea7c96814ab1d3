"""The roots of a backup set: merged into one tree, how far they reach, which file systems they lie on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from muniment.engine.ports import SourceDisk
from muniment.model.snapshot import FileSystemNote


class MountRule(Enum):
    """Whether the walk enters a file system mounted under a root."""

    CROSS = "cross"
    STAY = "stay"


class Trust(Enum):
    """Whether ctime and inode of a root's file system tell anything (not so on most network ones)."""

    FULL = "full"
    SIZE_AND_MTIME = "size and mtime"


@dataclass(slots=True)
class RootNode:
    """A place in the trie of roots. `whole`: a root, so all below belongs to the set."""

    children: dict[bytes, RootNode] = field(default_factory=dict)
    whole: bool = False
    trust: Trust = Trust.FULL


def plant_roots(roots: Sequence[bytes], network_roots: Sequence[bytes] = ()) -> RootNode:
    """The trie of `roots` (absolute paths). A root in `network_roots` is not trusted with ctime and inode."""
    top = RootNode()
    untrusted = {_parts(root) for root in network_roots}
    for root in roots:
        node = top
        for part in _parts(root):
            node = node.children.setdefault(part, RootNode())
        node.whole = True
        node.trust = Trust.SIZE_AND_MTIME if _parts(root) in untrusted else Trust.FULL
    return top


def _parts(path: bytes) -> tuple[bytes, ...]:
    return tuple(part for part in path.split(b"/") if part and part != b".")


class FileSystems:
    """Ordinals of the file systems met: those that the parent snapshot gave, by mount point, are kept."""

    def __init__(self, disk: SourceDisk, *, known: Sequence[FileSystemNote] = ()) -> None:
        self._disk = disk
        self._known = {note.mount_point: note for note in known}
        self._next = max((note.ordinal for note in known), default=-1) + 1
        self._ordinals: dict[int, int] = {}
        self._notes: dict[int, FileSystemNote] = {}

    def ordinal(self, device: int, *, path: bytes, trust: Trust) -> int:
        found = self._ordinals.get(device)
        if found is None:
            point, kind = self._disk.mount_of(device, path.rstrip(b"/") or b"/")
            before = self._known.pop(point, None)
            found = self._next if before is None else before.ordinal
            self._next += before is None
            self._ordinals[device] = found
            self._notes[found] = FileSystemNote(
                ordinal=found, mount_point=point, kind=kind, trust_inode=trust is Trust.FULL
            )
        return found

    def notes(self) -> tuple[FileSystemNote, ...]:
        """What heads say of them, with those of the parent that its kept entries may still name."""
        kept = {note.ordinal: note for note in self._known.values()}
        return tuple(note for _, note in sorted((kept | self._notes).items()))
