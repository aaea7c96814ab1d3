"""The short way to a small file says the same as the long one, and nothing where that would refuse."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from muniment.format.page import LeafPage, decode_leaf, encode_leaf
from muniment.model.errors import DamagedObject
from muniment.model.packs import ChunkAddress
from tests.support.forger import Forger, entry, file
from tests.support.memory_vault import new_keys
from tests.unit.engine.conftest import Bench


def same_as_entry(leaf: LeafPage) -> int:
    """How many entries took the short way; all of them agree with the long one."""
    short = 0
    for run in leaf.runs:
        for place in range(len(run.names)):
            found = leaf.lone_chunk(run, place)
            if found is None:
                continue
            short += 1
            known = leaf.entry(run, place)
            (extent,) = known.extents
            block, (inner, length, chunk) = found
            assert extent.address == ChunkAddress(block, inner, length)
            assert extent.chunk is not None
            assert (extent.length, extent.chunk.raw) == (length, chunk)
            assert not known.xattrs
            assert not known.link_group
            assert not known.flags
    return short


def test_both_ways_agree_on_real_trees(tmp_path: Path) -> None:
    root = tmp_path / "machine" / "home"
    root.mkdir(parents=True)
    for number in range(300):
        (root / f"f{number}").write_bytes(bytes([number % 256]) * (number * 41 % 3000))
    (root / "large").write_bytes(random.Random(1).randbytes(3_000_000))
    (root / "hard").hardlink_to(root / "f7")
    bench = Bench(root)
    bench.back_up()
    assert bench.last is not None
    short = sum(same_as_entry(leaf) for _, leaf in bench.reader.leaves(bench.last.root))
    assert 250 < short < 300  # all but the empty, the large and the linked ones


@pytest.mark.parametrize(
    "row",
    [
        [],
        [[]],
        [[5]],
        [[5, b"x" * 16, 0]],
        [[5, b"x" * 15, 0, 0]],
        [[5, "x" * 16, 0, 0]],
        [[5, b"x" * 16, 9, 0]],
        [[5, b"x" * 16, -1, 0]],
        [[5, b"x" * 16, 0, -1]],
        [[5, b"x" * 16, 0, 1 << 40]],
        [[5, b"x" * 16, 0, True]],
        [[True, b"x" * 16, 0, 0]],
        [[6, b"x" * 16, 0, 0]],
        [[5, b"x" * 16, 0, 0, 0]],
        [(5, b"x" * 16, 0, 0)],
        "text",
    ],
)
def test_what_the_long_way_refuses_the_short_one_never_takes(row: Any) -> None:
    pack = Forger(new_keys()).pack()
    leaf = decode_leaf(encode_leaf([entry(b"a"), file(b"b", pack.chunk(b"12345"))]))
    run = leaf.runs[0]
    assert leaf.lone_chunk(run, 1) is not None
    run.contents[1] = row
    try:
        found = leaf.lone_chunk(run, 1)
    except DamagedObject:
        return
    assert found is None
