"""Compares two directory trees, entry by entry, with nothing but system calls: the judge of every restore.

Independent of Muniment on purpose. Works with descriptors, so paths may be longer than PATH_MAX.
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from dataclasses import dataclass, field

_PIECE = 1 << 20


@dataclass
class Leniency:
    """What two trees may differ in."""

    set_id: bool = False
    owners: bool = False
    missing: frozenset[int] = frozenset()
    """File types (S_IF…) that the copy may lack."""
    directory_times: bool = False


@dataclass
class _Links:
    """Names by inode, on each side."""

    left: dict[int, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    right: dict[int, list[bytes]] = field(default_factory=lambda: defaultdict(list))


def differences(original: bytes, copy: bytes, *, allow: Leniency | None = None) -> list[str]:
    """What of `original` is not in `copy` as it was, or is there besides; [] when all is the same."""
    allow = allow or Leniency()
    found: list[str] = []
    links = _Links()
    waiting = [b""]
    left_root = os.open(original, os.O_RDONLY | os.O_DIRECTORY)
    right_root = os.open(copy, os.O_RDONLY | os.O_DIRECTORY)
    try:
        while waiting:
            path = waiting.pop()
            left, right = _open(left_root, path), _open(right_root, path)
            try:
                waiting += _compare_directories(left, right, path, allow, links, found)
            finally:
                os.close(left)
                os.close(right)
    finally:
        os.close(left_root)
        os.close(right_root)
    if sorted(map(sorted, links.left.values())) != sorted(map(sorted, links.right.values())):
        found.append("hard links join other names")
    return found


def _open(root: int, path: bytes) -> int:
    fd = os.dup(root)
    for part in path.split(b"/") if path else []:
        deeper = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
        os.close(fd)
        fd = deeper
    return fd


def _compare_directories(
    left: int, right: int, path: bytes, allow: Leniency, links: _Links, found: list[str]
) -> list[bytes]:
    names = set(map(os.fsencode, os.listdir(left)))
    copied = set(map(os.fsencode, os.listdir(right)))
    found += [f"{path + b'/' + name!r} is new" for name in sorted(copied - names)]
    deeper = []
    for name in sorted(names):
        where = path + b"/" + name if path else name
        before = os.stat(name, dir_fd=left, follow_symlinks=False)
        if name not in copied:
            if stat.S_IFMT(before.st_mode) not in allow.missing:
                found.append(f"{where!r} is missing")
            continue
        after = os.stat(name, dir_fd=right, follow_symlinks=False)
        problems = _compare_stats(before, after, allow)
        if not problems:
            problems += _compare_content(left, right, name, before, after)
        found += [f"{where!r}: {problem}" for problem in problems]
        if stat.S_ISDIR(before.st_mode) and stat.S_ISDIR(after.st_mode):
            deeper.append(where)
        elif before.st_nlink > 1 or after.st_nlink > 1:
            links.left[before.st_ino].append(where)
            links.right[after.st_ino].append(where)
    return deeper


def _compare_stats(before: os.stat_result, after: os.stat_result, allow: Leniency) -> list[str]:
    problems = []
    mode, kept = before.st_mode, after.st_mode
    if allow.set_id and not stat.S_ISDIR(mode):
        mode, kept = mode & ~0o6000, kept & ~0o6000
    if mode != kept:
        problems.append(f"mode {mode:o} became {kept:o}")
    if not allow.owners and (before.st_uid, before.st_gid) != (after.st_uid, after.st_gid):
        problems.append(f"owner {before.st_uid}:{before.st_gid} became {after.st_uid}:{after.st_gid}")
    if before.st_mtime_ns != after.st_mtime_ns and not (allow.directory_times and stat.S_ISDIR(mode)):
        problems.append(f"time {before.st_mtime_ns} became {after.st_mtime_ns}")
    if not stat.S_ISDIR(mode) and before.st_size != after.st_size:
        problems.append(f"size {before.st_size} became {after.st_size}")
    if before.st_rdev != after.st_rdev:
        problems.append("another device")
    return problems


def _compare_content(
    left: int, right: int, name: bytes, before: os.stat_result, after: os.stat_result
) -> list[str]:
    problems = []
    if stat.S_ISLNK(before.st_mode):
        if os.readlink(name, dir_fd=left) != os.readlink(name, dir_fd=right):
            problems.append("another link target")
    elif stat.S_ISREG(before.st_mode):
        if not _same_bytes(left, right, name):
            problems.append("other content")
        is_sparse = before.st_blocks * 512 < before.st_size
        if is_sparse and after.st_blocks * 512 > before.st_blocks * 512 + before.st_size // 8:
            problems.append(f"holes are filled: {before.st_blocks} blocks became {after.st_blocks}")
    if _xattrs(left, name) != _xattrs(right, name):
        problems.append("other extended attributes")
    return problems


def _same_bytes(left: int, right: int, name: bytes) -> bool:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    with (
        os.fdopen(os.open(name, flags, dir_fd=left), "rb") as one,
        os.fdopen(os.open(name, flags, dir_fd=right), "rb") as other,
    ):
        while True:
            piece = one.read(_PIECE)
            if piece != other.read(_PIECE):
                return False
            if not piece:
                return True


def _xattrs(directory: int, name: bytes) -> dict[str, bytes]:
    path = b"/proc/self/fd/%d/%s" % (directory, name)
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return {}
    return {key: os.getxattr(path, key, follow_symlinks=False) for key in names}


def snapshot_of(path: bytes) -> dict[bytes, tuple[object, ...]]:
    """Everything below a directory that a stray write would change, access times apart."""
    found: dict[bytes, tuple[object, ...]] = {}
    waiting = [path]
    while waiting:
        here = waiting.pop()
        for entry in os.scandir(here):
            status = entry.stat(follow_symlinks=False)
            content: bytes | None = None
            if entry.is_symlink():
                content = os.readlink(entry.path)
            elif entry.is_file(follow_symlinks=False):
                with open(entry.path, "rb") as file:
                    content = file.read()
            elif entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            found[entry.path] = (
                status.st_mode, status.st_uid, status.st_gid, status.st_size, status.st_mtime_ns,
                status.st_ctime_ns, status.st_nlink, status.st_ino, content,
            )  # fmt: skip
    return found
