"""The judge of restores must itself be able to say no: every difference it is to find, planted."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.compare import Leniency, differences, snapshot_of


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    left = tmp_path / "left"
    (left / "d" / "e").mkdir(parents=True)
    (left / "d" / "file").write_text("content")
    (left / "d" / "link").symlink_to("file")
    os.link(left / "d" / "file", left / "d" / "e" / "hard")
    os.mkfifo(left / "fifo")
    os.setxattr(left / "d" / "file", "user.a", b"1")
    with open(left / "sparse", "wb") as sparse:
        sparse.truncate(1 << 20)
    subprocess.run(["cp", "-a", "--sparse=always", left, tmp_path / "right"], check=True)
    return left, tmp_path / "right"


def _refill(right: Path) -> None:
    status = os.stat(right / "sparse")
    (right / "sparse").write_bytes(bytes(1 << 20))
    os.utime(right / "sparse", ns=(1, status.st_mtime_ns))


def _content(right: Path) -> None:
    status = os.stat(right / "d" / "file")
    with open(right / "d" / "file", "r+b") as file:
        file.write(b"C")
    os.utime(right / "d" / "file", ns=(1, status.st_mtime_ns))


def _unlink(right: Path) -> None:
    status = os.stat(right / "d" / "file")
    content = (right / "d" / "file").read_bytes()
    here = os.stat(right / "d" / "e").st_mtime_ns
    (right / "d" / "e" / "hard").unlink()
    (right / "d" / "e" / "hard").write_bytes(content)
    os.setxattr(right / "d" / "e" / "hard", "user.a", b"1")
    os.utime(right / "d" / "e" / "hard", ns=(1, status.st_mtime_ns))
    os.utime(right / "d" / "e", ns=(1, here))


def _retarget(right: Path) -> None:
    status = os.lstat(right / "d" / "link")
    here = os.stat(right / "d").st_mtime_ns
    (right / "d" / "link").unlink()
    (right / "d" / "link").symlink_to("fil_")
    os.utime(right / "d" / "link", ns=(1, status.st_mtime_ns), follow_symlinks=False)
    os.utime(right / "d", ns=(1, here))


PLANTED: dict[str, Callable[[Path], object]] = {
    "content": _content,
    "mode": lambda right: os.chmod(right / "fifo", 0o600),
    "time of a file": lambda right: os.utime(right / "sparse", ns=(1, 1)),
    "time of a directory": lambda right: os.utime(right / "d" / "e", ns=(1, 1)),
    "time of a link": lambda right: os.utime(right / "d" / "link", ns=(1, 1), follow_symlinks=False),
    "missing": lambda right: os.unlink(right / "fifo"),
    "new": lambda right: (right / "d" / "more").touch(),
    "attribute": lambda right: os.setxattr(right / "d" / "file", "user.a", b"2"),
    "one more attribute": lambda right: os.setxattr(right / "d", "user.b", b""),
    "hole": _refill,
    "hard link": _unlink,
    "link target": _retarget,
}


def test_a_true_copy_has_no_difference(pair: tuple[Path, Path]) -> None:
    assert differences(bytes(pair[0]), bytes(pair[1])) == []


@pytest.mark.parametrize("what", PLANTED)
def test_every_planted_difference_is_found(pair: tuple[Path, Path], what: str) -> None:
    PLANTED[what](pair[1])
    assert differences(bytes(pair[0]), bytes(pair[1])), what


def test_leniency_is_no_wider_than_asked(pair: tuple[Path, Path]) -> None:
    os.chmod(pair[1] / "sparse", 0o4644)
    os.chmod(pair[0] / "sparse", 0o644)
    assert differences(bytes(pair[0]), bytes(pair[1]), allow=Leniency(owners=True)) != []
    assert differences(bytes(pair[0]), bytes(pair[1]), allow=Leniency(set_id=True)) == []


def test_a_stray_write_shows_in_a_snapshot_of_the_surroundings(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a")
    before = snapshot_of(bytes(tmp_path))
    assert snapshot_of(bytes(tmp_path)) == before
    (tmp_path / "file").write_text("b")
    assert snapshot_of(bytes(tmp_path)) != before
