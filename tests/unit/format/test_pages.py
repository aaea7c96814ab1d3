"""Pages survive encoding, stay within their bounds, and are refused when nobody honest writes such."""

from __future__ import annotations

import itertools
import random
import stat
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.format.branch import offset_key
from muniment.format.leaf_writing import LeafWriter, PlainEntries, is_large
from muniment.format.page import (
    MAX_LEVEL,
    decode_extents,
    decode_interior,
    decode_leaf,
    encode_extents,
    encode_interior,
    encode_leaf,
    estimate_entry_size,
    packs_named,
)
from muniment.format.sizing import EXTRAS, LARGE_ENTRY, ExtentSizer, InteriorSizer
from muniment.model.entry import Entry, EntryFlag, Extent, PageRef, PageType
from muniment.model.errors import DamagedObject, IntegrityError, NewerFormat, UnsafePath
from muniment.model.ids import PackId, PageId
from tests.unit.format.makers import addresses, entries, extents, file_entry, page_entries, plain_entries


@given(page_entries)
def test_leaf_survives_encoding(many: list[Entry]) -> None:
    content = encode_leaf(many)
    page = decode_leaf(content)
    assert list(page.entries()) == many
    assert (page.first_key, page.last_key, page.count) == (many[0].key, many[-1].key, len(many))
    assert page.content == sum(entry.size for entry in many if entry.is_file)
    assert encode_leaf(list(page.entries())) == content
    assert packs_named(content) == packs_used(many)


def packs_used(many: list[Entry]) -> set[PackId]:
    used: set[PackId] = set()
    for entry in many:
        held = [*entry.extents, *(e for _, large in entry.large_xattrs for e in large)]
        used |= {extent.address.block.pack_id for extent in held if extent.address}
        if entry.extent_tree:
            used.add(entry.extent_tree.block.pack_id)
    return used


@given(page_entries)
def test_size_bounds_of_leaf_hold(many: list[Entry]) -> None:
    """Were one too small, a full leaf might not be noticed, and its end depend on how the tree was built."""
    leaf, before = LeafWriter(), LeafWriter().bound
    for entry in many:
        leaf.add(entry)
        assert leaf.bound - before <= estimate_entry_size(entry) + EXTRAS
        assert len(encode_leaf([entry])) <= estimate_entry_size(entry)
        before = leaf.bound
    assert len(leaf.page()) <= leaf.bound


@given(entries())
def test_large_entries_are_those_of_a_large_estimate(entry: Entry) -> None:
    for name in (entry.name, entry.name * 390, entry.name * 410):
        longer = replace(entry, name=name)
        assert is_large(longer) == (estimate_entry_size(longer) >= LARGE_ENTRY)


def test_size_bound_of_ordinary_leaf_is_close() -> None:
    rng = random.Random(1)
    leaf = LeafWriter()
    for number in range(200):
        leaf.add(file_entry(number, rng=rng))
    assert len(leaf.page()) <= leaf.bound < 1.6 * len(leaf.page())


@given(plain_entries(), st.lists(st.integers(0, 40)))
def test_plain_entries_make_the_same_leaf_in_columns(plain: PlainEntries, cuts: list[int]) -> None:
    by_entries, by_columns = LeafWriter(), LeafWriter()
    entries_ = list(plain.entries())
    other = replace(entries_[0], name=b"\0", file_system=plain.file_system ^ 1)
    for entry in [other, *entries_]:
        by_entries.add(entry)
    by_columns.add(other)
    ends = sorted({0, len(plain.names), *(cut for cut in cuts if cut < len(plain.names))})
    for start, stop in itertools.pairwise(ends):
        before = by_columns.bound
        by_columns.add_plain(plain, start, stop)
        assert by_columns.bound - before <= plain.growth(start, stop)
    assert by_columns.page() == by_entries.page()
    assert (by_columns.bound, by_columns.count, by_columns.content) == (
        by_entries.bound,
        by_entries.count,
        by_entries.content,
    )


