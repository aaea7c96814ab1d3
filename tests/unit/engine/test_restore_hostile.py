"""Trees made by somebody who holds the vault key and means harm: nothing outside the target may change."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from backports import zstd

import muniment.client.disk.target as target_module
import muniment.engine.pieces as pieces_module
import muniment.engine.restore as restore_module
from muniment.client.disk.staging import Staging
from muniment.engine.blocks import BlockFetcher
from muniment.engine.ports import Overwrite, Placement, Problem, Special
from muniment.engine.restore import RestoreReport
from muniment.format.page import encode_interior
from muniment.format.tree import TreeReader
from muniment.model.entry import Entry, Extent, PageRef, PageType
from muniment.model.errors import Outcome
from muniment.model.packs import ChunkAddress
from tests.support.compare import snapshot_of
from tests.support.forger import Forger, directory, entry, file, link, raw_leaf
from tests.support.memory_vault import new_keys
from tests.support.restoring import PackBytes, restore_into


class Ground:
    """A target, and beside it what must stay as it is."""

    def __init__(self, top: Path) -> None:
        self.outside = top / "outside"
        self.target = top / "target"
        self.outside.mkdir()
        self.target.mkdir()
        (self.outside / "precious").write_text("do not touch")
        (self.outside / "directory").mkdir()
        (self.outside / "directory" / "key").write_text("secret")
        os.chmod(self.outside / "directory", 0o700)
        self.forger = Forger(new_keys())
        self.pack = self.forger.pack()
        self.evil = self.pack.chunk(b"evil content")

    def restore(
        self, root: PageRef | list[Entry], **request: object
    ) -> tuple[RestoreReport, dict[bytes, Problem]]:
        if isinstance(root, list):
            root = self.forger.tree(root, pack=self.pack)
            self.pack.seal()
        before = snapshot_of(bytes(self.outside))
        try:
            return restore_into(
                self.target, root, keys=self.forger.keys, source=PackBytes(self.forger.packs), **request
            )
        finally:
            assert snapshot_of(bytes(self.outside)) == before

    def raw(self, entries: list[Entry], *, last: Entry | None = None) -> PageRef:
        """A page that no honest client would write."""
        content = raw_leaf(entries)
        size = sum(item.size for item in entries if item.is_file)
        root = self.forger.leaf(content, last_key=(last or entries[-1]).key, entries=len(entries), size=size)
        self.pack.seal()
        return root

    def names(self) -> list[str]:
        return sorted(os.listdir(self.target))


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


@pytest.mark.parametrize(
    "name", [b"..", b".", b"", b"a/b", b"../escaped", b"/absolute", b"nul\0byte", b"../../outside/precious"]
)
@pytest.mark.parametrize("kind", ["file", "directory", "link", "fifo"])
def test_a_name_that_is_none_is_refused_with_its_page(ground: Ground, name: bytes, kind: str) -> None:
    fields = {"directory": b"", "name": name}
    made = {
        "file": lambda: file(b"x", ground.evil, **fields),
        "directory": lambda: directory(b"x", **fields),
        "link": lambda: link(b"x", b"/etc", **fields),
        "fifo": lambda: entry(b"x", mode=stat.S_IFIFO | 0o644, **fields),
    }[kind]()
    report, problems = ground.restore(ground.raw([made]))
    assert report.outcome is Outcome.INTEGRITY
    assert set(problems.values()) <= {Problem.UNSAFE, Problem.DAMAGED}
    assert ground.names() == []


@pytest.mark.parametrize("component", [b"..", b".", b"", b"a/b", b"../../outside"])
def test_a_directory_that_is_none_is_refused_with_its_page(ground: Ground, component: bytes) -> None:
    made = file(b"x", ground.evil, directory=component + b"\0", name=b"precious")
    report, _ = ground.restore(ground.raw([made]))
    assert report.outcome is Outcome.INTEGRITY
    assert ground.names() == []


def test_other_pages_survive_a_hostile_one(ground: Ground) -> None:
    honest = [file(b"m%03d" % number, ground.evil) for number in range(600)]
    root = ground.forger.tree(honest, pack=ground.pack)
    ground.pack.seal()
    bad = ground.forger.leaf(
        raw_leaf([file(b"a", ground.evil, name=b"..")]), last_key=b"\0..", entries=1, size=12
    )
    pack = ground.forger.pack()

    children = [bad, *_leaves(ground, root)]
    top = pack.page(
        PageType.INTERIOR,
        encode_interior(children),
        level=1,
        last_key=children[-1].last_key,
        entries=sum(child.entries for child in children),
        content=sum(child.content for child in children),
    )
    pack.seal()
    report, _ = ground.restore(top)
    assert report.errors == 1
    assert len(ground.names()) == 600


def _leaves(ground: Ground, root: PageRef) -> list[PageRef]:
    """However many levels the keys of this run happened to make."""
    with BlockFetcher(ground.forger.keys, PackBytes(ground.forger.packs)) as fetcher:
        reader = TreeReader(ground.forger.keys, fetcher.load_page)
        refs = [root]
        while refs[0].level:
            refs = [child for ref in refs for child in reader.children(ref).children]
        return refs


def test_nothing_is_written_through_a_link_of_the_tree(ground: Ground) -> None:
    outside = bytes(ground.outside)
    report, problems = ground.restore(
        [
            link(b"way-out", outside),
            link(b"second", b"../outside/directory"),
            file(b"way-out/precious", ground.evil),
            file(b"way-out/new", ground.evil),
            directory(b"second/sub"),
            file(b"second/sub/new", ground.evil),
            file(b"honest", ground.evil),
        ]
    )
    assert problems[b"way-out/precious"] is Problem.UNSAFE
    assert problems[b"second/sub/new"] is Problem.UNSAFE
    assert report.errors == 4
    assert (ground.target / "honest").read_bytes() == b"evil content"
    assert os.readlink(bytes(ground.target / "way-out")) == outside


@pytest.mark.parametrize("overwrite", list(Overwrite))
def test_nothing_is_written_through_a_link_that_was_there(ground: Ground, overwrite: Overwrite) -> None:
    (ground.target / "planted").symlink_to(ground.outside)
    (ground.target / "file").symlink_to(ground.outside / "precious")
    (ground.target / "deep").mkdir()
    (ground.target / "deep" / "directory").symlink_to(ground.outside / "directory")
    ground.restore(
        [
            directory(b"planted", mtime_ns=1),
            file(b"planted/precious", ground.evil),
            file(b"file", ground.evil, mtime_ns=1),
            directory(b"deep"),
            directory(b"deep/directory", mtime_ns=1),
            file(b"deep/directory/key", ground.evil),
            file(b"nowhere-told/precious", ground.evil),
        ],
        overwrite=overwrite,
    )
    assert (
        not (ground.target / "planted").is_dir()
        or not (ground.target / "planted").is_symlink()
        or (overwrite is not Overwrite.ALWAYS)
    )


def test_a_file_cannot_be_entered(ground: Ground) -> None:
    report, problems = ground.restore(
        [
            file(b"a", ground.evil),
            file(b"a/b", ground.evil),
            entry(b"f", mode=stat.S_IFIFO | 0o600),
            file(b"f/x", ground.evil),
        ]
    )
    assert problems == {b"a/b": Problem.UNSAFE, b"f/x": Problem.UNSAFE}
    assert report.errors == 2


def test_a_hard_link_group_joins_nothing_outside(ground: Ground) -> None:
    # The group's first name is a link out of the target, or is skipped because something has its name.
    os.link(ground.outside / "precious", ground.target / "taken")
    links_before = os.stat(ground.outside / "precious").st_nlink
    ground.restore(
        [
            link(b"a", bytes(ground.outside / "precious"), link_group=7),
            link(b"b", bytes(ground.outside / "precious"), link_group=7),
            file(b"taken", ground.evil, link_group=9),
            file(b"z", ground.evil, link_group=9),
        ]
    )
    assert os.stat(ground.outside / "precious").st_nlink == links_before
    assert os.lstat(ground.target / "a").st_ino == os.lstat(ground.target / "b").st_ino
    assert (ground.target / "z").read_bytes() == b"evil content"


def test_a_hard_link_group_joins_no_file_that_came_between(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else takes the first name before its batch is placed; later names are in later batches."""
    monkeypatch.setattr(pieces_module, "_WINDOW_PIECES", 1)
    monkeypatch.setattr(restore_module, "BATCH_OBJECTS", 1)
    place = Staging.place

    def late(self: Staging, staged: bytes, *, directory: int, name: bytes, placement: Placement) -> None:
        if name == b"a":
            (ground.target / "a").write_text("not ours")
        place(self, staged, directory=directory, name=name, placement=placement)

    monkeypatch.setattr(Staging, "place", late)
    report, problems = ground.restore([file(name, ground.evil, link_group=9) for name in (b"a", b"b", b"c")])
    assert problems == {b"a": Problem.WRITE}
    assert report.errors == 1
    assert (ground.target / "a").read_text() == "not ours"
    assert (ground.target / "b").read_bytes() == b"evil content"
    assert (ground.target / "b").stat().st_ino == (ground.target / "c").stat().st_ino


