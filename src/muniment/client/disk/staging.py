"""Where restored things wait, out of sight, until their content is safe on the disk.

A staging directory lies inside the target, on the file system it stages for, and only this user can enter it:
whatever is made in there can be reached by nobody else before one rename puts it into its place.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import secrets
import stat
import threading

from muniment.engine.ports import Placement
from muniment.model.errors import TargetFull

PREFIX = b".muniment-restore-"
_OURS = re.compile(re.escape(PREFIX) + rb"[0-9a-f]{16}")
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_RENAME_NOREPLACE = 1
_FULL = {
    errno.ENOSPC: "has no room left",
    errno.EDQUOT: "is at its quota",
    errno.EROFS: "is mounted read-only",
    errno.EIO: "failed to write",
}
_libc = ctypes.CDLL(None, use_errno=True)


def target_failure(error: OSError) -> TargetFull | None:
    """What stops the whole restore; None where only one object is concerned."""
    why = _FULL.get(error.errno or 0)
    if why is None:
        return None
    return TargetFull(
        f"the target {why} ({error.strerror})",
        advice="What is complete stays. Make room or choose another target, and restore again.",
    )


def sync_file_system(fd: int) -> None:
    """Everything written to the file system of `fd`, on disk. TargetFull when that cannot be said."""
    syncfs = getattr(_libc, "syncfs", None)
    if syncfs is None:
        os.sync()
    elif syncfs(fd):
        code = ctypes.get_errno()
        raise TargetFull(
            f"the target failed to keep what was written ({os.strerror(code)})",
            advice="Check the disk of the target; what was restored before is complete.",
        )


class EarlySync:
    """Begins to bring a batch to the disk while it is still being written, so that little is left at its end.

    Errors are left for the sync at the end to tell: the kernel tells each descriptor of a failure once, and
    the one used here is its own.
    """

    def __init__(self, directory: int) -> None:
        self._fd = os.open(b".", _OPEN, dir_fd=directory)
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Unless one is under way."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._sync, name="early-sync", daemon=True)
            self._thread.start()

    def _sync(self) -> None:
        with contextlib.suppress(TargetFull):
            sync_file_system(self._fd)

    def close(self) -> None:
        if self._thread is not None:
            self._thread.join()
        os.close(self._fd)


class Staging:
    """One staging directory; numbers serve as names in it."""

    def __init__(self, parent: int) -> None:
        """Inside the directory `parent`, which is duplicated."""
        self._parent = os.dup(parent)
        self._name = PREFIX + secrets.token_hex(8).encode()
        self._count = 0
        try:
            os.mkdir(self._name, 0o700, dir_fd=self._parent)
            self.fd = os.open(self._name, _OPEN, dir_fd=self._parent)
        except BaseException:
            os.close(self._parent)
            raise
        # Held as long as we live: what a killed restore left behind is known by nobody holding it.
        fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The target may hand down a group, or rights for others, to what is made in it.
        os.fchmod(self.fd, 0o700)
        for attribute in (b"system.posix_acl_default", b"system.posix_acl_access"):
            with contextlib.suppress(OSError):
                os.removexattr(self.fd, attribute)
        self.device = os.fstat(self.fd).st_dev
        self.early = EarlySync(self.fd)

    def next_name(self) -> bytes:
        self._count += 1
        return b"%d" % self._count

    def place(self, staged: bytes, *, directory: int, name: bytes, placement: Placement) -> None:
        """Rename into place; FileExistsError where that would replace what must stay."""
        try:
            if placement is Placement.ADD:
                _rename_new(staged, name, source=self.fd, target=directory)
            else:
                os.rename(staged, name, src_dir_fd=self.fd, dst_dir_fd=directory)
        except (IsADirectoryError, NotADirectoryError):
            # What is in the way is of another kind, which no rename replaces.
            if placement is Placement.ADD:
                raise
            _remove(name, directory)
            _rename_new(staged, name, source=self.fd, target=directory)

    def drop_if_empty(self) -> bool:
        """Whether it is gone. Its descriptor is closed then."""
        try:
            os.rmdir(self._name, dir_fd=self._parent)
        except OSError:
            return False
        self._close()
        return True

    def drop(self) -> None:
        """Remove it with all that was staged and never placed."""
        with contextlib.suppress(OSError):
            _empty(self.fd)
        if not self.drop_if_empty():
            self._close()

    def _close(self) -> None:
        self.early.close()
        os.close(self.fd)
        os.close(self._parent)


def sweep_leftovers(directory: int) -> None:
    """Remove the staging directories that restores killed earlier left in this directory."""
    for entry in os.listdir(directory):
        name = os.fsencode(entry)
        if not _OURS.fullmatch(name):
            continue
        with contextlib.suppress(OSError):
            fd = os.open(name, _OPEN, dir_fd=directory)
            try:
                found = os.fstat(fd)
                if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == 0o700:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _empty(fd)
                    os.rmdir(name, dir_fd=directory)
            finally:
                os.close(fd)


def _empty(top: int) -> None:
    """Remove everything below `top`. Subdirectories move up first: depth costs no stack, no fds."""
    waiting = [os.fsencode(name) for name in os.listdir(top)]
    moved = 0
    raised_by = secrets.token_hex(8).encode()
    while waiting:
        name = waiting.pop()
        if not stat.S_ISDIR(os.stat(name, dir_fd=top, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=top)
            continue
        fd = os.open(name, _OPEN, dir_fd=top)
        try:
            for child in map(os.fsencode, os.listdir(fd)):
                if stat.S_ISDIR(os.stat(child, dir_fd=fd, follow_symlinks=False).st_mode):
                    moved += 1
                    raised = b"%b-%d" % (raised_by, moved)
                    os.rename(child, raised, src_dir_fd=fd, dst_dir_fd=top)
                    waiting.append(raised)
                else:
                    os.unlink(child, dir_fd=fd)
        finally:
            os.close(fd)
        os.rmdir(name, dir_fd=top)


def _remove(name: bytes, directory: int) -> None:
    if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
        os.rmdir(name, dir_fd=directory)
    else:
        os.unlink(name, dir_fd=directory)


def _rename_new(staged: bytes, name: bytes, *, source: int, target: int) -> None:
    """Rename unless something has the name."""
    rename = getattr(_libc, "renameat2", None)
    code = errno.ENOSYS
    if rename is not None:
        if not rename(source, staged, target, name, _RENAME_NOREPLACE):
            return
        code = ctypes.get_errno()
    if code not in {errno.ENOSYS, errno.EINVAL}:
        raise OSError(code, os.strerror(code))
    # A file system without the flag: a link refuses just as well; a directory only replaces an empty one.
    if stat.S_ISDIR(os.stat(staged, dir_fd=source, follow_symlinks=False).st_mode):
        os.rename(staged, name, src_dir_fd=source, dst_dir_fd=target)
        return
    try:
        os.link(staged, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:
        # No links either (FAT): looking first is the best there is.
        with contextlib.suppress(FileNotFoundError):
            os.stat(name, dir_fd=target, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        os.rename(staged, name, src_dir_fd=source, dst_dir_fd=target)
        return
    os.unlink(staged, dir_fd=source)
