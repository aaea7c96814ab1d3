"""Verifying says all is well when it is, and names what would be lost when it is not."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from muniment.engine.verify import Depth, VerifyReport, verify
from muniment.model.errors import Interrupted, Outcome
from muniment.model.ids import PackId
from muniment.model.packs import PackKind, SealedPack
from tests.support.forger import Forger, file
from tests.support.memory_vault import RecordingProgress, new_keys
from tests.support.restoring import PackBytes
from tests.unit.engine.conftest import Bench


@pytest.fixture
def home(tmp_path: Path) -> Bench:
    root = tmp_path / "machine" / "home"
    root.mkdir(parents=True)
    noise = random.Random(5)
    for number in range(12):
        (root / f"large-{number:02}").write_bytes(noise.randbytes(2_500_000))
    (root / "small").mkdir()
    for number in range(700):
        (root / "small" / f"file-{number:03}").write_bytes(noise.randbytes(number))
    with open(root / "comb", "wb") as comb:  # more extents than a page takes: a tree of its own
        for place in range(100):
            comb.seek(place << 20)
            comb.write(noise.randbytes(4096))
    bench = Bench(root)
    bench.back_up()
    return bench


def check(
    bench: Bench,
    packs: dict[PackId, bytes],
    *,
    depth: Depth,
    stored: dict[PackId, SealedPack] | None = None,
) -> VerifyReport:
    assert bench.last is not None
    listed = {pack: sealed for pack, (sealed, _) in bench.vault.packs.items()}
    return verify(
        [bench.last.root],
        stored=listed if stored is None else stored,
        depth=depth,
        keys=bench.keys,
        source=PackBytes(packs),
        progress=RecordingProgress(),
        stop=lambda: False,
    )


def contents(bench: Bench) -> dict[PackId, bytes]:
    return {pack: content for pack, (_, content) in bench.vault.packs.items()}


@pytest.mark.parametrize("depth", list(Depth))
def test_a_whole_vault_is_found_whole(home: Bench, depth: Depth) -> None:
    report = check(home, contents(home), depth=depth)
    assert report.outcome is Outcome.DONE
    assert report.files == 713
    assert home.last is not None
    assert report.pages == len(home.pages_of(home.last)) > 1
    if depth is Depth.DATA:
        assert report.packs == len(home.vault.of_kind(PackKind.DATA, PackKind.MIXED, PackKind.PAGE))
        assert report.read_bytes >= home.vault.stored_bytes - (1 << 20)


def test_a_pack_the_vault_does_not_list_is_missed_without_reading_data(home: Bench) -> None:
    victim = home.vault.of_kind(PackKind.DATA)[0]
    listed = {pack: sealed for pack, (sealed, _) in home.vault.packs.items() if pack != victim}
    report = check(home, contents(home), depth=Depth.PAGES, stored=listed)
    assert report.outcome is Outcome.INTEGRITY
    assert report.damages.keys() == {victim}
    assert 0 < report.damages[victim].files <= 713
    assert any(b"large" in path for path in report.damages[victim].paths)


def test_any_flipped_bit_is_found(home: Bench) -> None:
    noise = random.Random(11)
    packs = contents(home)
    needed = home.vault.of_kind(PackKind.DATA, PackKind.MIXED, PackKind.PAGE)
    for _ in range(12):
        victim = noise.choice(needed)
        spoiled = bytearray(packs[victim])
        spoiled[noise.randrange(len(spoiled))] ^= 1 << noise.randrange(8)
        report = check(home, packs | {victim: bytes(spoiled)}, depth=Depth.DATA)
        assert victim in report.damages, "a flipped bit went unnoticed"


def test_what_a_half_damaged_pack_still_holds_is_not_reported_lost(home: Bench) -> None:
    packs = contents(home)
    victim = max(home.vault.of_kind(PackKind.DATA), key=lambda pack: len(packs[pack]))
    spoiled = bytearray(packs[victim])
    spoiled[5_000_000] ^= 1
    report = check(home, packs | {victim: bytes(spoiled)}, depth=Depth.DATA)
    assert report.damages.keys() == {victim}
    assert report.damages[victim].files == 1
    assert report.damages[victim].paths[0].startswith(b"home/large-")


def test_damaged_pages_are_told_by_their_pack(home: Bench) -> None:
    packs = contents(home)
    assert home.last is not None
    assert home.last.root is not None
    victim = home.last.root.block.pack_id
    root = home.last.root.block
    spoiled = bytearray(packs[victim])
    spoiled[root.offset + 40] ^= 1
    report = check(home, packs | {victim: bytes(spoiled)}, depth=Depth.PAGES)
    assert report.damages[victim].entries == home.last.root.entries


def test_a_page_that_points_beside_its_chunks_is_found() -> None:
    forger = Forger(new_keys())
    pack = forger.pack()
    good = pack.chunk(b"good content")
    forged = pack.chunk(b"other content", claimed=b"what the page claims")
    root = forger.tree([file(b"forged", forged), file(b"good", good)], pack=pack)
    sealed, content = pack.builder.seal()
    forger.packs[sealed.pack_id] = bytes(content)
    report = verify(
        [root],
        stored={sealed.pack_id: sealed},
        depth=Depth.DATA,
        keys=forger.keys,
        source=PackBytes(forger.packs),
        progress=RecordingProgress(),
        stop=lambda: False,
    )
    assert report.damages[sealed.pack_id].paths == [b"forged"]


def test_shared_pages_are_read_once(home: Bench) -> None:
    first = home.last
    assert first is not None
    (home.root / "small" / "new").write_text("new")
    os.utime(home.root / "small")
    second = home.back_up()
    source = PackBytes(contents(home))
    listed = {pack: sealed for pack, (sealed, _) in home.vault.packs.items()}
    both = verify(
        [first.root, second.root, first.root],
        stored=listed,
        depth=Depth.PAGES,
        keys=home.keys,
        source=source,
        progress=RecordingProgress(),
        stop=lambda: False,
    )
    assert both.pages == len({*home.pages_of(first), *home.pages_of(second)})
    assert both.snapshots == 3


@pytest.mark.parametrize("depth", list(Depth))
def test_a_page_that_lies_in_two_packs_is_proved_in_both(home: Bench, depth: Depth) -> None:
    """As when two sets hold the same tree: one snapshot's copy says nothing of the other's."""
    first = home.last
    assert first is not None
    other = Bench(home.root, vault=home.vault)
    other.keys = home.keys
    second = other.back_up()
    known = set(home.leaf_ids(first))
    copy = next(ref for ref in other.pages_of(second) if ref.page_id in known)
    packs = contents(home)
    spoiled = bytearray(packs[copy.block.pack_id])
    spoiled[copy.block.offset + 40] ^= 1
    packs[copy.block.pack_id] = bytes(spoiled)
    report = verify(
        [first.root, second.root],
        stored={pack: sealed for pack, (sealed, _) in home.vault.packs.items()},
        depth=depth,
        keys=home.keys,
        source=PackBytes(packs),
        progress=RecordingProgress(),
        stop=lambda: False,
    )
    assert set(report.damages) == {copy.block.pack_id}
    assert report.damages[copy.block.pack_id].entries == copy.entries


def test_it_stops_when_asked(home: Bench) -> None:
    assert home.last is not None
    with pytest.raises(Interrupted):
        verify(
            [home.last.root],
            stored={},
            depth=Depth.DATA,
            keys=home.keys,
            source=home.vault,
            progress=RecordingProgress(),
            stop=lambda: True,
        )
