"""Which paths belong to a snapshot: roots, rules, tags, file systems; and trees of unusual shape."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from muniment.engine.ports import FileStat
from muniment.engine.roots import FileSystems, MountRule, plant_roots
from muniment.engine.tally import Tally
from muniment.engine.walk import Slice, Walk
from muniment.model.entry import EntryFlag
from tests.support.memory_vault import NamedExcludes, RecordingProgress

from .conftest import Bench, JailedDisk, SpoiledDisk


def make(root: Path, *paths: str) -> None:
    for path in paths:
        place = root / path
        if path.endswith("/"):
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.encode())


def test_several_roots_merge_into_one_tree(bench: Bench, root: Path) -> None:
    make(root, "a/one", "a/deep/two", "b/three", "c/four", "left out")
    bench.back_up(root / "b", root / "a", root / "a" / "deep", root / "b", root / "c" / "four")
    assert set(bench.below()) == {"a", "a/one", "a/deep", "a/deep/two", "b", "b/three", "c", "c/four"}
    again = bench.back_up(root / "a", root / "b", root / "c" / "four")
    assert again.coverage.read == 0


def test_the_root_of_the_machine_is_a_root(bench: Bench, root: Path) -> None:
    make(root, "a/one")
    bench.back_up(bench.top)
    assert bench.entries().keys() >= {b"/root", b"/root/a", b"/root/a/one"}
    assert bench.differences() == []


def test_a_root_reached_by_links_is_the_directory_they_lead_to(bench: Bench, root: Path) -> None:
    make(root, "real/place/file")
    (root / "way").symlink_to("real")
    bench.back_up(root / "way" / "place")
    assert set(bench.below()) == {"way", "way/place", "way/place/file"}
    assert bench.below()["way"].is_directory


def test_a_root_that_is_a_link_to_a_file_is_the_link(bench: Bench, root: Path) -> None:
    make(root, "file")
    (root / "link").symlink_to("file")
    bench.back_up(root / "link")
    assert set(bench.below()) == {"link"}
    assert bench.below()["link"].link_target == b"file"


def test_rules_leave_out_but_never_what_was_named_as_a_root(bench: Bench, root: Path) -> None:
    make(root, "keep/file", "cache/file", "deep/cache/file", "cache/saved/file", "cache/other")
    bench.excludes = NamedExcludes(names={b"cache"})
    result = bench.back_up(root, root / "cache" / "saved")
    assert set(bench.below()) == {
        "keep", "keep/file", "deep", "cache", "cache/saved", "cache/saved/file",
    }  # fmt: skip
    assert bench.progress.left_out == {b"/root/deep/cache": "cache"}
    assert result.coverage.excluded == 1


def test_a_tagged_directory_is_kept_empty_and_told(bench: Bench, root: Path) -> None:
    make(root, "work/.nobackup", "work/file", "other/file")
    bench.excludes = NamedExcludes(tag_files={b".nobackup"})
    bench.back_up()
    assert set(bench.below()) == {"work", "other", "other/file"}
    assert bench.progress.left_out == {b"/root/work": ".nobackup"}


def test_a_root_is_backed_up_whatever_tag_it_has(bench: Bench, root: Path) -> None:
    make(root, "work/.nobackup", "work/file", "work/deep/.nobackup", "work/deep/file", "other/file")
    bench.excludes = NamedExcludes(tag_files={b".nobackup"})
    bench.back_up(root / "work")
    assert set(bench.below()) == {"work", "work/.nobackup", "work/file", "work/deep"}
    bench.back_up(root, root / "work")
    assert set(bench.below()) == {
        "work", "work/.nobackup", "work/file", "work/deep", "other", "other/file",
    }  # fmt: skip
    assert bench.progress.left_out == {b"/root/work/deep": ".nobackup"}


class TwoFileSystems(SpoiledDisk):
    """A machine where what lies below `mounted` is another file system."""

    mounted = b"/root/mounted"
    points: dict[int, tuple[bytes, str]]

    def mount_of(self, device: int, path: bytes) -> tuple[bytes, str]:
        return (self.mounted, "nfs4") if device == 99 else (b"/", "ext4")


@pytest.fixture
def mounted(bench: Bench, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TwoFileSystems]:
    from . import conftest

    make(root, "mounted/file", "mounted/deep/file", "near/file")
    disk = TwoFileSystems(bench.top)
    plain = conftest.SpoiledDirectory.stats

    def stats(self: conftest.SpoiledDirectory, names: list[bytes]) -> list[FileStat | OSError]:
        found = plain(self, names)
        return [
            row._replace(device=99)
            if isinstance(row, FileStat) and (self._path + b"/" + name + b"/").startswith(disk.mounted + b"/")
            else row
            for name, row in zip(names, found, strict=True)
        ]

    monkeypatch.setattr(conftest.SpoiledDirectory, "stats", stats)
    bench.disk = disk
    return disk


def test_a_mounted_file_system_is_entered_unless_told_otherwise(
    bench: Bench, mounted: TwoFileSystems
) -> None:
    result = bench.back_up()
    held = bench.below()
    assert held["mounted/deep/file"].file_system == held["mounted"].file_system != held["near"].file_system
    assert {note.mount_point: note.kind for note in result.file_systems} == {
        b"/": "ext4",
        mounted.mounted: "nfs4",
    }
    assert bench.back_up().root == result.root
    bench.back_up(mounts=MountRule.STAY)
    assert set(bench.below()) == {"mounted", "near", "near/file"}
    assert bench.progress.left_out == {b"/root/mounted": "another file system"}
    bench.back_up(bench.root, bench.root / "mounted" / "deep", mounts=MountRule.STAY)
    assert set(bench.below()) == {"mounted", "mounted/deep", "mounted/deep/file", "near", "near/file"}


def test_a_network_root_is_not_trusted_with_inode_and_ctime(bench: Bench, root: Path) -> None:
    make(root, "file")
    network = (bench.inside(root),)
    first = bench.back_up(network_roots=network)
    entry = bench.below()["file"]
    assert (entry.inode, entry.ctime_ns) == (0, 0)
    # The same file to look at, with another inode and ctime: as after a remount.
    before = (root / "file").stat()
    shutil.copy2(root / "file", root / "copy")
    (root / "copy").rename(root / "file")
    os.utime(root / "file", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.utime(root, ns=(1, 1))
    second = bench.back_up(network_roots=network)
    assert bench.below()["file"] == entry
    assert second.coverage.read == 1  # the directory, whose time was set
    assert first.root != second.root


def test_ordinals_of_file_systems_outlive_a_run(bench: Bench, mounted: TwoFileSystems) -> None:
    bench.back_up(bench.root / "mounted")
    first = bench.below()["mounted/file"].file_system
    make(bench.root, "another/file")
    bench.back_up()
    assert bench.below()["mounted/file"].file_system == first


# --- shapes


def dig(root: Path, depth: int, *, side: bool = False, name: str = "d" * 20) -> None:
    """A chain of directories deeper than any path may be long."""
    fd = os.open(root, os.O_RDONLY)
    for level in range(depth):
        os.mkdir(name, dir_fd=fd)
        inner = os.open(name, os.O_RDONLY, dir_fd=fd)
        if side:
            os.mkdir("e", dir_fd=fd)
            os.close(os.open("e/file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        os.close(os.open(f"file {level}", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        os.close(fd)
        fd = inner
    os.close(fd)


@pytest.mark.parametrize("side", [False, True])
def test_depth_is_bounded_by_nothing_of_ours(bench: Bench, root: Path, side: bool) -> None:
    depth = 1000
    dig(root, depth, side=side)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, limits[1]))
    try:
        result = bench.back_up()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        subprocess.run(["rm", "-rf", root], check=True)
    assert result.problems == 0
    assert result.counts.directories == 1 + depth * (2 if side else 1)
    assert result.counts.files == depth * (2 if side else 1)


def test_a_path_longer_than_a_key_may_be_is_told(bench: Bench, root: Path) -> None:
    dig(root, 540, name="d" * 250)
    try:
        result = bench.back_up()
    finally:
        subprocess.run(["rm", "-rf", root], check=True)
    assert result.problems > 0
    assert result.counts.directories > 500


def test_a_wide_directory_takes_little_memory(bench: Bench, root: Path) -> None:
    fd = os.open(root, os.O_RDONLY)
    for number in range(50_000):
        os.mknod(b"name of a file %07d" % number, dir_fd=fd)
    os.close(fd)
    first = bench.back_up()
    assert first.counts.files == 50_000
    tracemalloc.start()
    try:
        second = bench.back_up()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert second.root == first.root
    # 17 MiB of it are the buffer of the open pack; names take about 70 bytes each.
    assert peak < 40 << 20


def test_one_file_in_one_of_many_directories(bench: Bench, root: Path) -> None:
    for number in range(400):
        make(root, f"{number}/file")
    first = bench.back_up()
    (root / "200" / "file").write_bytes(b"changed")
    second = bench.back_up()
    assert second.coverage.read <= 2
    old, new = set(bench.leaf_ids(first)), set(bench.leaf_ids(second))
    # One leaf; two where it was so full that its end moved.
    assert 1 <= len(new - old) <= 2


def test_a_directory_that_loses_its_rights_in_the_middle(
    bench: Bench, root: Path, spoiled: SpoiledDisk
) -> None:
    make(root, "a/x", "b/y", "c/z")
    bench.back_up()
    spoiled.refused["names", b"/root/b"] = PermissionError(errno.EACCES, "denied")
    bench.back_up()
    assert bench.below()["b/y"].flags is EntryFlag.KEPT
    assert bench.below()["c/z"].flags is EntryFlag.NONE


def test_a_directory_however_deep_holds_no_path_of_its_own(tmp_path: Path) -> None:
    levels, name = 1500, b"a" * 40
    (tmp_path / "root").mkdir()
    fd = os.open(tmp_path / "root", os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=fd)
        os.mkdir(b"z", dir_fd=fd)  # still to come when the walk goes down: all of them stay on its stack
        fd, above = os.open(name, os.O_RDONLY, dir_fd=fd), fd
        os.close(above)
    os.close(fd)
    disk, progress = JailedDisk(tmp_path), RecordingProgress()
    walk = Walk(
        plant_roots([b"/root"]), disk=disk, excludes=NamedExcludes(), mounts=MountRule.CROSS,
        file_systems=FileSystems(disk), tally=Tally(progress), progress=progress,
    )  # fmt: skip
    tracemalloc.start()
    try:
        seen = sum(len(part.names) for part in walk if isinstance(part, Slice))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seen == 2 * levels + 1
    assert peak < 10_000_000, "the longest path has 60 kilobytes"
