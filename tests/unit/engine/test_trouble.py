"""What a run does when files cannot be read, vanish, or change under its hands; and when it is stopped."""

from __future__ import annotations

import errno
import itertools
import os
import random
from pathlib import Path

import pytest

from muniment.engine.ports import Problem
from muniment.model.entry import EntryFlag
from muniment.model.errors import DamagedObject, Interrupted
from muniment.model.ids import PackId
from muniment.model.packs import PackKind

from .conftest import Bench, SpoiledDisk
from .test_archive import fill

DENIED = PermissionError(errno.EACCES, "denied")


def test_an_unreadable_file_keeps_its_old_entry(bench: Bench, root: Path, spoiled: SpoiledDisk) -> None:
    (root / "file").write_bytes(b"old")
    (root / "other").write_bytes(b"other")
    bench.back_up()
    (root / "file").write_bytes(b"newer")
    spoiled.refused["open", b"/root/file"] = DENIED
    result = bench.back_up()
    entry = bench.below()["file"]
    assert entry.flags is EntryFlag.KEPT
    assert bench.content(entry) == b"old"
    assert result.problems == result.coverage.unreadable == 1
    assert bench.progress.problems == [(b"/root/file", Problem.UNREADABLE)]
    # Next time it is read although nothing about it changes any more.
    spoiled.refused.clear()
    result = bench.back_up()
    assert result.problems == 0
    assert bench.differences() == []
    assert bench.below()["file"].flags is EntryFlag.NONE


def test_a_file_that_was_never_readable_has_an_entry_without_content(
    bench: Bench, root: Path, spoiled: SpoiledDisk
) -> None:
    (root / "file").write_bytes(b"content")
    spoiled.refused["open", b"/root/file"] = DENIED
    assert bench.back_up().problems == 1
    entry = bench.below()["file"]
    assert entry.flags is EntryFlag.UNREADABLE
    assert entry.extents == ()
    assert entry.size == 7
    assert bench.back_up().problems == 1
    spoiled.refused.clear()
    assert bench.back_up().problems == 0
    assert bench.differences() == []


@pytest.mark.parametrize("call", ["open", "names"])
def test_an_unreadable_directory_keeps_all_below_it(
    bench: Bench, root: Path, spoiled: SpoiledDisk, call: str
) -> None:
    fill(root)
    before = bench.back_up()
    spoiled.refused[call, b"/root/dir 0"] = DENIED
    result = bench.back_up()
    assert result.problems == 1
    assert bench.below(result).keys() == bench.below(before).keys()
    kept = [entry for path, entry in bench.below(result).items() if path.startswith("dir 0/")]
    assert kept
    assert all(entry.flags & EntryFlag.KEPT for entry in kept)
    spoiled.refused.clear()
    bench.back_up()
    assert bench.leaf_ids(bench.last) == bench.leaf_ids(before)  # type: ignore[arg-type]


def test_a_name_that_cannot_be_looked_at_is_kept_with_all_below_it(
    bench: Bench, root: Path, spoiled: SpoiledDisk
) -> None:
    fill(root)
    before = bench.back_up()
    spoiled.refused["stat", b"/root/dir 0"] = DENIED
    (root / "zz new").write_bytes(b"new")
    result = bench.back_up()
    assert bench.below(result).keys() == bench.below(before).keys() | {"zz new"}
    assert bench.below(result)["dir 0"].flags & EntryFlag.KEPT
    assert result.problems == 1


def test_a_root_that_is_gone_is_kept_and_counted(bench: Bench, root: Path) -> None:
    fill(root)
    bench.back_up()
    before = bench.below()
    root.rename(root.parent / "elsewhere")
    result = bench.back_up()
    assert bench.below(result).keys() == before.keys()
    assert result.problems == 1


def test_a_file_that_vanishes_is_told_but_is_no_failure(
    bench: Bench, root: Path, spoiled: SpoiledDisk
) -> None:
    (root / "file").write_bytes(b"x")
    (root / "other").write_bytes(b"y")
    spoiled.meddle["open", b"/root/file"] = (root / "file").unlink
    result = bench.back_up()
    assert set(bench.below()) == {"other"}
    assert bench.progress.problems == [(b"/root/file", Problem.VANISHED)]
    assert result.problems == 0