@st.composite
def page_refs(draw: st.DrawFn, level: int, page_type: PageType) -> list[PageRef]:
    keys = sorted(draw(st.sets(st.binary(min_size=1, max_size=40), min_size=1, max_size=8)))
    return [
        PageRef(
            draw(addresses()), PageId(draw(st.binary(min_size=16, max_size=16))), page_type, level, key,
            draw(st.integers(1, 1 << 50)), draw(st.integers(0, 1 << 60)),
        )
        for key in keys
    ]  # fmt: skip


@given(page_refs(0, PageType.LEAF))
def test_interior_above_leaves_survives(children: list[PageRef]) -> None:
    content = encode_interior(children)
    page = decode_interior(content)
    assert (list(page.children), page.level) == (children, 1)
    assert packs_named(content) == {child.block.pack_id for child in children}
    sizer = InteriorSizer()
    assert len(content) <= [sizer.add(child) for child in children][-1]


@given(page_refs(3, PageType.EXTENT_INTERIOR))
def test_interior_of_extent_tree_survives(children: list[PageRef]) -> None:
    content = encode_interior(children, page_type=PageType.EXTENT_INTERIOR)
    assert list(decode_interior(content, page_type=PageType.EXTENT_INTERIOR).children) == children
    with pytest.raises(DamagedObject):
        decode_interior(content)


@given(st.lists(extents, min_size=1, max_size=20), st.integers(0, 1 << 50))
def test_extent_leaf_survives(held: list[Extent], start: int) -> None:
    rows = []
    sizer = ExtentSizer()
    for extent in held:
        rows.append((start, extent))
        start += extent.length
        sizer.add(extent)
    content = encode_extents(rows)
    assert list(decode_extents(content).extents) == rows
    assert len(content) <= sizer.size
    assert offset_key(rows[-1][0]) == rows[-1][0].to_bytes(8, "big")


# --- what nobody honest writes, sealed by a holder of the key

Plant = Callable[[list[Any]], None]


def a_leaf() -> list[Any]:
    rng = random.Random(2)
    many = [file_entry(number, rng=rng, directory=b"a\0b\0") for number in range(3)]
    link = replace(
        many[0], directory=b"a\0c\0", name=b"link", mode=stat.S_IFLNK | 0o777, extents=(), link_target=b"x"
    )
    page: list[Any] = msgspec.msgpack.decode(encode_leaf([*many, link]))
    return page


def run_of(page: list[Any], place: int = 0) -> list[Any]:
    run: list[Any] = page[5][place]
    return run


def put(run: list[Any], column: int, place: int, value: Any) -> None:
    run[column][place] = value


