"""Snapshots of real trees: they hold what the disk holds, and unchanged things cost nothing."""

from __future__ import annotations

import os
import random
import socket
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muniment.engine import archive, reading
from muniment.engine.archive import ArchiveResult
from muniment.engine.pages import MOST_SMALL_PACKS
from muniment.engine.reading import Reader
from muniment.engine.storing import Batch
from muniment.format.pack import check_pack
from muniment.model.entry import EntryFlag
from muniment.model.packs import PackKind
from tests.support.memory_vault import ForgetfulPages, MemoryPages

from .conftest import Bench, SpoiledDisk


def fill(root: Path, *, seed: int = 7, files: int = 300, directories: int = 25) -> None:
    """A seeded tree of small files, with names of all sorts."""
    chance = random.Random(seed)
    places = [root]
    for number in range(directories):
        place = chance.choice(places) / f"dir {number}"
        place.mkdir()
        places.append(place)
    for number in range(files):
        size = chance.choice([0, 1, 10, 500, 4096, 20_000, 100_000])
        (chance.choice(places) / f"file-{number}.txt").write_bytes(chance.randbytes(size))
    (root / os.fsdecode(b"not \xff utf-8")).write_bytes(b"x")


def test_a_snapshot_holds_the_tree(bench: Bench, root: Path) -> None:
    fill(root)
    (root / "link").symlink_to("dir 0/nowhere")
    os.mkfifo(root / "pipe")
    result = bench.back_up()
    assert bench.differences(result) == []
    assert result.problems == 0
    assert not result.partial
    above = bench.entries()
    assert above[b"/root"].is_directory
    assert result.counts.files == sum(1 for entry in above.values() if entry.is_file)
    assert result.counts.directories == sum(1 for entry in above.values() if entry.is_directory)
    assert result.counts.bytes == sum(entry.size for entry in above.values())


def test_every_pack_checks_and_the_reference_set_is_what_was_sent(bench: Bench, root: Path) -> None:
    fill(root)
    result = bench.back_up()
    for pack_id, (_, content) in bench.vault.packs.items():
        check_pack(bench.keys, content, pack_id=pack_id)
    assert result.packs == set(bench.vault.of_kind(PackKind.DATA, PackKind.PAGE, PackKind.MIXED))
    covered = {pack for index_pack in result.index_packs for pack in index_pack.covers}
    assert covered == set(bench.vault.of_kind(PackKind.DATA, PackKind.MIXED))


def test_an_unchanged_tree_has_the_same_root_and_sends_nothing(bench: Bench, root: Path) -> None:
    fill(root)
    first = bench.back_up()
    sent = set(bench.vault.packs)
    second = bench.back_up()
    assert second.root == first.root
    assert second.packs == first.packs
    assert set(bench.vault.packs) == sent
    assert second.coverage.read == 0
    assert second.counts == type(second.counts)(
        **{name: getattr(first.counts, name) for name in ("files", "directories", "others", "bytes")}
    )