def test_a_hard_link_group_joins_nothing_in_a_directory_that_came_between(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces_module, "_WINDOW_PIECES", 1)
    monkeypatch.setattr(restore_module, "BATCH_OBJECTS", 2)
    place = Staging.place

    def late(self: Staging, staged: bytes, *, directory: int, name: bytes, placement: Placement) -> None:
        if name == b"d":
            (ground.target / "d").mkdir()
            (ground.target / "d" / "a").write_text("not ours")
        place(self, staged, directory=directory, name=name, placement=placement)

    monkeypatch.setattr(Staging, "place", late)
    names = (b"d/a", b"e/b", b"e/c")
    _, problems = ground.restore(
        [directory(b"d"), directory(b"e"), *(file(name, ground.evil, link_group=9) for name in names)]
    )
    assert problems[b"d"] is Problem.WRITE
    assert (ground.target / "d" / "a").read_text() == "not ours"
    assert (ground.target / "e" / "b").read_bytes() == b"evil content"
    assert (ground.target / "e" / "b").stat().st_ino == (ground.target / "e" / "c").stat().st_ino


def test_a_group_whose_members_differ_is_no_group(ground: Ground) -> None:
    other = ground.pack.chunk(b"something else")
    ground.restore([file(b"a", ground.evil, link_group=1), file(b"b", other, link_group=1)])
    assert (ground.target / "a").read_bytes() == b"evil content"
    assert (ground.target / "b").read_bytes() == b"something else"