PLANTS: dict[str, tuple[type[IntegrityError], Plant]] = {
    "name with slash": (UnsafePath, lambda p: put(run_of(p), 2, 1, b"file-/x")),
    "name ..": (UnsafePath, lambda p: put(run_of(p), 2, 0, b"..")),
    "name .": (UnsafePath, lambda p: put(run_of(p), 2, 0, b".")),
    "empty name": (UnsafePath, lambda p: put(run_of(p), 2, 0, b"")),
    "name with NUL": (UnsafePath, lambda p: put(run_of(p), 2, 2, b"file-\0x")),
    "text name": (DamagedObject, lambda p: put(run_of(p), 2, 0, "a")),
    "names out of order": (DamagedObject, lambda p: run_of(p)[2].reverse()),
    "name twice": (DamagedObject, lambda p: put(run_of(p), 2, 1, run_of(p)[2][0])),
    "directory ..": (UnsafePath, lambda p: put(p[5], 0, 0, b"..\0")),
    "directory . inside": (UnsafePath, lambda p: put(p[5], 0, 0, b"a\0.\0")),
    "absolute directory": (UnsafePath, lambda p: put(p[5], 0, 0, b"\0a\0")),
    "directory with slash": (UnsafePath, lambda p: put(p[5], 0, 0, b"a/../b\0")),
    "directory not ended": (DamagedObject, lambda p: put(p[5], 0, 0, b"a\0b")),
    "directories out of order": (DamagedObject, lambda p: p[5].reverse()),
    "directory twice": (DamagedObject, lambda p: put(p[5], 1, 0, b"a\0b\0")),
    "negative size": (DamagedObject, lambda p: put(run_of(p), 4, 0, -1)),
    "size of 2^63": (DamagedObject, lambda p: put(run_of(p), 4, 0, 1 << 63)),
    "boolean size": (DamagedObject, lambda p: put(run_of(p), 4, 0, True)),
    "float time": (DamagedObject, lambda p: put(run_of(p), 5, 0, 1.5)),
    "no such type": (DamagedObject, lambda p: put(run_of(p), 3, 0, 0o130644)),
    "mode of 2^40": (DamagedObject, lambda p: put(run_of(p), 3, 0, 1 << 40)),
    "owner out of range": (DamagedObject, lambda p: put(run_of(p), 8, 0, 7)),
    "short column": (DamagedObject, lambda p: run_of(p)[6].pop()),
    "column of text": (DamagedObject, lambda p: put(run_of(p), 7, slice(None), "abc")),
    "column as bytes": (DamagedObject, lambda p: run_of(p).__setitem__(7, b"abc")),
    "empty run": (DamagedObject, lambda p: [run_of(p)[column].clear() for column in range(2, 10)]),
    "no runs": (DamagedObject, lambda p: p[5].clear()),
    "extents short of size": (DamagedObject, lambda p: put(run_of(p), 4, 0, run_of(p)[4][0] + 1)),
    "extent of nothing": (DamagedObject, lambda p: run_of(p)[9][0].append([0])),
    "extent beyond any block": (DamagedObject, lambda p: put(run_of(p)[9][0], 0, 3, 8 << 20)),
    "extent of an unknown block": (DamagedObject, lambda p: put(run_of(p)[9][0], 0, 2, 99)),
    "extent in a block -1": (DamagedObject, lambda p: put(run_of(p)[9][0], 0, 2, -1)),
    "chunk id too short": (DamagedObject, lambda p: put(run_of(p)[9][0], 0, 1, b"short")),
    "content of a link": (DamagedObject, lambda p: put(run_of(p, 1), 9, 0, [[5]])),
    "size without content": (DamagedObject, lambda p: put(run_of(p), 9, 0, None)),
    "empty content": (DamagedObject, lambda p: put(run_of(p), 9, 0, [])),
    "content of text": (DamagedObject, lambda p: put(run_of(p), 9, 0, "x")),
    "65 extents": (DamagedObject, lambda p: put(run_of(p), 9, 0, [[1]] * 65)),
    "page reference of nothing": (DamagedObject, lambda p: put(run_of(p), 9, 0, {0: []})),
    "extras out of range": (DamagedObject, lambda p: run_of(p)[10].__setitem__(3, {5: 1})),
    "unknown extra": (DamagedObject, lambda p: run_of(p)[10].__setitem__(0, {9: 1})),
    "unknown flag": (DamagedObject, lambda p: run_of(p)[10].__setitem__(0, {5: 64})),
    "target of a file": (DamagedObject, lambda p: run_of(p)[10].__setitem__(0, {1: b"x"})),
    "link without target": (DamagedObject, lambda p: run_of(p, 1)[10].clear()),
    "target with NUL": (DamagedObject, lambda p: run_of(p, 1)[10].__setitem__(0, {1: b"a\0b"})),
    "device number of a file": (DamagedObject, lambda p: run_of(p)[10].__setitem__(0, {2: [1, 2]})),
    "attributes out of order": (
        DamagedObject, lambda p: run_of(p)[10].__setitem__(0, {3: [[b"b", b""], [b"a", b""]]}),
    ),
    "block before the header": (DamagedObject, lambda p: put(p[3], 0, 2, 0)),
    "block past any pack": (DamagedObject, lambda p: put(p[3], 0, 2, 64 << 20)),
    "block of an unknown pack": (DamagedObject, lambda p: put(p[3], 0, 0, 1)),
    "pack of an unknown kind": (DamagedObject, lambda p: put(p[2], 0, 1, 9)),
    "pack twice": (DamagedObject, lambda p: p[2].append(p[2][0])),
    "other type": (DamagedObject, lambda p: p.__setitem__(1, 1)),
    "version 0": (DamagedObject, lambda p: p.__setitem__(0, 0)),
    "a field more": (DamagedObject, lambda p: p.append(1)),
}  # fmt: skip


