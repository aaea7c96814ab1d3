"""The machine being backed up, read through descriptors."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from muniment.client.disk.posix import PosixDisk, open_long_path
from muniment.engine.ports import FileStat


@pytest.fixture
def disk() -> PosixDisk:
    return PosixDisk()


def test_names_and_stats_are_those_of_lstat(disk: PosixDisk, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    root = disk.open_root(bytes(tmp_path))
    names = root.names()
    assert sorted(names) == [b"caf\xe9", b"file", b"link"]
    for name, found in zip(names, root.stats(names), strict=True):
        known = os.lstat(bytes(tmp_path / os.fsdecode(name)))
        assert isinstance(found, FileStat)
        assert found == root.stat(name)
        assert (found.mode, found.size, found.inode) == (known.st_mode, known.st_size, known.st_ino)
        assert (found.mtime_ns, found.ctime_ns) == (known.st_mtime_ns, known.st_ctime_ns)
        assert (found.uid, found.gid, found.links) == (known.st_uid, known.st_gid, known.st_nlink)
    assert root.read_link(b"link") == b"file"
    assert root.stat_self().inode == os.stat(tmp_path).st_ino
    root.close()


def test_one_vanished_name_costs_no_other_its_stat(disk: PosixDisk, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "c").touch()
    root = disk.open_root(bytes(tmp_path))
    found = root.stats([b"a", b"b", b"c"])
    assert isinstance(found[0], FileStat)
    assert isinstance(found[1], FileNotFoundError)
    assert isinstance(found[2], FileStat)
    root.close()


def test_reading_changes_no_access_time(disk: PosixDisk, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    os.utime(path, ns=(1, 10**18))
    root = disk.open_root(bytes(tmp_path))
    file = root.open_file(b"file")
    assert file.read_into(memoryview(bytearray(1)), offset=0) == 1
    file.close()
    root.close()
    assert os.stat(path).st_atime_ns == 1


def test_a_link_is_never_followed(disk: PosixDisk, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    (tmp_path / "file-link").symlink_to("/etc/passwd")
    root = disk.open_root(bytes(tmp_path))
    with pytest.raises(OSError) as refused:
        root.open_directory(b"link")
    assert refused.value.errno in {errno.ELOOP, errno.ENOTDIR}
    with pytest.raises(OSError) as refused:
        root.open_file(b"file-link")
    assert refused.value.errno == errno.ELOOP
    root.close()


def test_a_fifo_in_place_of_a_file_does_not_block(disk: PosixDisk, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    root = disk.open_root(bytes(tmp_path))
    opened = threading.Event()

    def try_to_open() -> None:
        file = root.open_file(b"fifo")
        assert stat.S_ISFIFO(file.stat().mode)
        file.close()
        opened.set()

    threading.Thread(target=try_to_open, daemon=True).start()
    assert opened.wait(10)
    root.close()


def test_holes_are_told_from_data(disk: PosixDisk, tmp_path: Path) -> None:
    with open(tmp_path / "sparse", "wb") as sparse:
        sparse.truncate(10 << 20)
        sparse.seek(4 << 20)
        sparse.write(b"x" * 8192)
    root = disk.open_root(bytes(tmp_path))
    file = root.open_file(b"sparse")
    ranges = list(file.data_ranges(10 << 20))
    assert sum(length for _, length in ranges) < 1 << 20
    assert any(offset <= 4 << 20 < offset + length for offset, length in ranges)
    assert list(file.data_ranges(1 << 20)) == []
    buffer = bytearray(4)
    assert file.read_into(memoryview(buffer), offset=4 << 20) == 4
    assert file.read_into(memoryview(buffer), offset=10 << 20) == 0
    file.close()
    root.close()


def test_attributes_of_files_directories_and_links(disk: PosixDisk, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("file")
    os.setxattr(tmp_path / "file", "user.b", b"2")
    os.setxattr(tmp_path / "file", "user.a", b"1")
    os.setxattr(tmp_path / "directory", "user.d", b"")
    root = disk.open_root(bytes(tmp_path))
    file = root.open_file(b"file")
    assert file.xattrs() == [(b"user.a", b"1"), (b"user.b", b"2")]
    assert root.xattrs(b"directory") == [(b"user.d", b"")]
    assert root.xattrs(b"link") == []
    file.close()
    root.close()


def test_many_files_are_read_at_once_up_to_the_first_that_is_not_as_it_was_found(
    disk: PosixDisk, tmp_path: Path
) -> None:
    """Each kind of surprise, in second place: the first is read, and nothing from the surprise on."""
    surprises: dict[str, Callable[[Path], object]] = {
        "grown": lambda path: path.write_bytes(b"changed, and longer"),
        "cut": lambda path: path.write_bytes(b"c"),
        "touched": lambda path: os.utime(path, ns=(1, 2)),
        "vanished": lambda path: path.unlink(),
        "attributed": lambda path: os.setxattr(path, "user.a", b"1"),
        "link": lambda path: (path.unlink(), path.symlink_to("../other")),
        "fifo": lambda path: (path.unlink(), os.mkfifo(path)),
        "directory": lambda path: (path.unlink(), path.mkdir()),
        "replaced": (tmp_path / "other").rename,
    }
    for kind, happen in surprises.items():
        (tmp_path / "other").write_bytes(b"22222")
        place = tmp_path / kind
        place.mkdir()
        for name, content in (("1", b"one"), ("2", b"22222"), ("3", b"three")):
            (place / name).write_bytes(content)
        root = disk.open_root(bytes(place))
        names = [b"1", b"2", b"3"]
        found = [root.stat(name) for name in names]
        happen(place / "2")
        buffer = bytearray(64)
        assert root.read_unchanged(names, found, memoryview(buffer)) == 1, kind
        assert buffer.startswith(b"one")
        root.close()


def test_many_files_and_directories_are_read_one_behind_another(disk: PosixDisk, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"aa")
    (tmp_path / "b").mkdir()
    (tmp_path / "c").touch()
    (tmp_path / "d").write_bytes(b"d")
    os.utime(tmp_path / "d", ns=(1, 10**18))
    (tmp_path / "e").mkdir()
    os.setxattr(tmp_path / "e", "user.e", b"1")
    root = disk.open_root(bytes(tmp_path))
    names = [b"a", b"b", b"c", b"d", b"e"]
    found = [root.stat(name) for name in names]
    buffer = bytearray(8)
    assert root.read_unchanged(names, found, memoryview(buffer)) == 4
    assert bytes(buffer) == b"aad" + bytes(5)
    assert os.stat(tmp_path / "d").st_atime_ns == 1
    root.close()


def test_a_path_longer_than_path_max(disk: PosixDisk, tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    name = b"n" * 250
    path = bytes(tmp_path)
    for _ in range(20):
        os.mkdir(name, dir_fd=fd)
        deeper = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
        path += b"/" + name
    inode = os.fstat(fd).st_ino
    os.close(fd)
    assert len(path) > 4096
    opened = open_long_path(path)
    assert os.fstat(opened).st_ino == inode
    os.close(opened)
    with pytest.raises(FileNotFoundError):
        open_long_path(path + b"/none")


def test_owners_have_their_names(disk: PosixDisk) -> None:
    assert disk.owner(0, 0).user == b"root"
    nobody = disk.owner(3_999_999_999, 3_999_999_998)
    assert (nobody.uid, nobody.gid, nobody.user, nobody.group) == (3_999_999_999, 3_999_999_998, b"", b"")


def test_the_mount_of_a_path(disk: PosixDisk) -> None:
    device = os.stat("/proc").st_dev
    assert disk.mount_of(device, b"/proc/self") == (b"/proc", "proc")