def change(root: Path, chance: random.Random) -> None:
    """Some of everything that may happen to a tree."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    for path in chance.sample(files, 5):
        path.write_bytes(chance.randbytes(3000))
    for path in chance.sample(files, 5):
        path.unlink()
    for number in range(5):
        (chance.choice(files).parent / f"new {number} {chance.random()}").write_bytes(chance.randbytes(2000))
    places = sorted(path for path in root.iterdir() if path.is_dir())
    chance.choice(places).rename(root / f"renamed {chance.random()}")
    os.utime(root, ns=(1, 5))


def test_an_incremental_snapshot_has_the_pages_of_one_from_scratch(bench: Bench, root: Path) -> None:
    chance = random.Random(3)
    fill(root, files=900)
    bench.back_up()
    for _ in range(4):
        change(root, chance)
        incremental = bench.back_up()
        assert bench.differences(incremental) == []
        scratch = bench.back_up(fresh=True)
        assert bench.leaf_ids(scratch) == bench.leaf_ids(incremental)
        assert incremental.coverage.unchanged > 500
        bench.last = incremental


@pytest.mark.parametrize("changed", ["d 00/one", "d 00/another"])
def test_what_is_unchanged_waits_for_what_is_being_read_only_up_to_a_bound(
    bench: Bench, root: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    """It holds the leaves that it lies in: behind a file in a batch that is not full yet, all of them."""
    for number in range(30):
        place = root / f"d {number:02}"
        place.mkdir()
        for name in ("one", *(f"f {number}" for number in range(200))):
            (place / name).touch()
    bench.back_up()
    monkeypatch.setattr(archive, "_MOST_WAITING", 200)
    (root / changed).write_bytes(b"changed")
    walked: list[int] = []
    submit = Reader.submit

    def noted(self: Reader, batch: Batch) -> None:
        walked.append(bench.progress.directories)
        submit(self, batch)

    monkeypatch.setattr(Reader, "submit", noted)
    result = bench.back_up()
    assert bench.differences(result) == []
    assert walked[0] < 15


def test_a_renamed_directory_uploads_no_content(bench: Bench, root: Path) -> None:
    fill(root)
    bench.back_up()
    (root / "dir 0").rename(root / "another name")
    assert bench.back_up().counts.new_bytes == 0
    assert bench.differences() == []


def test_equal_files_are_stored_once(bench: Bench, root: Path) -> None:
    content = random.Random(1).randbytes(50_000)
    for number in range(60):
        (root / f"copy {number}").write_bytes(content)
    assert bench.back_up().counts.new_bytes == len(content)
    assert bench.differences() == []


def test_equal_large_files_in_flight_at_once_are_stored_once(bench: Bench, root: Path) -> None:
    content = random.Random(1).randbytes(9_000_000)
    for number in range(4):
        (root / f"copy {number}").write_bytes(content)
    assert bench.back_up().counts.new_bytes == len(content)
    assert bench.differences() == []


def test_large_files_share_what_did_not_move(bench: Bench, root: Path) -> None:
    content = random.Random(2).randbytes(24_000_000)
    (root / "image").write_bytes(content)
    bench.back_up()
    (root / "image").write_bytes(b"inserted" + content[:12_000_000] + b"more" + content[12_000_000:])
    result = bench.back_up()
    assert bench.differences() == []
    assert result.counts.new_bytes < 10_000_000


def test_a_file_of_many_extents_gets_a_tree_of_them(bench: Bench, root: Path) -> None:
    (root / "large").write_bytes(random.Random(4).randbytes(100_000_000))
    bench.back_up()
    entry = bench.below()["large"]
    assert entry.extent_tree is not None
    assert entry.extent_tree.entries > 64
    assert bench.differences() == []
    first = bench.last
    assert first is not None
    assert bench.back_up().root == first.root


def test_holes_stay_holes(bench: Bench, root: Path) -> None:
    with open(root / "sparse", "wb") as file:
        file.seek(40_000_000)
        file.write(b"in the middle")
        file.truncate(90_000_000)
    result = bench.back_up()
    assert bench.differences() == []
    entry = bench.below()["sparse"]
    assert entry.size == 90_000_000
    assert result.counts.new_bytes < 100_000
    assert any(extent.chunk is None and extent.length > 30_000_000 for extent in entry.extents)


def test_names_of_one_file_form_a_group_and_are_read_once(bench: Bench, root: Path) -> None:
    (root / "a").mkdir()
    (root / "first").write_bytes(b"content")
    os.link(root / "first", root / "a" / "second")
    os.link(root / "first", root / "third")
    (root / "alone").write_bytes(b"content")
    bench.back_up()
    stored = bench.below()
    groups = {stored[name].link_group for name in ("first", "a/second", "third")}
    assert len(groups) == 1
    assert groups != {0}
    assert stored["alone"].link_group == 0
    assert bench.differences() == []
    first = bench.last
    assert first is not None
    assert bench.back_up().root == first.root
    (root / "third").unlink()
    bench.back_up()
    assert bench.below()["first"].link_group == bench.below()["a/second"].link_group != 0


def test_a_file_whose_names_are_far_apart_may_be_forgotten_and_read_again(
    bench: Bench, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LINKS_REMEMBERED", 2)
    for place in ("a", "b"):
        (root / place).mkdir()
    for number in range(6):
        (root / "a" / str(number)).write_bytes(b"content %d" % number)
        os.link(root / "a" / str(number), root / "b" / str(number))
    result = bench.back_up()
    assert bench.differences() == []
    stored = bench.below()
    groups = [{stored[f"{place}/{number}"].link_group for place in ("a", "b")} for number in range(6)]
    assert [len(group) for group in groups] == [1] * 6
    assert len(set.union(*groups)) == 6
    assert result.counts.new_bytes == 6 * len(b"content 0")


def test_attributes_small_and_large_are_kept(bench: Bench, root: Path, spoiled: SpoiledDisk) -> None:
    (root / "file").write_bytes(b"content")
    spoiled.attributes[b"/root/file"] = [(b"user.large", b"v" * 5000), (b"user.small", b"value")]
    first = bench.back_up()
    entry = bench.below()["file"]
    assert entry.xattrs == ((b"user.small", b"value"),)
    [(name, extents)] = entry.large_xattrs
    assert name == b"user.large"
    [extent] = extents
    assert bench.read_extent(extent) == b"v" * 5000
    assert bench.back_up().root == first.root


def test_attributes_of_real_files_are_kept(bench: Bench, root: Path) -> None:
    (root / "file").write_bytes(b"content")
    (root / "place").mkdir()
    os.setxattr(root / "file", "user.note", b"one")
    os.setxattr(root / "place", "user.note", b"two")
    bench.back_up()
    os.setxattr(root / "file", "user.note", b"three")
    bench.back_up()
    assert bench.below()["file"].xattrs == ((b"user.note", b"three"),)
    assert bench.below()["place"].xattrs == ((b"user.note", b"two"),)


def test_what_changed_its_type_is_what_it_is_now(bench: Bench, root: Path) -> None:
    (root / "a").write_bytes(b"a file")
    (root / "b").mkdir()
    (root / "b" / "inside").write_bytes(b"x")
    bench.back_up()
    (root / "a").unlink()
    (root / "a").mkdir()
    (root / "a" / "inside").write_bytes(b"y")
    (root / "b" / "inside").unlink()
    (root / "b").rmdir()
    (root / "b").symlink_to("a")
    bench.back_up()
    assert bench.differences() == []


def test_sockets_are_entries(bench: Bench, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        bench.back_up()
    assert stat.S_ISSOCK(bench.below()["socket"].mode)


def test_a_recently_modified_file_is_read_again(bench: Bench, root: Path) -> None:
    path = root / "file"
    path.write_bytes(b"one")
    moment = path.stat()
    bench.clock.now = moment.st_mtime_ns + 1_000_000_000
    bench.back_up()
    assert bench.below()["file"].flags is EntryFlag.RACY
    bench.clock.now += 60_000_000_000
    assert bench.back_up().coverage.read >= 1
    assert bench.below()["file"].flags is EntryFlag.NONE
    assert bench.back_up().coverage.read == 0


def test_the_tree_is_the_same_without_a_page_cache(bench: Bench, root: Path) -> None:
    fill(root)
    bench.pages = ForgetfulPages()
    first = bench.back_up()
    second = bench.back_up()
    assert second.root == first.root
    assert bench.vault.reads


def test_owners_never_share_a_block(bench: Bench, root: Path) -> None:
    chance = random.Random(5)
    for number in range(200):
        path = root / f"file {number}"
        path.write_bytes(chance.randbytes(3000))
        if os.geteuid() == 0:
            os.chown(path, number % 7, 0)
    bench.back_up()
    assert bench.differences() == []
    owners_of_block: dict[object, set[int]] = {}
    for entry in bench.below().values():
        for extent in entry.extents:
            assert extent.address is not None
            owners_of_block.setdefault(extent.address.block, set()).add(entry.owner.uid)
    assert all(len(owners) == 1 for owners in owners_of_block.values())


names = st.binary(min_size=1, max_size=6).filter(
    lambda name: not {0, 47} & set(name) and name not in (b".", b"..")
)
trees = st.recursive(
    st.binary(max_size=40), lambda inner: st.dictionaries(names, inner, max_size=5), max_leaves=25
).filter(lambda tree: isinstance(tree, dict))


def plant(place: bytes, tree: dict[bytes, object]) -> None:
    for name, inner in tree.items():
        path = place + b"/" + name
        if isinstance(inner, bytes):
            with open(path, "wb") as file:
                file.write(inner)
        else:
            os.mkdir(path)
            plant(path, inner)  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=trees, after=trees)
def test_any_tree_after_any_other(
    tmp_path_factory: pytest.TempPathFactory, before: dict[bytes, object], after: dict[bytes, object]
) -> None:
    root = tmp_path_factory.mktemp("any") / "root"
    bench = Bench(root)

    def back_up(tree: dict[bytes, object]) -> ArchiveResult:
        if root.exists():
            root.rename(root.parent / f"old {len(list(root.parent.iterdir()))}")
        root.mkdir()
        plant(os.fsencode(root), tree)
        result = bench.back_up()
        assert bench.differences(result) == []
        return result

    back_up(before)
    result = back_up(after)
    scratch = bench.back_up(fresh=True)
    assert bench.leaf_ids(result) == bench.leaf_ids(scratch)


def test_the_reference_set_is_that_of_the_pages_alone(bench: Bench, root: Path) -> None:
    """Known from notes taken on the way, it is what reading every page of the tree finds."""
    fill(root, files=900)
    (root / "dir 1" / "large").write_bytes(random.Random(4).randbytes(90_000_000))
    chance = random.Random(9)
    for _ in range(3):
        result = bench.back_up()
        assert result.packs == bench.reader.reachable_packs(result.root, MemoryPages())
        change(root, chance)


def test_many_small_runs_do_not_spread_the_tree_over_as_many_packs(bench: Bench, root: Path) -> None:
    fill(root, files=600)
    bench.back_up()
    for number in range(MOST_SMALL_PACKS + 12):
        (root / f"daily {number % 7}").write_bytes(b"%d" % number)
        result = bench.back_up()
        packs = {ref.block.pack_id for ref in bench.pages_of(result)}
        assert len(packs) <= MOST_SMALL_PACKS + 1
    assert bench.differences() == []
    assert len(packs) < MOST_SMALL_PACKS
    assert result.packs == bench.reader.reachable_packs(result.root, MemoryPages())


def test_a_fresh_machine_reads_the_parent_in_few_requests(bench: Bench, root: Path) -> None:
    fill(root, files=3000, directories=60)
    first = bench.back_up()
    leaves = len(bench.leaf_ids(first))
    assert leaves > 12
    bench.pages = MemoryPages()
    bench.vault.reads.clear()
    assert bench.back_up().root == first.root
    assert len(bench.vault.reads) <= leaves // 2


def test_full_leaves_stay_when_what_follows_stays(bench: Bench, root: Path) -> None:
    """Long names fill pages before a key ends them: such leaves, too, are carried over whole."""
    for number in range(900):
        (root / f"{number:04} {'n' * 230}").write_bytes(b"%d" % number)
    first = bench.back_up()
    stored = bench.vault.stored_bytes
    second = bench.back_up()
    assert second.root == first.root
    assert bench.vault.stored_bytes == stored
    for gone in (root / name for name in sorted(os.listdir(root))[450:460]):
        gone.unlink()
    incremental = bench.back_up()
    assert bench.leaf_ids(incremental) == bench.leaf_ids(bench.back_up(fresh=True))


def test_a_huge_file_builds_its_tree_of_extents_while_it_is_read(bench: Bench, root: Path) -> None:
    """More holes than segments are kept waiting: extents go into the tree before the file ends."""
    with open(root / "sieve", "wb") as file:
        for number in range(700):
            file.seek(number * 1_000_000)
            file.write(b"%d" % number)
    bench.back_up()
    entry = bench.below()["sieve"]
    assert entry.extent_tree is not None
    assert entry.extent_tree.entries > 1300
    assert bench.differences() == []
