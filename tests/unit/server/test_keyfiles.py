"""Keys that are made once, and what takes the place of the one before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from muniment.server.keyfiles import create_once, put_whole


def test_what_a_killed_server_left_keeps_no_server_from_starting(tmp_path: Path) -> None:
    """In a container the process has the same number each time."""
    path = tmp_path / "site.key"
    (tmp_path / f".{path.name}.{os.getpid()}").write_bytes(b"half")
    create_once(path, b"whole")
    assert path.read_bytes() == b"whole"


def test_the_first_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    create_once(path, b"first")
    create_once(path, b"second")
    assert path.read_bytes() == b"first"
    assert os.listdir(tmp_path) == [path.name]


def test_what_cannot_be_written_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.checkpoint"
    put_whole(path, b"first")
    put_whole(path, b"second")
    assert path.read_bytes() == b"second"

    def fail(_: int) -> None:
        raise OSError

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError):
        put_whole(path, b"third")
    assert path.read_bytes() == b"second"
    assert os.listdir(tmp_path) == [path.name]


def test_nothing_is_left_where_it_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        create_once(tmp_path / "missing" / "site.key", b"x")
