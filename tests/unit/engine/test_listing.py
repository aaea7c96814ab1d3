"""Looking into a snapshot without restoring it."""

from __future__ import annotations

from pathlib import Path

import pytest

from muniment.engine.listing import TreeListing, open_listing
from muniment.model.errors import DamagedObject, UsageError
from tests.support.restoring import PackBytes
from tests.unit.engine.conftest import Bench


@pytest.fixture
def home(tmp_path: Path) -> Bench:
    root = tmp_path / "machine" / "home"
    (root / "documents" / "old").mkdir(parents=True)
    (root / "documents" / "Letter.TXT").write_bytes(b"x" * 10)
    (root / "documents" / "old" / "letter.txt").write_bytes(b"x" * 100)
    (root / "documents2").mkdir()
    (root / "documents2" / "note").write_bytes(b"x" * 1000)
    (root / "zebra").symlink_to("documents")
    for number in range(500):
        (root / f"many-{number:03}").write_bytes(b"x")
    bench = Bench(root)
    bench.back_up()
    return bench


def names(entries) -> list[bytes]:  # type: ignore[no-untyped-def]
    return [entry.path for entry in entries]


def test_one_directory_at_a_time(home: Bench) -> None:
    assert home.last is not None
    with open_listing(home.last.root, keys=home.keys, source=home.vault) as tree:
        assert names(tree.directory(b"")) == [b"home"]
        assert len(list(tree.directory(b"/home"))) == 503
        assert names(tree.directory(b"home/documents/")) == [
            b"home/documents/Letter.TXT",
            b"home/documents/old",
        ]
        assert names(tree.directory(b"home/zebra")) == [b"home/zebra"]
        assert names(tree.directory(b"home/documents2/note")) == [b"home/documents2/note"]
        with pytest.raises(UsageError):
            list(tree.directory(b"home/documents3"))
        assert tree.entry(b"home/documents") is not None
        assert tree.entry(b"home/document") is None


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("letter.txt", {b"home/documents/Letter.TXT", b"home/documents/old/letter.txt"}),
        ("*.txt", {b"home/documents/old/letter.txt"}),
        ("*/old/*", {b"home/documents/old/letter.txt"}),
        ("documents/*.TXT", {b"home/documents/Letter.TXT"}),
        ("/home/documents2/*", {b"home/documents2/note"}),
        ("[z]ebra", {b"home/zebra"}),
        ("none such", set()),
    ],
)
def test_finding(home: Bench, pattern: str, found: set[bytes]) -> None:
    assert home.last is not None
    with open_listing(home.last.root, keys=home.keys, source=home.vault) as tree:
        assert set(names(tree.find(pattern))) == found


def test_finding_below_a_path(home: Bench) -> None:
    assert home.last is not None
    with open_listing(home.last.root, keys=home.keys, source=home.vault) as tree:
        assert names(tree.find("*", under=b"home/documents")) == [
            b"home/documents",
            b"home/documents/Letter.TXT",
            b"home/documents/old",
            b"home/documents/old/letter.txt",
        ]


def test_totals_are_of_the_path_and_no_neighbour(home: Bench) -> None:
    assert home.last is not None

    def totals(tree: TreeListing, path: bytes) -> tuple[int, int]:
        found = tree.totals(path)
        return found.entries, found.content

    with open_listing(home.last.root, keys=home.keys, source=home.vault) as tree:
        assert totals(tree, b"home/documents") == (4, 110)
        assert totals(tree, b"home/documents2") == (2, 1000)
        assert totals(tree, b"home/documents/Letter.TXT") == (1, 10)
        assert totals(tree, b"") == (508, 1610)


def test_what_can_be_read_is_listed_before_damage_is_told(home: Bench) -> None:
    assert home.last is not None
    leaves = list(home.reader.leaves(home.last.root))
    victim = leaves[1][0].block
    packs = {pack: bytearray(content) for pack, (_, content) in home.vault.packs.items()}
    packs[victim.pack_id][victim.offset + 20] ^= 1
    source = PackBytes({pack: bytes(content) for pack, content in packs.items()})
    listed: list[bytes] = []
    with open_listing(home.last.root, keys=home.keys, source=source) as tree:
        with pytest.raises(DamagedObject):
            for entry in tree.find("*"):
                listed.append(entry.path)
    assert len(listed) == 508 - leaves[1][1].count


def test_an_empty_snapshot_lists_nothing(home: Bench) -> None:
    with open_listing(None, keys=home.keys, source=home.vault) as tree:
        assert list(tree.directory(b"")) == []
        assert list(tree.find("*")) == []
        assert tree.totals().entries == 0
