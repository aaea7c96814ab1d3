"""Trees that Hypothesis makes come back as they were, whatever was in the target and however batches fall."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import muniment.engine.restore as restore_module
from muniment.engine.ports import Overwrite
from tests.support.compare import differences
from tests.support.restoring import restore_into
from tests.unit.engine.conftest import Bench

_NAMES = st.binary(min_size=1, max_size=12).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in {b".", b".."}
)
_TIMES = st.integers(min_value=-(10**18), max_value=4 * 10**18)
_REPEATED = st.sampled_from([letter.encode() * 2 for letter in "ABCDE"])
"""Equal ones among files of one length, as flags and lock files are."""
_FILES = st.tuples(
    st.just("file"),
    st.one_of(
        _REPEATED,
        st.binary(max_size=40),
        st.integers(1, 900_000).map(lambda size: bytes([size % 251]) * size),
    ),
    st.sampled_from([0o600, 0o644, 0o755, 0o400, 0o777]),
    _TIMES,
)
_FIVE = [letter.encode() for letter in "abcde"]
_ALTERNATING = [("file", letter.encode() * 2, 0o644, 5) for letter in "ABACC"]
_LINKS = st.tuples(st.just("link"), _NAMES, st.just(0), _TIMES)
_FIFOS = st.tuples(st.just("fifo"), st.just(b""), st.sampled_from([0o600, 0o666]), _TIMES)
_HARD = st.tuples(st.just("hard"), st.just(b""), st.just(0), st.just(0))
_LEAVES = st.one_of(_FILES, _FILES, _LINKS, _FIFOS, _HARD)
_TREES = st.recursive(
    st.dictionaries(_NAMES, _LEAVES, max_size=6),
    lambda below: st.dictionaries(_NAMES, st.one_of(_LEAVES, below), max_size=6),
    max_leaves=25,
)


def make(where: bytes, tree: dict[bytes, object], files: list[bytes]) -> None:
    for name, what in tree.items():
        path = os.path.join(where, name)
        if isinstance(what, dict):
            os.mkdir(path)
            make(path, what, files)
            os.utime(path, ns=(1, len(files) * 10**9 + 7))
            continue
        kind, content, mode, moment = what  # type: ignore[misc]
        if kind == "file":
            with open(path, "wb") as file:
                file.write(content)
            os.chmod(path, mode)
            files.append(path)
        elif kind == "link":
            os.symlink(content, path)
        elif kind == "fifo":
            os.mkfifo(path, mode)
            os.chmod(path, mode)
        elif files:
            os.link(files[-1], path)
            continue
        else:
            os.mkdir(path)
        os.utime(path, ns=(1, moment), follow_symlinks=False)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(tree=dict(zip(_FIVE, _ALTERNATING, strict=True)), batch=1000, overwrite=Overwrite.NEVER)
@given(tree=_TREES, batch=st.sampled_from([1, 2, 5, 1000]), overwrite=st.sampled_from(list(Overwrite)))
def test_what_was_archived_comes_back(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[bytes, object], batch: int, overwrite: Overwrite
) -> None:
    top = tmp_path_factory.mktemp("tree")
    root = top / "machine" / "root"
    root.mkdir(parents=True)
    make(bytes(root), tree, [])
    bench = Bench(root)
    bench.back_up()
    assert bench.last is not None
    kept = restore_module.BATCH_OBJECTS
    restore_module.BATCH_OBJECTS = batch
    try:
        report, problems = restore_into(
            top / "out", bench.last.root, keys=bench.keys, source=bench.vault, overwrite=overwrite
        )
    finally:
        restore_module.BATCH_OBJECTS = kept
    assert problems == {}
    assert report.errors == 0
    assert differences(bytes(top / "machine"), bytes(top / "out")) == []

    # Once more over a target that somebody has spoiled: all is as it was again.
    if overwrite is Overwrite.ALWAYS:
        _spoil(top / "out")
        restore_into(top / "out", bench.last.root, keys=bench.keys, source=bench.vault, overwrite=overwrite)
        assert differences(bytes(top / "machine"), bytes(top / "out")) == []
    shutil.rmtree(top)


def _spoil(place: Path) -> None:
    for here, _, names in os.walk(bytes(place)):
        os.utime(here, ns=(1, 1))
        for number, name in enumerate(names):
            path = os.path.join(here, name)
            if number % 2:
                os.unlink(path)
            elif stat.S_ISREG(os.lstat(path).st_mode):
                os.unlink(path)
                os.symlink(b"/etc/hostname", path)