def test_a_file_that_changes_once_while_read_is_read_again(
    bench: Bench, root: Path, spoiled: SpoiledDisk
) -> None:
    path = root / "file"
    path.write_bytes(b"one")
    changes = iter([b"longer than before"])

    def write() -> None:
        content = next(changes, None)
        if content is not None:
            path.write_bytes(content)

    spoiled.meddle["open", b"/root/file"] = write
    result = bench.back_up()
    assert bench.differences() == []
    assert result.problems == 0


def test_a_file_that_never_stands_still_is_kept_and_reported(
    bench: Bench, root: Path, spoiled: SpoiledDisk
) -> None:
    path = root / "log"
    path.write_bytes(b"line\n")

    def grow() -> None:
        with path.open("ab") as file:
            file.write(b"line\n")

    spoiled.meddle["open", b"/root/log"] = grow
    result = bench.back_up()
    entry = bench.below()["log"]
    assert entry.flags & EntryFlag.CHANGED
    content = bench.content(entry)
    assert len(content) == entry.size
    assert path.read_bytes().startswith(content)
    assert result.coverage.changed == result.problems == 1
    spoiled.meddle.clear()
    assert bench.back_up().problems == 0
    assert bench.differences() == []


@pytest.mark.parametrize("size", [300_000, 20_000_000])
def test_a_file_cut_short_while_read(bench: Bench, root: Path, spoiled: SpoiledDisk, size: int) -> None:
    path = root / "file"
    path.write_bytes(random.Random(1).randbytes(size))
    steps = iter([size // 2, size // 3, size // 4, size // 5])
    spoiled.meddle["open", b"/root/file"] = lambda: os.truncate(path, next(steps))
    result = bench.back_up()
    entry = bench.below()["file"]
    assert entry.flags & EntryFlag.CHANGED
    assert bench.content(entry) == path.read_bytes()[: entry.size]
    assert result.problems == 1


def test_a_file_that_becomes_a_link_leads_nowhere(bench: Bench, root: Path, spoiled: SpoiledDisk) -> None:
    (root.parent / "secret").write_bytes(b"outside")
    path = root / "file"
    path.write_bytes(b"inside")

    def swap() -> None:
        path.unlink()
        path.symlink_to("../secret")

    spoiled.meddle["open", b"/root/file"] = swap
    assert bench.back_up().problems == 1
    assert bench.below()["file"].flags is EntryFlag.UNREADABLE


# --- stopping and going on


def test_partial_snapshots_hold_the_new_tree_and_the_rest_of_the_parent(bench: Bench, root: Path) -> None:
    fill(root, seed=1)
    before = bench.back_up()
    for path in sorted(root.rglob("file-*"))[::2]:
        path.write_bytes(b"changed")
    final = bench.back_up(partial_after_seconds=0.0)
    assert len(bench.partials) > 3
    old, new = bench.below(before), bench.below(final)
    earlier = 0
    for partial in bench.partials:
        assert partial.partial
        held = bench.below(partial)
        assert held.keys() == new.keys()
        fresh = {name for name, entry in held.items() if entry != old[name]}
        assert all(held[name] == new[name] for name in fresh)
        assert len(fresh) >= earlier
        earlier = len(fresh)
        for entry in held.values():
            if entry.is_file:
                assert len(bench.content(entry)) == entry.size
        assert {ref.block.pack_id for ref, _ in bench.reader.leaves(partial.root)} <= partial.packs
    assert bench.differences(final) == []


def test_partial_snapshots_change_nothing_about_the_final_tree(bench: Bench, root: Path) -> None:
    fill(root)
    plain = bench.back_up()
    often = bench.back_up(fresh=True, partial_after_seconds=0.0)
    assert bench.partials
    assert bench.leaf_ids(often) == bench.leaf_ids(plain)


def test_a_stopped_run_leaves_a_partial_tree_and_the_next_reads_nothing_twice(
    bench: Bench, root: Path
) -> None:
    fill(root)
    asked = itertools.count()
    bench.stop_when = lambda: next(asked) > 20
    with pytest.raises(Interrupted):
        bench.back_up()
    [partial] = bench.partials
    assert partial.partial
    held = bench.below(partial)
    assert held
    bench.stop_when = lambda: False
    bench.last = partial
    result = bench.back_up()
    assert result.coverage.unchanged >= len(held)
    assert bench.differences() == []


def test_a_run_stopped_inside_a_large_file_sends_what_it_read(bench: Bench, root: Path) -> None:
    content = random.Random(1).randbytes(60_000_000)
    (root / "a small one").write_bytes(b"x")
    (root / "large").write_bytes(content)
    bench.stop_when = lambda: len(bench.vault.packs) > 1  # a mixed one, and one of data
    with pytest.raises(Interrupted):
        bench.back_up()
    [partial] = bench.partials
    assert set(bench.below(partial)) == {"a small one"}
    bench.stop_when = lambda: False
    bench.last = partial
    result = bench.back_up()
    assert bench.differences() == []
    assert 0 < result.counts.new_bytes < 45_000_000


def test_a_sink_that_refuses_ends_the_run_with_its_error(bench: Bench, root: Path) -> None:
    class Full(Exception):
        pass

    def refuse(*_: object) -> None:
        raise Full

    (root / "large").write_bytes(random.Random(1).randbytes(40_000_000))
    fill(root)
    bench.vault.send = refuse  # type: ignore[method-assign]
    with pytest.raises(Full):
        bench.back_up()


# --- content that the vault has lost


def lose(bench: Bench, *packs: PackId) -> None:
    for pack in packs:
        del bench.vault.packs[pack]
    bench.vault.chunks = {
        chunk: address for chunk, address in bench.vault.chunks.items() if address.block.pack_id not in packs
    }


def test_what_lay_in_a_lost_pack_is_read_and_stored_again(bench: Bench, root: Path) -> None:
    fill(root, files=150)
    bench.back_up()
    (root / "later").mkdir()
    (root / "later" / "large").write_bytes(random.Random(8).randbytes(90_000_000))
    fill(root / "later", seed=2, files=200)
    bench.back_up()
    lost = frozenset(bench.vault.of_kind(PackKind.DATA))
    needing = {
        name
        for name, entry in bench.below().items()
        if entry.extent_tree or {e.address.block.pack_id for e in entry.extents if e.address} & lost
    }
    assert 1 < len(needing) < len(bench.below())
    lose(bench, *lost)
    result = bench.back_up(lost_packs=lost)
    assert result.coverage.read == len(needing)
    assert result.packs.isdisjoint(lost)
    assert bench.differences() == []


def test_what_is_lost_and_cannot_be_read_is_marked_damaged(
    bench: Bench, root: Path, spoiled: SpoiledDisk
) -> None:
    (root / "large").write_bytes(random.Random(8).randbytes(9_000_000))
    (root / "small").write_bytes(b"small")
    bench.back_up()
    lost = frozenset(bench.vault.of_kind(PackKind.DATA))
    lose(bench, *lost)
    spoiled.refused["open", b"/root/large"] = DENIED
    result = bench.back_up(lost_packs=lost)
    assert bench.below()["large"].flags == EntryFlag.KEPT | EntryFlag.DAMAGED
    assert result.problems == 1
    spoiled.refused.clear()
    bench.back_up(lost_packs=lost)
    assert bench.below()["large"].flags is EntryFlag.NONE
    assert bench.differences() == []


def test_pages_of_a_lost_pack_are_stored_again_from_the_cache(bench: Bench, root: Path) -> None:
    (root / "large").write_bytes(random.Random(8).randbytes(9_000_000))
    fill(root, files=600)
    bench.back_up()
    (root / "dir 0" / "new").write_bytes(b"a change that leaves most leaves as they are")
    lost = frozenset(bench.vault.of_kind(PackKind.PAGE))
    assert lost
    lose(bench, *lost)
    result = bench.back_up(lost_packs=lost, partial_after_seconds=0.0)
    for made in (result, *bench.partials):
        assert made.packs.isdisjoint(lost)
        assert bench.entries(made)
    assert bench.partials
    assert bench.differences() == []


def test_pages_of_a_lost_pack_that_no_cache_has_are_damage(bench: Bench, root: Path) -> None:
    (root / "large").write_bytes(random.Random(8).randbytes(9_000_000))
    fill(root, files=600)
    bench.back_up()
    lost = frozenset(bench.vault.of_kind(PackKind.PAGE))
    lose(bench, *lost)
    bench.pages.pages.clear()
    with pytest.raises(DamagedObject):
        bench.back_up(lost_packs=lost)
    assert bench.back_up(fresh=True, lost_packs=lost).packs.isdisjoint(lost)
    assert bench.differences() == []
