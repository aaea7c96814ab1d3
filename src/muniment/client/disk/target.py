"""The restore target: nothing done through it can leave it, and nothing appears in it by halves.

Names are looked up relative to open directories and no link is followed on the way, so neither a hostile
tree nor somebody who swaps directories meanwhile leads a write elsewhere. What is put into a directory that
was there before waits in a staging directory. A directory that did not exist is made in the staging directory
itself and filled there under its final names: one rename then publishes all of it, which spares a rename for
each file and keeps files of one directory close together on the disk.

One thread at a time; a directory is valid until the next one is asked for.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from muniment.client.disk.attributes import AttributeSetter
from muniment.client.disk.posix import open_long_path, stat_of
from muniment.client.disk.staging import Staging, sweep_leftovers, sync_file_system, target_failure
from muniment.engine.ports import FileStat, Metadata, Ownership, Placement
from muniment.model.errors import TargetFull, UnsafePath

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_OPEN = 64
"""Directories held open on the way down; above that the ones in the middle are opened again when needed."""

_EARLY_SYNC = 256 << 20
"""Bytes after which the disk is told to begin."""

_EXISTED = -1


@dataclass(slots=True)
class _Staged:
    """Something that waits in `staging` as `name` for its place."""

    staging: Staging
    name: bytes
    placement: Placement


class PosixTarget:
    """A directory to restore into, made where missing."""

    def __init__(self, path: bytes, *, ownership: Ownership = Ownership.BY_NAME) -> None:
        try:
            os.makedirs(path, exist_ok=True)
            root = open_long_path(path)
        except OSError as error:
            raise _unusable(path, error) from None
        self.attributes = AttributeSetter(ownership)
        self.batch = 0
        self.unsynced = 0
        """Bytes written since the disk was last told to begin."""
        self._absent = b""
        """Key of a directory that was not there when somebody looked: then nothing below it is either."""
        self._stagings: dict[int, Staging] = {}
        self._waiting: dict[bytes, dict[bytes, _Staged]] = {}
        """By the key of a directory that is in place: what waits for a name in it."""
        self._key = b""
        """Of the directory asked for last, and in `_ends` where in it the key of each above it ends."""
        self._ends = [0]
        self._handles: list[PosixTargetDirectory | None] = [
            PosixTargetDirectory(self, root, b"", batch=_EXISTED)
        ]
        """From the root (which is always open) down to the directory asked for last."""
        try:
            sweep_leftovers(root)
            self.staging_for(self._root)
        except OSError as error:
            self.close()
            raise _unusable(path, error) from None

    @property
    def _root(self) -> PosixTargetDirectory:
        root = self._handles[0]
        assert root is not None
        return root

    # --- directories

    def directory(self, key: bytes) -> PosixTargetDirectory:
        """As the port says. Errors as there; OSError when it cannot be made or entered."""
        if self.unsynced >= _EARLY_SYNC:
            self.unsynced = 0
            for staging in self._stagings.values():
                staging.early.begin()
        depth = len(self._ends) - 1
        while depth and not key.startswith(self._key[: self._ends[depth]]):
            depth -= 1
        while self._handles[depth] is None:
            depth -= 1
        self._leave(depth)
        handle = self._handles[depth]
        assert handle is not None
        for name in key[self._ends[depth] :].split(b"\0")[:-1]:
            handle = handle.enter(name)
            self._key = handle.key
            self._ends.append(len(handle.key))
            self._handles.append(handle)
            if len(self._handles) > _MOST_OPEN:
                self._close_at(len(self._handles) - _MOST_OPEN)
        return handle

    def _leave(self, depth: int) -> None:
        """Close every open directory deeper than `depth` components."""
        for place in range(depth + 1, len(self._handles)):
            self._close_at(place)
        del self._ends[depth + 1 :], self._handles[depth + 1 :]
        self._key = self._key[: self._ends[depth]]

    def _close_at(self, place: int) -> None:
        handle = self._handles[place]
        if handle is not None:
            os.close(handle.fd)
            self._handles[place] = None

    def open_from_root(self, key: bytes) -> PosixTargetDirectory:
        """The directory with this key, opened apart from the chain; the caller closes its `fd`."""
        handle = self._root.duplicate()
        for name in key.split(b"\0")[:-1]:
            try:
                deeper = handle.enter(name)
            finally:
                os.close(handle.fd)
            handle = deeper
        return handle

    def existing(self, key: bytes, names: Sequence[bytes]) -> dict[bytes, FileStat]:
        if self._absent and key.startswith(self._absent):
            return {}
        fd = os.dup(self._root.fd)
        seen = b""
        found: dict[bytes, FileStat] = {}
        try:
            for component in key.split(b"\0")[:-1]:
                seen += component + b"\0"
                deeper = os.open(_checked(component), _OPEN_DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = deeper
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    found[name] = stat_of(os.stat(_checked(name), dir_fd=fd, follow_symlinks=False))
        except FileNotFoundError:
            self._absent = seen
        except OSError:
            # A link or file in the way: told when something is put there.
            return {}
        finally:
            os.close(fd)
        return found

    # --- what waits

    def staging_for(self, directory: PosixTargetDirectory) -> Staging:
        """Where things for this directory wait: on its own file system, maybe mounted in the target."""
        staging = self._stagings.get(directory.device)
        if staging is None:
            staging = self._stagings[directory.device] = Staging(directory.fd)
        return staging

    def wait(self, key: bytes, name: bytes, staged: _Staged) -> None:
        self._waiting.setdefault(key, {})[name] = staged

    def waiting_at(self, key: bytes, name: bytes) -> _Staged | None:
        waiting = self._waiting.get(key)
        return waiting.get(name) if waiting else None

    def publish(self) -> list[tuple[bytes, bytes, str]]:
        for staging in self._stagings.values():
            sync_file_system(staging.fd)
        failures: list[tuple[bytes, bytes, str]] = []
        waiting, self._waiting = self._waiting, {}
        for key, items in waiting.items():
            failures += self._place(key, items)
        self.batch += 1
        if failures:
            # A directory that found no place is not where its handle says.
            self._leave(0)
        for device, staging in list(self._stagings.items()):
            if device != self._root.device and staging.drop_if_empty():
                del self._stagings[device]
        return failures

    def _place(self, key: bytes, items: dict[bytes, _Staged]) -> list[tuple[bytes, bytes, str]]:
        failures = []
        try:
            directory = self.open_from_root(key)
        except (OSError, UnsafePath) as error:
            return [(key, name, str(error)) for name in items]
        try:
            with _open_to_us(directory.fd):
                for name, staged in items.items():
                    try:
                        staged.staging.place(
                            staged.name, directory=directory.fd, name=name, placement=staged.placement
                        )
                    except OSError as error:
                        failures.append((key, name, error.strerror or str(error)))
        finally:
            os.close(directory.fd)
        return failures

    def close(self) -> None:
        self._leave(0)
        for staging in self._stagings.values():
            staging.drop()
        self._stagings.clear()
        if self._root.fd >= 0:
            os.close(self._root.fd)
            self._root.fd = -1


class PosixTargetDirectory:
    """A directory of the target. Ours alone until the `batch` it was made in is published."""

    __slots__ = ("_target", "batch", "device", "fd", "key")

    def __init__(self, target: PosixTarget, fd: int, key: bytes, *, batch: int, device: int = -1) -> None:
        self._target = target
        self.fd = fd
        self.key = key
        self.batch = batch
        self.device = os.fstat(fd).st_dev if device < 0 else device

    @property
    def is_ours_alone(self) -> bool:
        return self.batch == self._target.batch

    def duplicate(self) -> PosixTargetDirectory:
        return PosixTargetDirectory(
            self._target, os.dup(self.fd), self.key, batch=self.batch, device=self.device
        )

    def enter(self, name: bytes) -> PosixTargetDirectory:
        """The directory `name` in this one, opened, made where missing."""
        key = self.key + _checked(name) + b"\0"
        staged = self._target.waiting_at(self.key, name)
        try:
            if staged is not None:
                fd = os.open(staged.name, _OPEN_DIRECTORY, dir_fd=staged.staging.fd)
                return PosixTargetDirectory(
                    self._target, fd, key, batch=self._target.batch, device=self.device
                )
            fd = os.open(name, _OPEN_DIRECTORY, dir_fd=self.fd)
        except FileNotFoundError:
            self.make_directory(name, placement=Placement.ADD)
            return self.enter(name)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOTDIR}:
                path = os.fsdecode(key.replace(b"\0", b"/"))
                raise UnsafePath(
                    f"{path} is a link or no directory: nothing is restored through it"
                ) from None
            raise
        # What is inside a directory of ours alone was made by us, in the same batch and on the same device.
        if self.is_ours_alone:
            return PosixTargetDirectory(self._target, fd, key, batch=self.batch, device=self.device)
        return PosixTargetDirectory(self._target, fd, key, batch=_EXISTED)

    # --- the port

    def existing(self, name: bytes) -> FileStat | None:
        if self.is_ours_alone:
            return None
        staged = self._target.waiting_at(self.key, _checked(name))
        try:
            if staged is not None:
                return stat_of(os.stat(staged.name, dir_fd=staged.staging.fd, follow_symlinks=False))
            return stat_of(os.stat(name, dir_fd=self.fd, follow_symlinks=False))
        except FileNotFoundError:
            return None

    def make_directory(self, name: bytes, *, placement: Placement) -> None:
        where, stored = self._room(name)
        try:
            os.mkdir(stored, 0o700, dir_fd=where)
        except OSError as error:
            raise target_failure(error) or error from None
        self._wait(name, stored, placement)

    def put_file(
        self,
        name: bytes,
        parts: Sequence[bytes | memoryview],
        *,
        metadata: Metadata,
        placement: Placement,
    ) -> list[str]:
        where, stored = self._room(name)
        attributes = self._target.attributes
        fd = -1
        try:
            mode = attributes.creation_mode(metadata)
            fd = os.open(stored, _CREATE, mode, dir_fd=where)
            for part in parts:
                written = os.write(fd, part)
                while written < len(part):
                    part = memoryview(part)[written:]
                    written = os.write(fd, part)
                self._target.unsynced += len(part)
            problems = attributes.set_file(fd, metadata, created=mode)
        except OSError as error:
            if fd >= 0:
                os.unlink(stored, dir_fd=where)
            raise target_failure(error) or error from None
        finally:
            if fd >= 0:
                os.close(fd)
        if stored is not name:
            self._wait(name, stored, placement)
        return problems

    def stage_file(self, name: bytes) -> PosixStagedFile:
        return PosixStagedFile(self._target, self.key, _checked(name), self._target.staging_for(self))

    def put_link(self, name: bytes, *, target: bytes, metadata: Metadata, placement: Placement) -> list[str]:
        where, stored = self._room(name)
        try:
            os.symlink(target, stored, dir_fd=where)
        except OSError as error:
            raise target_failure(error) or error from None
        return self._finish_special(where, stored, name, metadata, placement)

    def put_special(
        self, name: bytes, *, device: tuple[int, int] | None, metadata: Metadata, placement: Placement
    ) -> list[str]:
        where, stored = self._room(name)
        kind = stat.S_IFMT(metadata.mode)
        try:
            number = os.makedev(*device) if device is not None else 0
            os.mknod(stored, kind | 0o600, number, dir_fd=where)
        except OverflowError:
            raise OSError(errno.EINVAL, "no device has such a number here") from None
        except OSError as error:
            raise target_failure(error) or error from None
        return self._finish_special(where, stored, name, metadata, placement)

    def _finish_special(
        self, where: int, stored: bytes, name: bytes, metadata: Metadata, placement: Placement
    ) -> list[str]:
        problems = self._target.attributes.set_name(where, stored, metadata)
        self._wait(name, stored, placement)
        return problems

    def put_hard_link(self, name: bytes, *, directory: bytes, existing: bytes, placement: Placement) -> None:
        where, stored = self._room(name)
        staged = self._target.waiting_at(directory, _checked(existing))
        if staged is not None:
            os.link(
                staged.name, stored, src_dir_fd=staged.staging.fd, dst_dir_fd=where, follow_symlinks=False
            )
        else:
            source = self._target.open_from_root(directory)
            try:
                os.link(existing, stored, src_dir_fd=source.fd, dst_dir_fd=where, follow_symlinks=False)
            finally:
                os.close(source.fd)
        self._wait(name, stored, placement)

    def set_metadata(self, metadata: Metadata) -> list[str]:
        return self._target.attributes.set_directory(self.fd, metadata)

    # --- where new things go

    def _room(self, name: bytes) -> tuple[int, bytes]:
        """(directory, name) to make it under: its place itself where nobody else can see it yet."""
        _checked(name)
        if self.batch == self._target.batch:
            return self.fd, name
        staging = self._target.staging_for(self)
        return staging.fd, staging.next_name()

    def _wait(self, name: bytes, stored: bytes, placement: Placement) -> None:
        if stored is not name:
            self._target.wait(self.key, name, _Staged(self._target.staging_for(self), stored, placement))


class PosixStagedFile:
    """A large file on its way; it may outlive several batches."""

    def __init__(self, target: PosixTarget, key: bytes, name: bytes, staging: Staging) -> None:
        self._target = target
        self._key = key
        self._name = name
        self._staging = staging
        self._stored = staging.next_name()
        self._fd = self._open()

    def _open(self) -> int:
        try:
            return os.open(self._stored, _CREATE, 0o600, dir_fd=self._staging.fd)
        except OSError as error:
            raise target_failure(error) or error from None

    def write(self, data: bytes | memoryview, *, offset: int) -> None:
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(self._fd, view, offset)
                self._target.unsynced += written
                view, offset = view[written:], offset + written
        except OSError as error:
            raise target_failure(error) or error from None

    def finish(self, *, size: int, metadata: Metadata, placement: Placement) -> list[str]:
        try:
            os.ftruncate(self._fd, size)
            problems = self._target.attributes.set_file(self._fd, metadata, created=0o600)
        except OSError as error:
            raise target_failure(error) or error from None
        os.close(self._fd)
        self._fd = -1
        directory = self._target.directory(self._key)
        if directory.is_ours_alone:
            self._staging.place(
                self._stored, directory=directory.fd, name=self._name, placement=Placement.ADD
            )
        else:
            self._target.wait(self._key, self._name, _Staged(self._staging, self._stored, placement))
        return problems

    def discard(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            os.unlink(self._stored, dir_fd=self._staging.fd)


def free_bytes(path: bytes) -> int:
    """What this user may still write at `path`, of which nothing needs to be there yet."""
    while not os.path.exists(path):  # what a link leads to may not be there, either
        path = os.path.dirname(path)
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


@contextlib.contextmanager
def _open_to_us(directory: int) -> Iterator[None]:
    """A directory of ours in which even we may not write (mode 0555) lets us, for as long as this runs.

    Where that cannot be had, what is put into it tells so.
    """
    found = os.fstat(directory)
    mode = stat.S_IMODE(found.st_mode)
    is_shut = found.st_uid == os.geteuid() != 0 and mode & stat.S_IWUSR == 0
    if is_shut:
        with contextlib.suppress(OSError):
            os.fchmod(directory, mode | stat.S_IWUSR)
    try:
        yield
    finally:
        if is_shut:
            with contextlib.suppress(OSError):
                os.fchmod(directory, mode)


def _unusable(path: bytes, error: OSError) -> TargetFull:
    return target_failure(error) or TargetFull(
        f"nothing can be restored into {os.fsdecode(path)}: {error.strerror}",
        advice="Name a directory that this user can write.",
    )


def _checked(name: bytes) -> bytes:
    """The format refuses such names already; whatever comes this far still cannot use one."""
    if b"/" in name or b"\0" in name or name in {b"", b".", b".."}:
        raise UnsafePath(f"{os.fsdecode(name)!r} is no name inside a directory")
    return name
