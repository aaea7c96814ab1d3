"""A part of a tree comes back alone, wherever it lies among its neighbours in a page."""

from __future__ import annotations

from pathlib import Path

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
