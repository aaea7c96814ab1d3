"""A part of a tree comes back alone, wherever it lies among its neighbours in a page."""

from __future__ import annotations

from pathlib import Path

import pytest

from muniment.client.disk.attributes import AttributeSetter
from muniment.engine.ports import Overwrite, Problem
from tests.support.restoring import restore_into
from tests.unit.engine.conftest import Bench


def test_neighbours_in_the_same_page_have_no_say(tmp_path: Path) -> None:
    root = tmp_path / "home"
    # Longer and shorter paths than the one asked for, all in the page that holds it.
    for name in ("a", "kernel", "kernel/sched", "kernel/scheduling-documents-of-old", "x/y/z"):
        (root / name).mkdir(parents=True)
        (root / name / "file").write_text(name)
    bench = Bench(root)
    bench.back_up()
    assert bench.last is not None
    for asked in ("kernel/sched/file", "a/file", "x/y/z/file"):
        target = tmp_path / "target" / asked
        restore_into(
            target, bench.last.root, keys=bench.keys, source=bench.vault, under=f"/home/{asked}".encode()
        )
        assert [path.name for path in target.rglob("*")] == ["file"]
        assert (target / "file").read_text() == asked.rpartition("/")[0]


def test_whatever_goes_wrong_is_named_by_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home" / "a" / "inner").mkdir(parents=True)
    (tmp_path / "home" / "a" / "file").write_text("content")
    bench = Bench(tmp_path / "home")
    bench.back_up()
    assert bench.last is not None
    (tmp_path / "out" / "a" / "file" / "in the way").mkdir(parents=True)
    monkeypatch.setattr(AttributeSetter, "set_directory", lambda *_: ["mode: not permitted"])
    _, problems = restore_into(
        tmp_path / "out", bench.last.root, keys=bench.keys, source=bench.vault, under=b"/home/a",
        overwrite=Overwrite.ALWAYS,
    )  # fmt: skip
    assert problems == {
        b"home/a": Problem.METADATA,
        b"home/a/inner": Problem.METADATA,
        b"home/a/file": Problem.WRITE,
    }