@pytest.mark.parametrize("plant", PLANTS)
def test_planted_leaf_is_refused(plant: str) -> None:
    error, change = PLANTS[plant]
    page = a_leaf()
    assert list(decode_leaf(msgspec.msgpack.encode(page)).entries())
    change(page)
    with pytest.raises(error):
        list(decode_leaf(msgspec.msgpack.encode(page)).entries())


def test_newer_page_is_left_alone() -> None:
    page = a_leaf()
    page[0] = 2
    with pytest.raises(NewerFormat):
        decode_leaf(msgspec.msgpack.encode(page))


def test_unreadable_file_may_lack_its_content() -> None:
    entry = replace(file_entry(1, rng=random.Random(3)), extents=(), flags=EntryFlag.UNREADABLE)
    assert list(decode_leaf(encode_leaf([entry])).entries()) == [entry]


BOMBS = [
    b"",
    b"\xc0",
    b"\xdd\xff\xff\xff\xff",
    b"\x91" * 5000,
    b"\x96\x01\x00" + b"\xdd\xff\xff\xff\xff" * 4,
    b"\xdf\xff\xff\xff\xff",
]


@pytest.mark.parametrize("content", BOMBS)
def test_bomb_is_refused_without_allocating(content: bytes) -> None:
    for decode in (decode_leaf, decode_interior, decode_extents, packs_named):
        with pytest.raises(DamagedObject):
            decode(content)


@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    for decode in (decode_leaf, decode_interior, decode_extents, packs_named):
        with pytest.raises((IntegrityError, NewerFormat)):
            decode(b"\x96\x01" + noise)


@given(entries(), st.integers(0, 10_000), st.integers(0, 7))
def test_flipped_page_decodes_or_is_refused_by_name(entry: Entry, at: int, bit: int) -> None:
    """Ids catch every flip; here a parser met with authenticated nonsense must not fail in any other way."""
    content = bytearray(encode_leaf([entry]))
    content[at % len(content)] ^= 1 << bit
    try:
        assert list(decode_leaf(bytes(content)).entries()) is not None
    except (IntegrityError, NewerFormat):
        pass


@pytest.mark.parametrize(
    "change",
    [
        lambda page: page[3].reverse(),
        lambda page: page[3].clear(),
        lambda page: page[3][0].__setitem__(1, 4),
        lambda page: page[3][0].__setitem__(1, MAX_LEVEL),
        lambda page: page[3][0].__setitem__(0, b""),
        lambda page: page[3][0].__setitem__(7, 0),
        lambda page: page[3][0].__setitem__(8, -1),
        lambda page: page[3][0].__setitem__(2, 5),
        lambda page: page[3][0].pop(),
    ],
)
def test_planted_interior_is_refused(change: Plant) -> None:
    refs = [
        PageRef(
            file_entry(1, rng=random.Random(4)).extents[0].address.block,  # type: ignore[union-attr]
            PageId(b"i" * 16), PageType.LEAF, 0, key, 1, 1,
        )
        for key in (b"\0a", b"\0b")
    ]  # fmt: skip
    page = msgspec.msgpack.decode(encode_interior(refs))
    change(page)
    with pytest.raises(DamagedObject):
        decode_interior(msgspec.msgpack.encode(page))
