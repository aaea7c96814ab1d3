"""Sets owner, attributes, mode and times of what was restored: in this order, because each undoes a later
one.

Giving a file away clears its set-id bits and capabilities; an ACL changes the mode; all of them change the
times of nothing but must come before them all the same, since a file system may count them as a change.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Callable

from muniment.engine.ports import Metadata, Ownership
from muniment.model.entry import Owner

_SET_ID = stat.S_ISUID | stat.S_ISGID


class AttributeSetter:
    """What this process may set, and how. Remembers the ids of every owner met."""

    def __init__(self, ownership: Ownership) -> None:
        self._by_name = ownership is Ownership.BY_NAME
        self._uid = os.geteuid()
        self._gid = os.getegid()
        self._groups = {self._gid, *os.getgroups()}
        self._umask = _umask()
        self._ids: dict[Owner, tuple[int, int]] = {}
        self._last: tuple[Owner, tuple[int, int]] | None = None

    def creation_mode(self, metadata: Metadata) -> int:
        """Permissions to create a file with: the final ones, which spares a call for most files."""
        # Attributes can only be set on what its owner may write.
        return 0o600 if metadata.xattrs else metadata.mode & 0o777

    def set_file(self, fd: int, metadata: Metadata, *, created: int) -> list[str]:
        """Of a file this process just made with the mode `created`: spares what is right already."""
        mode = metadata.mode & 0o7777
        problems: list[str] = []
        ids = self._ids_of(metadata.owner)
        if ids != (self._uid, self._gid) and not self._give(
            ids, lambda uid, gid: os.chown(fd, uid, gid), problems
        ):
            mode = _without_power(mode, problems)
        if metadata.xattrs:
            _set_xattrs(fd, metadata, problems)
        if created & ~self._umask != mode or metadata.xattrs:
            _attempt(lambda: os.chmod(fd, mode), "mode", problems)
        times = metadata.mtime_ns
        try:
            os.utime(fd, ns=(times, times))
        except (OSError, OverflowError) as error:
            problems.append(f"times: {error}")
        return problems

    def set_directory(self, fd: int, metadata: Metadata) -> list[str]:
        problems: list[str] = []
        found = os.fstat(fd)
        ids = self._ids_of(metadata.owner)
        if ids != (found.st_uid, found.st_gid):
            self._give(ids, lambda uid, gid: os.chown(fd, uid, gid), problems)
        if metadata.xattrs:
            _set_xattrs(fd, metadata, problems)
        _attempt(lambda: os.chmod(fd, metadata.mode & 0o7777), "mode", problems)
        times = metadata.mtime_ns
        _attempt(lambda: os.utime(fd, ns=(times, times)), "times", problems)
        return problems

    def set_name(self, directory: int, name: bytes, metadata: Metadata) -> list[str]:
        """Of a link or special file, which is never opened; `directory` is open to this user alone."""
        problems: list[str] = []
        ids = self._ids_of(metadata.owner)
        if ids != (self._uid, self._gid):
            self._give(
                ids,
                lambda uid, gid: os.chown(name, uid, gid, dir_fd=directory, follow_symlinks=False),
                problems,
            )
        if metadata.xattrs:
            _set_xattrs(b"/proc/self/fd/%d/%s" % (directory, name), metadata, problems)
        if not stat.S_ISLNK(metadata.mode):
            _attempt(lambda: os.chmod(name, metadata.mode & 0o7777, dir_fd=directory), "mode", problems)
        times = metadata.mtime_ns
        _attempt(
            lambda: os.utime(name, ns=(times, times), dir_fd=directory, follow_symlinks=False),
            "times",
            problems,
        )
        return problems

    def _give(self, ids: tuple[int, int], give: Callable[[int, int], None], problems: list[str]) -> bool:
        """Whether it now belongs to `ids`; what stands in the way is added to `problems`."""
        before = len(problems)
        uid, gid = ids
        if self._uid and uid != self._uid:
            # Only root gives files away; a group that we belong to can still be set.
            problems.append(f"owner {uid}: only root can set it")
            uid = -1
        if self._uid and gid not in self._groups:
            problems.append(f"group {gid}: not a group of this user")
            gid = -1
        if uid != -1 or gid != -1:
            _attempt(lambda: give(uid, gid), f"owner {uid}:{gid}", problems)
        return len(problems) == before

    def _ids_of(self, owner: Owner) -> tuple[int, int]:
        last = self._last
        if last is not None and last[0] is owner:
            return last[1]
        ids = self._ids.get(owner)
        if ids is None:
            ids = self._ids[owner] = self._resolve(owner)
        self._last = (owner, ids)
        return ids

    def _resolve(self, owner: Owner) -> tuple[int, int]:
        uid, gid = owner.uid, owner.gid
        if self._by_name and owner.user:
            try:
                uid = pwd.getpwnam(os.fsdecode(owner.user)).pw_uid
            except (KeyError, ValueError):
                pass
        if self._by_name and owner.group:
            try:
                gid = grp.getgrnam(os.fsdecode(owner.group)).gr_gid
            except (KeyError, ValueError):
                pass
        return uid, gid


def _without_power(mode: int, problems: list[str]) -> int:
    """The mode without set-id bits: they were meant for another owner, and would lend out our own rights."""
    if mode & _SET_ID:
        problems.append("set-id bits: only together with the owner")
    return mode & ~_SET_ID


def _set_xattrs(where: int | bytes, metadata: Metadata, problems: list[str]) -> None:
    for name, value in metadata.xattrs:
        try:
            if isinstance(where, int):
                os.setxattr(where, name, value)
            else:
                os.setxattr(where, name, value, follow_symlinks=False)
        except (OSError, ValueError) as error:
            problems.append(f"attribute {name.decode(errors='backslashreplace')}: {_reason(error)}")


def _attempt(action: Callable[[], None], what: str, problems: list[str]) -> None:
    try:
        action()
    except (OSError, OverflowError) as error:
        problems.append(f"{what}: {_reason(error)}")


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _umask() -> int:
    """The permissions that this process withholds, without changing them for a moment as umask(2) would."""
    try:
        with open("/proc/self/status", "rb") as lines:
            for line in lines:
                if line.startswith(b"Umask:"):
                    return int(line.split()[1], 8)
    except OSError:
        pass
    return 0o777
