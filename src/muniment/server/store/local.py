"""Objects as local files: temporary file, fsync, create-only link, fsync of the directory."""

from __future__ import annotations

import errno
import os
import re
import secrets
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from muniment.server.store.port import (
    ObjectExists,
    ObjectMissing,
    StorageFailed,
    StorageFull,
    StoredObject,
)

_KEY = re.compile(r"[0-9a-z]+(?:/[0-9a-z]+)*")
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_INCOMING = ".incoming"
_TRIES = 5
_MAX_PIECES = min(os.sysconf("SC_IOV_MAX"), 1024)


@contextmanager
def _named_failures() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StorageFull from error
        raise StorageFailed(errno.errorcode.get(error.errno or 0, "unknown")) from error


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_directory(path: str) -> None:
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
            raise


class LocalObjects:
    """An ObjectStore below one directory. One process writes there (the data directory is locked).

    `reserve`: bytes of the disk, at most a twentieth of it, that `begin` leaves alone. Whoever fills a disk
    with packs so keeps nobody from a restore, which writes rows, nor from a commit or from revoking him.
    """

    def __init__(self, root: Path, *, reserve: int = 0) -> None:
        self._root = root
        self._reserve = reserve
        self._incoming = root / _INCOMING
        self._made: set[Path] = set()
        self._making = threading.Lock()
        self._make(self._incoming)

    def clear_incoming(self) -> None:
        """Remove what a killed process left half-written. Only for the holder of the data lock."""
        for leftover in self._incoming.iterdir():
            leftover.unlink()

    def begin(self, key: str, *, size: int, spare_reserve: bool = True) -> LocalWriter:
        if spare_reserve:
            self._check_reserve(size)
        target = self._path(key)
        with _named_failures():
            return LocalWriter(self, target, self._incoming / secrets.token_hex(16), size=size)

    def _check_reserve(self, size: int) -> None:
        with _named_failures():
            disk = os.statvfs(self._root)
        reserve = min(self._reserve, disk.f_blocks * disk.f_frsize // 20)
        if reserve and disk.f_bavail * disk.f_frsize - size < reserve:
            raise StorageFull

    def put(self, key: str, content: bytes) -> None:
        writer = self.begin(key, size=len(content), spare_reserve=False)
        try:
            writer.write([content])
            writer.publish()
        finally:
            writer.discard()

    def sync(self, key: str) -> None:
        path = self._path(key)
        try:
            with _named_failures():
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                self._make(path.parent)
                _sync_directory(path.parent)
        except StorageFailed as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise ObjectMissing(key) from error
            raise

    def open(self, key: str) -> LocalReader:
        try:
            descriptor = os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError as error:
            raise ObjectMissing(key) from error
        except OSError as error:
            raise StorageFailed(errno.errorcode.get(error.errno or 0, "unknown")) from error
        return LocalReader(descriptor)

    def delete(self, key: str) -> None:
        path = self._path(key)
        with _named_failures():
            try:
                path.unlink()
            except FileNotFoundError:
                return
            _sync_directory(path.parent)

    def delete_all(self, keys: Iterable[str]) -> None:
        folders = set()
        with _named_failures():
            for path in map(self._path, keys):
                with suppress(FileNotFoundError):
                    path.unlink()
                    folders.add(path.parent)
            for folder in folders:
                _sync_directory(folder)

    def remove_all(self, folder: str) -> int:
        top, removed = self._path(folder), 0
        if not top.exists():
            return removed
        with _named_failures(), self._making:
            # Whoever writes there meanwhile makes the directory anew, or keeps it by being first.
            self._made -= {path for path in self._made if path == top or top in path.parents}
            for directory, _, files in os.walk(top, topdown=False):
                for name in files:
                    with suppress(FileNotFoundError):
                        os.unlink(os.path.join(directory, name))
                        removed += 1
                _remove_directory(directory)
            _sync_directory(next(path for path in top.parents if path.is_dir()))
        return removed

    def list(self, prefix: str) -> Iterator[StoredObject]:
        # Not the whole store where the prefix names a directory.
        top = self._root / prefix.rpartition("/")[0]
        for directory, names, files in os.walk(top):
            names[:] = sorted(name for name in names if name != _INCOMING)
            for name in sorted(files):
                path = Path(directory, name)
                key = path.relative_to(self._root).as_posix()
                if key.startswith(prefix):
                    with suppress(FileNotFoundError):
                        yield StoredObject(key, path.stat().st_size)

    def probe(self) -> None:
        self._check_reserve(0)
        path = self._incoming / f"probe{secrets.token_hex(8)}"
        with _named_failures():
            try:
                path.write_bytes(bytes(4096))
            finally:
                path.unlink(missing_ok=True)

    def make_directory_of(self, target: Path) -> None:
        self._make(target.parent)

    def forget_directory_of(self, target: Path) -> None:
        """Look again whether it is there, and whether those above it are."""
        with self._making:
            self._made -= set(target.parents) - set(self._root.parents) - {self._root}

    def _make(self, directory: Path) -> None:
        """Make a directory whose own name survives a power cut, its parents too.

        One that is there already is synced all the same when it is first met: whoever made it may have been
        killed before it was.
        """
        if directory in self._made:
            return
        with self._making:
            within = [directory, *directory.parents]
            for part in reversed(within[: within.index(self._root) + 1]):
                if part not in self._made:
                    part.mkdir(mode=0o700, exist_ok=True)
                    _sync_directory(part.parent)
                    self._made.add(part)

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError("not a key of this store")
        return self._root / key


class LocalWriter:
    def __init__(self, store: LocalObjects, target: Path, temporary: Path, *, size: int) -> None:
        self._store, self._target, self._temporary = store, target, temporary
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(temporary, flags, 0o600)
        if size:
            try:
                # One extent where the file system can, and no late surprise about room.
                os.posix_fallocate(self._descriptor, 0, size)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    self.discard()
                    raise
        self._written = 0

    def write(self, pieces: Sequence[bytes]) -> None:
        with _named_failures():
            for start in range(0, len(pieces), _MAX_PIECES):
                self._write_all(pieces[start : start + _MAX_PIECES])

    def _write_all(self, pieces: Sequence[bytes]) -> None:
        left = sum(len(piece) for piece in pieces)
        done = os.writev(self._descriptor, pieces)
        self._written += done
        if done < left:  # a signal, or the disk nearly full: go on byte by byte exactly
            rest = memoryview(b"".join(pieces))[done:]
            while rest:
                done = os.write(self._descriptor, rest)
                self._written += done
                rest = rest[done:]

    def publish(self) -> None:
        with _named_failures():
            os.ftruncate(self._descriptor, self._written)
            os.fsync(self._descriptor)
            for _ in range(_TRIES - 1):
                # Its directory may go between being made and being used: see `remove_all`.
                with suppress(FileNotFoundError):
                    self._link()
                    break
                self._store.forget_directory_of(self._target)
            else:
                self._link()
        self.discard()

    def _link(self) -> None:
        self._store.make_directory_of(self._target)
        try:
            os.link(self._temporary, self._target)
        except FileExistsError as error:
            raise ObjectExists from error
        _sync_directory(self._target.parent)

    def discard(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            with suppress(OSError):
                self._temporary.unlink()


class LocalReader:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def read(self, *, offset: int, length: int) -> bytes:
        with _named_failures():
            return os.pread(self._descriptor, length, offset)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
