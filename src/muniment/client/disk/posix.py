"""The machine being backed up: a POSIX file system read through descriptors.

Every name is looked up relative to an open directory and no link is followed, so a directory swapped for a
link between two steps leads nowhere, and a path may be longer than PATH_MAX. Extended attributes of things
that cannot be opened (links, devices, FIFOs) are read through `/proc/self/fd`.

beside       another call on the same object        `close`
any method   safe: descriptors, no shared state     the caller's duty: never while a call is under way
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from operator import attrgetter, methodcaller

from muniment.engine.ports import FileStat
from muniment.model.entry import Owner

_READ_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
# A FIFO put where a file was must not block the run until somebody writes into it.
_READ_FILE |= os.O_NONBLOCK
_READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NO_ATIME: int = getattr(os, "O_NOATIME", 0)
_PATH_SEGMENT = 2048
"""Paths are opened in steps of at most this many bytes (PATH_MAX is 4096)."""

_TYPE, _DIRECTORY = 0o170000, stat.S_IFDIR
_NO_XATTRS = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENODATA, errno.ENOSYS})

_columns = attrgetter(
    "st_mode", "st_size", "st_mtime_ns", "st_ctime_ns", "st_ino", "st_dev", "st_nlink", "st_uid", "st_gid",
    "st_rdev", "st_blocks",
)  # fmt: skip
_same = attrgetter("st_mode", "st_size", "st_mtime_ns", "st_ctime_ns", "st_ino", "st_dev")
"""What of a file must be as it was before it was read: the first of `FileStat`'s fields."""
_to_stat = partial(tuple.__new__, FileStat)
_encode_name = methodcaller("encode", sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())


def stat_of(result: os.stat_result) -> FileStat:
    return _to_stat(_columns(result))


class PosixFile:
    """A file open for reading. That it is a regular one, `stat` tells: names get swapped."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read_into(self, buffer: memoryview, *, offset: int) -> int:
        return os.preadv(self._fd, [buffer], offset)

    def data_ranges(self, size: int) -> Iterator[tuple[int, int]]:
        at = 0
        while at < size:
            try:
                start = os.lseek(self._fd, at, os.SEEK_DATA)
                end = os.lseek(self._fd, start, os.SEEK_HOLE)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                    return
                if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                    raise
                start, end = at, size
            end = min(end, size)
            if start >= end:
                return
            yield start, end - start
            at = end

    def stat(self) -> FileStat:
        return _to_stat(_columns(os.fstat(self._fd)))

    def xattrs(self) -> list[tuple[bytes, bytes]]:
        return _read_xattrs(self._fd)

    def close(self) -> None:
        os.close(self._fd)


_READ_AHEAD = 64
"""Small files that are open at once while the disk fetches them."""


class PosixDirectory:
    """An open directory."""

    __slots__ = ("_fd", "_noatime")

    def __init__(self, fd: int, *, noatime: int = _NO_ATIME) -> None:
        self._fd = fd
        self._noatime = noatime

    def names(self) -> list[bytes]:
        # Not `listdir`: of a million names it would hold both the texts and the bytes.
        with os.scandir(self._fd) as listed:
            return [_encode_name(entry.name) for entry in listed]

    def stat(self, name: bytes) -> FileStat:
        return _to_stat(_columns(os.stat(name, dir_fd=self._fd, follow_symlinks=False)))

    def stats(self, names: Sequence[bytes]) -> list[FileStat | OSError]:
        lstat, fd, columns, make = os.stat, self._fd, _columns, _to_stat
        try:
            return [make(columns(lstat(name, dir_fd=fd, follow_symlinks=False))) for name in names]
        except OSError:
            return [self._stat_or_error(name) for name in names]

    def _stat_or_error(self, name: bytes) -> FileStat | OSError:
        try:
            return self.stat(name)
        except OSError as error:
            return error

    def stat_self(self) -> FileStat:
        return stat_of(os.fstat(self._fd))

    def open_file(self, name: bytes) -> PosixFile:
        return PosixFile(self._open(name, _READ_FILE))

    def read_unchanged(self, names: Sequence[bytes], found: Sequence[FileStat], into: memoryview) -> int:
        # One loop, with few calls of our own: of a first backup's time much goes into Python around these
        # few system calls.
        readv, fstat, same, here = os.readv, os.fstat, _same, self._fd
        at = count = 0
        for start in range(0, len(names), _READ_AHEAD):
            stop = start + _READ_AHEAD
            opened = self._open_ahead(names[start:stop], found[start:stop])
            try:
                for fd, name, before in zip(opened, names[start:stop], found[start:stop], strict=False):
                    if fd is None:
                        if _has_xattrs(b"/proc/self/fd/%d/%s" % (here, name)):
                            return count
                    else:
                        size = before[1]
                        if size and readv(fd, (into[at : at + size],)) != size:
                            return count
                        if same(fstat(fd)) != before[:6] or _has_xattrs(fd):
                            return count
                        at += size
                    count += 1
            except OSError:
                return count  # whoever reads this one by itself meets the error again, and tells of it
            finally:
                for fd in filter(None, opened):
                    os.close(fd)
            if count < min(stop, len(names)):
                return count
        return count

    def _open_ahead(self, names: Sequence[bytes], found: Sequence[FileStat]) -> list[int | None]:
        """Descriptors of the names up to the first that cannot be opened; None for directories.

        The disk is asked for all that is in them before the first is read: waiting for one small file after
        the other takes most of the time where nothing is in memory yet.
        """
        advise, ahead = os.posix_fadvise, os.POSIX_FADV_WILLNEED
        opened: list[int | None] = []
        try:
            for name, before in zip(names, found, strict=True):
                if before[0] & _TYPE == _DIRECTORY:
                    opened.append(None)
                    continue
                fd = self._open(name, _READ_FILE)
                opened.append(fd)
                if before[1]:
                    advise(fd, 0, before[1], ahead)
        except OSError:
            pass  # the same error awaits whoever reads this one by itself
        return opened

    def open_directory(self, name: bytes) -> PosixDirectory:
        return PosixDirectory(self._open(name, _READ_DIRECTORY | os.O_NOFOLLOW), noatime=self._noatime)

    def _open(self, name: bytes, flags: int) -> int:
        if self._noatime:
            try:
                return os.open(name, flags | self._noatime, dir_fd=self._fd)
            except PermissionError as error:
                # O_NOATIME is for the owner and for root; a directory's files mostly have one owner, so
                # from here on this directory is read without it.
                if error.errno != errno.EPERM:
                    raise
                self._noatime = 0
        return os.open(name, flags, dir_fd=self._fd)

    def read_link(self, name: bytes) -> bytes:
        return os.readlink(name, dir_fd=self._fd)

    def xattrs(self, name: bytes) -> list[tuple[bytes, bytes]]:
        return _read_xattrs(b"/proc/self/fd/%d/%s" % (self._fd, name))

    def close(self) -> None:
        os.close(self._fd)


class PosixDisk:
    """This machine's file systems, for backing up."""

    def __init__(self) -> None:
        self._owners: dict[tuple[int, int], Owner] = {}
        self._mounts: dict[int, list[tuple[bytes, str]]] = {}

    def open_root(self, path: bytes) -> PosixDirectory:
        return PosixDirectory(open_long_path(path))

    def owner(self, uid: int, gid: int) -> Owner:
        known = self._owners.get((uid, gid))
        if known is None:
            known = Owner(uid=uid, gid=gid, user=_user_name(uid), group=_group_name(gid))
            self._owners[uid, gid] = known
        return known

    def mount_of(self, device: int, path: bytes) -> tuple[bytes, str]:
        """As the port says; (b"/", "unknown") where the kernel tells nothing of its mounts."""
        if device not in self._mounts:
            # Read anew for every device not met before: an automounter may just have added it.
            self._mounts = _read_mounts()
        above = [m for m in self._mounts.get(device, ()) if _is_under(path, m[0])]
        if not above:
            # A btrfs subvolume has a device number that mountinfo does not show.
            above = [m for mounts in self._mounts.values() for m in mounts if _is_under(path, m[0])]
        return max(above, key=lambda mount: len(mount[0]), default=(b"/", "unknown"))


