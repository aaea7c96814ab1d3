"""Compare a restored tree with its original: every byte, every attribute.

Shares no code with the engine on purpose, so that one mistake cannot hide another.
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

READ = 1 << 20


@dataclass(slots=True)
class Likeness:
    """What was compared (`content` in bytes), and every difference as (path, what differs).

    `missing` are the topmost originals that the restored tree lacks, a tagged cache with all its content as
    one. Whether they were left out on purpose, only the caller can know. `changed` originals are newer than
    the backup and were not compared; `unsure` of them are not in the restored tree.
    """

    files: int = 0
    directories: int = 0
    links: int = 0
    others: int = 0
    content: int = 0
    attributes: int = 0
    hard_link_groups: int = 0
    changed: list[bytes] = field(default_factory=list)
    unsure: int = 0
    missing: list[bytes] = field(default_factory=list)
    differences: list[tuple[bytes, str]] = field(default_factory=list)

    @property
    def entries(self) -> int:
        return self.files + self.directories + self.links + self.others


TAGS = {b"CACHEDIR.TAG", b".nobackup"}
"""A directory with one of these is restored empty."""


def compare_trees(original: Path, restored: Path, *, unchanged_since: int | None = None) -> Likeness:
    """Compare `restored` with `original`, both included.

    Originals whose status changed at or after `unchanged_since` (nanoseconds since the epoch) are told, not
    compared. Sockets are nobody's data and are passed over. Access times, change times and inode numbers
    cannot be restored by anyone and are not compared. Without root, owners and groups are compared only where
    they are ours to give.
    """
    likeness = Likeness()
    groups: tuple[dict[tuple[int, int], set[bytes]], ...] = (defaultdict(set), defaultdict(set))
    top, twin_top = os.fsencode(original), os.fsencode(restored)
    pending = [b"."]
    while pending:
        relative = pending.pop()
        path, twin = (os.path.normpath(os.path.join(root, relative)) for root in (top, twin_top))
        status = os.lstat(path)
        if stat.S_ISSOCK(status.st_mode):
            continue
        is_changed = unchanged_since is not None and status.st_ctime_ns >= unchanged_since
        if is_changed:
            likeness.changed.append(path)
            likeness.unsure += not os.path.lexists(twin)
        elif not os.path.lexists(twin):
            likeness.missing.append(path)
        else:
            _compare_entry(path, twin, likeness)
            for place, group in zip((path, twin), groups, strict=True):
                _note_hard_link(place, relative, group)
        if stat.S_ISDIR(status.st_mode) and os.path.isdir(twin):
            names = _names_to_compare(path, twin, likeness, is_changed=is_changed)
            pending += [os.path.join(relative, name) for name in names]
    before, after = ({frozenset(group) for group in side.values() if len(group) > 1} for side in groups)
    likeness.hard_link_groups = len(before)
    likeness.differences += [(min(group), "hard links differ") for group in before ^ after]
    return likeness


def _names_to_compare(path: bytes, twin: bytes, likeness: Likeness, *, is_changed: bool) -> list[bytes]:
    """The names in the directory `path`, once what only its twin has is noted."""
    names, theirs = set(os.listdir(path)), set(os.listdir(twin))
    if names & TAGS and not theirs:
        likeness.missing.append(path)
        return []
    if not is_changed:
        extra = sorted(theirs - names)
        likeness.differences += [(path, f"has {name!r} in the restored tree only") for name in extra]
    return sorted(names)


def _compare_entry(path: bytes, twin: bytes, likeness: Likeness) -> None:
    """Compare one entry with its restored twin; differences go into `likeness`."""
    ours, theirs = os.lstat(path), os.lstat(twin)
    wanted, got = _attributes(path, ours), _attributes(twin, theirs)
    not_ours = not_ours_to_give(ours)
    likeness.attributes += len(wanted.keys() - not_ours)
    for name in sorted((wanted.keys() | got.keys()) - not_ours):
        if wanted.get(name) != got.get(name):
            what = f"{name} differs: {wanted.get(name)!r} became {got.get(name)!r}"
            likeness.differences.append((path, what))
    if stat.S_ISREG(ours.st_mode):
        likeness.files += 1
        likeness.content += ours.st_size
        if stat.S_ISREG(theirs.st_mode) and not _same_content(path, twin):
            likeness.differences.append((path, "content differs"))
    elif stat.S_ISDIR(ours.st_mode):
        likeness.directories += 1
    elif stat.S_ISLNK(ours.st_mode):
        likeness.links += 1
    else:
        likeness.others += 1


def not_ours_to_give(status: os.stat_result) -> set[str]:
    """Of owner and group, what a restore by this user cannot set."""
    if os.geteuid() == 0:
        return set()
    is_owner = status.st_uid == os.geteuid()
    is_member = is_owner and status.st_gid in {os.getegid(), *os.getgroups()}
    return ({"uid"} if not is_owner else set()) | ({"gid"} if not is_member else set())


def _attributes(path: bytes, status: os.stat_result) -> dict[str, object]:
    """What a restore owes this entry, by name."""
    found: dict[str, object] = {
        "type": stat.S_IFMT(status.st_mode),
        "mode": stat.S_IMODE(status.st_mode),
        "mtime_ns": status.st_mtime_ns,
    }
    found |= {"uid": status.st_uid, "gid": status.st_gid}
    if stat.S_ISREG(status.st_mode):
        found["size"] = status.st_size
    if stat.S_ISLNK(status.st_mode):
        found["target"] = os.readlink(path)
    if stat.S_ISBLK(status.st_mode) or stat.S_ISCHR(status.st_mode):
        found["device"] = status.st_rdev
    for name in os.listxattr(path, follow_symlinks=False):
        # Labels of the running system belong to the place, not to the file.
        if name != "security.selinux":
            found[f"attribute {name}"] = os.getxattr(path, name, follow_symlinks=False)
    return found


def _same_content(path: bytes, twin: bytes) -> bool:
    with open(path, "rb", buffering=0) as one, open(twin, "rb", buffering=0) as other:
        return all(ours == theirs for ours, theirs in _paired_reads(one, other))


def _paired_reads(one: BinaryIO, other: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    while True:
        ours, theirs = one.read(READ), other.read(READ)
        yield ours, theirs
        if not ours or not theirs:
            return


def _note_hard_link(path: bytes, relative: bytes, groups: dict[tuple[int, int], set[bytes]]) -> None:
    status = os.lstat(path)
    if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
        groups[status.st_dev, status.st_ino].add(relative)
