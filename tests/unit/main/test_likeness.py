"""The independent comparer finds each kind of difference, and none where there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from muniment.main.likeness import compare_trees, not_ours_to_give


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    original = tmp_path / "original"
    (original / "deep" / "empty").mkdir(parents=True)
    (original / "file").write_bytes(b"content" * 1000)
    (original / "other").write_bytes(b"other")
    os.link(original / "file", original / "deep" / "linked")
    (original / "link").symlink_to("file")
    os.mkfifo(original / "fifo")
    os.setxattr(original / "file", "user.note", b"kept")
    restored = tmp_path / "restored"
    shutil.copytree(original, restored, symlinks=True, ignore=shutil.ignore_patterns("fifo"))
    os.mkfifo(restored / "fifo")
    (restored / "deep" / "linked").unlink()
    os.link(restored / "file", restored / "deep" / "linked")
    for path in [*sorted(original.rglob("*"), reverse=True), original]:
        status = path.lstat()
        twin = restored / path.relative_to(original)
        os.utime(twin, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)
    return original, restored


def test_equal_trees_are_alike(pair: tuple[Path, Path]) -> None:
    likeness = compare_trees(*pair)
    assert likeness.differences == []
    assert (likeness.files, likeness.directories, likeness.links, likeness.others) == (3, 3, 1, 1)
    assert likeness.hard_link_groups == 1
    assert likeness.content == 7000 * 2 + 5


def rewrite(path: Path, content: bytes) -> None:
    """Change the bytes and nothing else."""
    status = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def unlink_keeping_times(path: Path) -> None:
    status = path.parent.stat()
    path.unlink()
    os.utime(path.parent, ns=(status.st_atime_ns, status.st_mtime_ns))


def split_link(restored: Path) -> None:
    linked = restored / "deep" / "linked"
    status, parent = linked.stat(), linked.parent.stat()
    content = linked.read_bytes()
    linked.unlink()
    linked.write_bytes(content)
    os.setxattr(linked, "user.note", b"kept")
    os.utime(linked, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.utime(linked.parent, ns=(parent.st_atime_ns, parent.st_mtime_ns))


HARM: dict[str, tuple[Callable[[Path], None], str]] = {
    "byte": (lambda tree: rewrite(tree / "other", b"othes"), "content differs"),
    "shorter": (lambda tree: rewrite(tree / "other", b"othe"), "size differs"),
    "mode": (lambda tree: (tree / "other").chmod(0o600), "mode differs"),
    "file time": (lambda tree: os.utime(tree / "other", ns=(1, 1)), "mtime_ns differs"),
    "directory time": (lambda tree: os.utime(tree / "deep", ns=(1, 1)), "mtime_ns differs"),
    "link time": (lambda tree: os.utime(tree / "link", ns=(1, 1), follow_symlinks=False), "mtime_ns differs"),
    "attribute": (lambda tree: os.removexattr(tree / "file", "user.note"), "attribute user.note differs"),
    "hard link": (split_link, "hard links differ"),
    "extra": (lambda tree: (tree / "extra").touch(), "in the restored tree only"),
}


@pytest.mark.parametrize("harm", HARM)
def test_each_harm_is_found(pair: tuple[Path, Path], harm: str) -> None:
    act, finding = HARM[harm]
    act(pair[1])
    assert any(finding in what for _, what in compare_trees(*pair).differences)


def test_what_is_missing_is_told_apart(pair: tuple[Path, Path]) -> None:
    original, restored = pair
    unlink_keeping_times(restored / "other")
    likeness = compare_trees(original, restored)
    assert likeness.missing == [os.fsencode(original / "other")]
    assert likeness.differences == []


def test_a_tagged_cache_is_one_thing_missing(pair: tuple[Path, Path]) -> None:
    original, _ = pair
    for tree in pair:
        (tree / "cache").mkdir()
    (original / "cache" / "CACHEDIR.TAG").touch()
    (original / "cache" / "much").touch()
    for tree in pair:
        os.utime(tree, ns=(5, 5))
        os.utime(tree / "cache", ns=(5, 5))
    likeness = compare_trees(*pair)
    assert likeness.missing == [os.fsencode(original / "cache")]
    assert likeness.differences == []


def test_what_changed_since_is_told_not_compared(pair: tuple[Path, Path]) -> None:
    original, _ = pair
    since = 1 + max(path.lstat().st_ctime_ns for path in (original, *original.rglob("*")))
    while (original / "other").stat().st_ctime_ns < since:
        (original / "other").write_bytes(b"newer")
    likeness = compare_trees(*pair, unchanged_since=since)
    assert likeness.changed == [os.fsencode(original / "other")]
    assert likeness.differences == []


@pytest.mark.parametrize(
    ("user", "group", "left_out"),
    [(7, 70, set()), (7, 71, set()), (7, 0, {"gid"}), (8, 70, {"uid", "gid"})],
)
def test_owners_are_compared_where_they_are_ours_to_give(
    monkeypatch: pytest.MonkeyPatch, user: int, group: int, left_out: set[str]
) -> None:
    """A file in a shared directory may have a group that its owner is not in."""
    monkeypatch.setattr(os, "geteuid", lambda: 7)
    monkeypatch.setattr(os, "getegid", lambda: 70)
    monkeypatch.setattr(os, "getgroups", lambda: [71])
    found = os.stat_result((0o100644, 1, 1, 1, user, group, 0, 0, 0, 0))
    assert not_ours_to_give(found) == left_out
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert not_ours_to_give(found) == set()