def open_long_path(path: bytes) -> int:
    """A descriptor of the directory at `path`, which may be longer than PATH_MAX. Links are followed."""
    fd = os.open(b"/" if path.startswith(b"/") else b".", _READ_DIRECTORY)
    segment = b""
    try:
        for part in [*(part for part in path.split(b"/") if part), b"."]:
            if (segment and len(segment) + len(part) >= _PATH_SEGMENT) or part == b".":
                closing, fd = fd, os.open(segment or b".", _READ_DIRECTORY, dir_fd=fd)
                os.close(closing)
                segment = b""
            segment = segment + b"/" + part if segment else part
    except OSError:
        os.close(fd)
        raise
    return fd


def _has_xattrs(where: int | bytes) -> bool:
    try:
        return bool(os.listxattr(where, follow_symlinks=isinstance(where, int)))
    except OSError as error:
        if error.errno in _NO_XATTRS:
            return False
        raise


def _read_xattrs(where: int | bytes) -> list[tuple[bytes, bytes]]:
    try:
        names = os.listxattr(where) if isinstance(where, int) else os.listxattr(where, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_XATTRS:
            return []
        raise
    if not names:
        return []
    found = []
    for name in names:
        try:
            if isinstance(where, int):
                value = os.getxattr(where, name)
            else:
                value = os.getxattr(where, name, follow_symlinks=False)
        except OSError as error:
            # Removed since it was listed, or of a namespace that only its own file system reads.
            if error.errno in _NO_XATTRS:
                continue
            raise
        found.append((os.fsencode(name), value))
    return sorted(found)


def _user_name(uid: int) -> bytes:
    try:
        return os.fsencode(pwd.getpwuid(uid).pw_name)
    except (KeyError, OverflowError):
        return b""


def _group_name(gid: int) -> bytes:
    try:
        return os.fsencode(grp.getgrgid(gid).gr_name)
    except (KeyError, OverflowError):
        return b""


def _is_under(path: bytes, mount: bytes) -> bool:
    return path == mount or path.startswith(mount if mount.endswith(b"/") else mount + b"/")


def _read_mounts() -> dict[int, list[tuple[bytes, str]]]:
    """Mount points and types by device, from mountinfo (proc(5): fields before and after the lone dash)."""
    mounts: dict[int, list[tuple[bytes, str]]] = {}
    try:
        with open("/proc/self/mountinfo", "rb") as lines:
            table = [line.split() for line in lines]
    except OSError:
        return mounts
    for fields in table:
        major, minor = fields[2].split(b":")
        dash = fields.index(b"-", 6)
        point = fields[4]
        for escaped, plain in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
            point = point.replace(escaped, plain)
        device = os.makedev(int(major), int(minor))
        mounts.setdefault(device, []).append((point, fields[dash + 1].decode("ascii", "replace")))
    return mounts