def test_power_is_not_handed_out_unasked(ground: Ground) -> None:
    capability = (b"security.capability", b"\x01\x00\x00\x02" + b"\xff" * 16)
    report, problems = ground.restore(
        [
            file(b"set-id", ground.evil, mode=stat.S_IFREG | 0o6755),
            file(b"capable", ground.evil, mode=stat.S_IFREG | 0o755, xattrs=(capability,)),
            entry(b"disk", mode=stat.S_IFBLK | 0o666, device=(8, 0)),
            entry(b"memory", mode=stat.S_IFCHR | 0o666, device=(1, 1)),
        ]
    )
    assert stat.S_IMODE(os.stat(ground.target / "set-id").st_mode) == 0o755
    assert os.listxattr(ground.target / "capable") == []
    assert ground.names() == ["capable", "set-id"]
    assert set(problems.values()) == {Problem.SKIPPED}
    assert report.skipped == 2


def test_existing_files_are_not_written_into_but_replaced(ground: Ground) -> None:
    elsewhere = ground.target.parent / "elsewhere"
    elsewhere.write_text("do not touch")
    os.link(elsewhere, ground.target / "shared")
    ground.restore([file(b"shared", ground.evil)], overwrite=Overwrite.ALWAYS)
    assert (ground.target / "shared").read_bytes() == b"evil content"
    assert elsewhere.read_text() == "do not touch"


# --- somebody else, at the same time


