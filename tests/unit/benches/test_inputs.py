"""Inputs are the same everywhere, and changes are undone without a trace."""

from __future__ import annotations

import hashlib
from pathlib import Path

from benches.inputs import SMOKE, large_files, one_percent_changed, regular_files


def digest(root: Path) -> str:
    """Names, contents and times of all files."""
    total = hashlib.sha256()
    for path in regular_files(root):
        status = Path(path).stat()
        name = path.removeprefix(str(root)).encode()
        total.update(name + Path(path).read_bytes() + b"%d %d" % (status.st_mtime_ns, status.st_size))
    return total.hexdigest()


def contents(root: Path) -> dict[str, bytes]:
    return {path.removeprefix(str(root)): Path(path).read_bytes() for path in regular_files(root)}


def test_an_input_is_its_seed(tmp_path: Path) -> None:
    one, other = SMOKE.prepare(tmp_path / "a"), SMOKE.prepare(tmp_path / "b")
    assert contents(one) == contents(other)
    assert len(contents(one)) == 400
    assert (one / SMOKE.one).exists()


def test_an_input_is_made_once(tmp_path: Path) -> None:
    before = digest(SMOKE.prepare(tmp_path))
    assert digest(SMOKE.prepare(tmp_path)) == before


def test_one_percent_changes_and_comes_back(tmp_path: Path) -> None:
    root = SMOKE.prepare(tmp_path)
    before, original = digest(root), contents(root)
    with one_percent_changed(root, round_number=1) as places:
        changed = [name for name, content in contents(root).items() if content != original[name]]
        assert places == len(changed) == 4
    assert digest(root) == before


def test_large_files_change_in_one_range_of_a_hundred(tmp_path: Path) -> None:
    large_files(tmp_path, bytes_each=101 << 20)
    before = digest(tmp_path)
    with one_percent_changed(tmp_path, round_number=1) as places:
        assert places == 4
        assert digest(tmp_path) != before
    assert digest(tmp_path) == before