@pytest.fixture
def swap(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Before every look-up of a directory in the target, it is swapped for a link out, and back after."""
    swapped: list[str] = []
    original = target_module.PosixTargetDirectory.enter

    def enter(self, name):  # type: ignore[no-untyped-def]
        place = os.path.join(os.fsencode(ground.target), self.key.replace(b"\0", b"/"), name)
        aside = os.fsencode(ground.target.parent / "aside")
        if name in {b"victim", b"inner"} and os.path.isdir(place) and not os.path.islink(place):
            swapped.append(os.fsdecode(name))
            os.rename(place, aside)
            os.symlink(os.fsencode(ground.outside / "directory"), place)
            try:
                return original(self, name)
            finally:
                os.unlink(place)
                os.rename(aside, place)
        return original(self, name)

    monkeypatch.setattr(target_module.PosixTargetDirectory, "enter", enter)
    return swapped


@pytest.mark.parametrize("overwrite", [Overwrite.NEVER, Overwrite.ALWAYS])
def test_a_parent_swapped_for_a_link_stops_what_is_below_it(
    ground: Ground, swap: list[str], overwrite: Overwrite
) -> None:
    (ground.target / "victim" / "inner").mkdir(parents=True)
    report, problems = ground.restore(
        [
            directory(b"victim"),
            directory(b"victim/inner"),
            file(b"victim/key", ground.evil),
            file(b"victim/inner/key", ground.evil),
        ],
        overwrite=overwrite,
    )
    assert swap
    assert Problem.UNSAFE in problems.values()
    assert report.outcome is Outcome.INTEGRITY


def test_parents_swapped_all_the_time_lead_nowhere(ground: Ground) -> None:
    """A thread swaps directories of the target for links to the outside as fast as it can."""
    for number in range(8):
        (ground.target / f"d{number}").mkdir()
    done = threading.Event()
    swaps = 0

    def race() -> None:
        nonlocal swaps
        while not done.is_set():
            for number in range(8):
                place = ground.target / f"d{number}"
                aside = ground.target.parent / f"aside{number}"
                # The restore may put a directory of its own where the link is; then the swap is lost.
                for step, *paths in (
                    (os.rename, place, aside),
                    (os.symlink, ground.outside / "directory", place),
                    (os.unlink, place),
                    (os.rename, aside, place),
                ):
                    with suppress(OSError):
                        step(*paths)  # type: ignore[operator]
                        swaps += 1

    racer = threading.Thread(target=race)
    racer.start()
    try:
        for _ in range(5):
            ground.pack = ground.forger.pack()
            extent = ground.pack.chunk(b"evil again")
            entries = [directory(b"d%d" % number) for number in range(8)]
            entries += [
                file(b"d%d/f%02d" % (number, place), extent) for number in range(8) for place in range(40)
            ]
            ground.restore(entries, overwrite=Overwrite.ALWAYS, special=Special.RESTORE)
    finally:
        done.set()
        racer.join()
    assert swaps > 0


# --- bombs


def test_a_block_that_claims_gigabytes_is_refused_before_it_is_opened(ground: Ground) -> None:

    bomb = b"\x01" + zstd.compress(bytes(64 << 20), 19)
    name = ground.evil.chunk
    assert name is not None
    address = ground.pack.block(bomb, [name], [1 << 20])

    extent = Extent(1 << 20, name, ChunkAddress(address, 0, 1 << 20))
    report, problems = ground.restore([file(b"bomb", extent), file(b"good", ground.evil)])
    assert problems == {b"bomb": Problem.DAMAGED}
    assert report.damaged_packs == {ground.pack.builder.pack_id}
    assert ground.names() == ["good"]


def test_a_file_of_a_petabyte_of_holes_costs_nothing(ground: Ground) -> None:

    hole = Extent(1 << 42)
    huge = entry(b"huge", size=(1 << 42) + 12, extents=(hole, ground.evil))
    report, problems = ground.restore([huge, file(b"good", ground.evil)])
    assert (ground.target / "good").read_bytes() == b"evil content"
    if not problems:
        found = os.stat(ground.target / "huge")
        assert found.st_size == (1 << 42) + 12
        assert found.st_blocks * 512 < 1 << 20
    assert report.errors == len(problems)


def test_a_page_that_claims_more_than_it_holds_is_refused(ground: Ground) -> None:
    content = raw_leaf([file(b"a", ground.evil)])
    root = ground.forger.leaf(content, last_key=b"\0a", entries=1_000_000, size=12)
    ground.pack.seal()
    report, _ = ground.restore(root)
    assert report.errors == 1_000_000
    assert ground.names() == []


def test_a_chunk_under_a_false_name_is_not_written(ground: Ground) -> None:
    forged = ground.pack.chunk(b"not what was saved", claimed=b"what was saved")
    report, problems = ground.restore([file(b"forged", forged), file(b"good", ground.evil)])
    assert problems == {b"forged": Problem.DAMAGED}
    assert report.damaged_packs == {ground.pack.builder.pack_id}
    assert ground.names() == ["good"]


@pytest.fixture
def bottomless(ground: Ground) -> Iterator[Ground]:
    """Emptied afterwards by `rm`: what pytest clears up with goes no deeper than its stack."""
    yield ground
    subprocess.run(["rm", "-rf", ground.target], check=True)


def test_a_deep_tree_needs_neither_stack_nor_descriptors(bottomless: Ground) -> None:
    path = b"d" * 8
    entries = []
    for _ in range(1200):
        entries.append(directory(path))
        path += b"/" + b"d" * 8
    entries.append(file(path, bottomless.evil))
    report, _ = bottomless.restore(entries)
    assert report.directories == 1200
    assert report.errors == 0
    report, _ = bottomless.restore(bottomless.forger.tree(entries), overwrite=Overwrite.ALWAYS)
    assert report.errors == 0
