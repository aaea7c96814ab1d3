"""A tree is a sorted map; equal maps have equal trees, and near ones share pages."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.crypto.digests import PAGE_FANOUT
from muniment.format.page import MAX_ENTRY, MAX_KEY, PlainEntries, encode_interior, encode_leaf, fits_page
from muniment.format.sizing import LARGE_ENTRY, PAGE_FULL
from muniment.format.tree import TreeBuilder, TreeReader, build_extent_tree
from muniment.model.entry import Entry, Extent, PageRef, PageType, key_of_path
from muniment.model.errors import DamagedObject
from muniment.model.ids import ChunkId, PackId
from muniment.model.packs import BlockAddress, ChunkAddress, PackKind
from tests.unit.format.makers import KEYS, Memo, PageStore, file_entry, page_entries


def build(many: list[Entry], store: PageStore) -> PageRef | None:
    builder = TreeBuilder(KEYS, store.store)
    for entry in many:
        builder.add(entry)
    return builder.finish()


def directory_of(number: int) -> bytes:
    return b"" if number % 7 == 0 else b"d%02d\0" % (number // 300) + (b"deep\0" if number % 3 == 0 else b"")


def large_tree(count: int, *, seed: int = 5) -> list[Entry]:
    rng = random.Random(seed)
    many = [file_entry(number, rng=rng, directory=directory_of(number)) for number in range(count)]
    return sorted(many, key=lambda entry: entry.key)


@given(page_entries)
def test_tree_gives_back_its_entries(many: list[Entry]) -> None:
    store = PageStore()
    root = build(many, store)
    reader = TreeReader(KEYS, store.load)
    assert list(reader.entries(root)) == many
    assert all(reader.find(root, entry.directory, entry.name) == entry for entry in many)


def test_empty_tree_has_no_root() -> None:
    assert build([], PageStore()) is None
    reader = TreeReader(KEYS, PageStore().load)
    assert (list(reader.entries(None)), reader.find(None, b"", b"a"), reader.totals(None, b"")) == (
        [],
        None,
        (0, 0),
    )


def test_large_tree_answers_as_a_dict_does() -> None:
    many = large_tree(5000)
    store = PageStore()
    root = build(many, store)
    assert root is not None
    assert root.level >= 1
    reader = TreeReader(KEYS, store.load)
    assert list(reader.entries(root)) == many
    assert (root.entries, root.content) == (len(many), sum(entry.size for entry in many))
    for directory in {entry.directory for entry in many} | {b"", b"d03\0", b"none\0"}:
        below = [entry for entry in many if entry.directory.startswith(directory)]
        assert reader.totals(root, directory) == (len(below), sum(entry.size for entry in below))
    for path in (b"d04", b"d04/deep", b"d0"):
        directory, name = key_of_path(path)
        below = [entry for entry in many if (entry.path + b"/").startswith(path + b"/")]
        assert list(reader.entries(root, (directory, name))) == below
    assert 0.6 * PAGE_FANOUT < len(many) / sum(1 for _ in reader.leaves(root)) < 1.7 * PAGE_FANOUT


@pytest.mark.parametrize("seed", range(5))
def test_change_of_metadata_touches_only_a_path_of_pages(seed: int) -> None:
    many = large_tree(8000)
    store = PageStore()
    before = build(many, store)
    place = random.Random(seed).randrange(len(many))
    store.new = 0
    many[place] = replace(many[place], mtime_ns=1, mode=0o100600, inode=7)
    after = build(many, store)
    assert before is not None
    assert after != before
    assert store.new <= before.level + 1


def test_insertion_and_removal_touch_few_pages() -> None:
    many = large_tree(8000)
    store = PageStore()
    root = build(many, store)
    assert root is not None
    store.new = 0
    build(many[:4000] + many[4001:], store)
    build(sorted([*many, replace(many[9], name=b"new")], key=lambda entry: entry.key), store)
    assert store.new <= 2 * (2 * root.level + 2)


def rebuild(
    many: list[Entry], old: list[tuple[PageRef, list[Entry]]], store: PageStore
) -> tuple[PageRef | None, int]:
    """Build `many` carrying over the parent's leaves wherever their entries are all the same."""
    builder, place, carried = TreeBuilder(KEYS, store.store), 0, 0
    starts = {held[0].key: (ref, held) for ref, held in old}
    while place < len(many):
        ref, held = starts.get(many[place].key, (None, []))
        if ref is not None and many[place : place + len(held)] == held and builder.takes_leaf_ref(ref):
            builder.add_leaf_ref(ref)
            place += len(held)
            carried += 1
        else:
            builder.add(many[place])
            place += 1
    return builder.finish(), carried


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_carrying_leaves_over_gives_the_tree_built_from_nothing(data: st.DataObject) -> None:
    many = large_tree(1500, seed=data.draw(st.integers(0, 3)))
    if data.draw(st.booleans()):  # wide entries, so that full pages end some leaves
        many = [replace(entry, xattrs=((b"user.x", b"v" * 400),)) for entry in many]
    store = PageStore()
    root = build(many, store)
    old = [(ref, list(leaf.entries())) for ref, leaf in TreeReader(KEYS, store.load).leaves(root)]
    changed = list(many)
    for _ in range(data.draw(st.integers(0, 6))):
        place = data.draw(st.integers(0, len(changed) - 1))
        match data.draw(st.sampled_from(["change", "remove", "insert", "grow"])):
            case "change":
                changed[place] = replace(changed[place], mtime_ns=data.draw(st.integers(0, 9)))
            case "remove":
                del changed[place]
            case "insert":
                changed.insert(place, replace(changed[place], name=changed[place].name[:-1] + b"\x01"))
                changed = sorted({e.key: e for e in changed}.values(), key=lambda e: e.key)
            case "grow":
                changed[place] = replace(changed[place], xattrs=((b"user.y", b"w" * 4000),))
    again, carried = rebuild(changed, old, store)
    assert again == build(changed, store)
    assert carried >= len(old) - 16 - sum(len(held) > 60 for _, held in old) or carried > 0


def test_last_and_full_leaves_are_not_carried_over() -> None:
    many = large_tree(300)
    store = PageStore()
    refs = [ref for ref, _ in TreeReader(KEYS, store.load).leaves(build(many, store))]
    builder = TreeBuilder(KEYS, store.store)
    assert not builder.takes_leaf_ref(refs[-1])
    with pytest.raises(ValueError):
        builder.add_leaf_ref(refs[-1])
    builder.add(replace(many[0], directory=b"", name=b"\x01"))
    with pytest.raises(ValueError):
        builder.add_leaf_ref(refs[0])


@pytest.mark.parametrize("cut", [0, 1, 700, 1999])
def test_fork_goes_on_independently(cut: int) -> None:
    many = large_tree(2000)
    store = PageStore()
    builder = TreeBuilder(KEYS, store.store)
    for entry in many[:cut]:
        builder.add(entry)
    twin = builder.fork()
    partial = twin.finish()
    for entry in many[cut:]:
        builder.add(entry)
    assert builder.finish() == build(many, store)
    assert partial == build(many[:cut], store)


def test_keys_must_grow() -> None:
    many = large_tree(3)
    builder = TreeBuilder(KEYS, PageStore().store)
    builder.add(many[1])
    for entry in (many[1], many[0]):
        with pytest.raises(ValueError):
            builder.add(entry)


def test_no_page_passes_64_kib_unless_one_entry_does() -> None:
    rng = random.Random(8)
    sizes = [rng.choice([0, 100, 4000, 4096 * 3, 90_000]) for _ in range(400)]
    many = [
        replace(file_entry(number, rng=rng), xattrs=tuple(
            (b"user.%03d" % at, b"v" * min(4096, size - at * 4096)) for at in range(-(-size // 4096))
        ))
        for number, size in enumerate(sizes)
    ]  # fmt: skip
    store = PageStore()
    root = build(many, store)
    reader = TreeReader(KEYS, store.load)
    counts = []
    for ref, leaf in reader.leaves(root):
        counts.append(leaf.count)
        assert len(store.pages[ref.page_id]) <= 64 << 10 or leaf.count == 1
    assert list(reader.entries(root)) == many
    assert PAGE_FULL + LARGE_ENTRY <= 64 << 10
    assert max(counts) > 1


def test_keys_as_long_as_pages_still_make_a_tree() -> None:
    rng = random.Random(9)
    deep = b"".join(b"x" * 250 + b"\0" for _ in range(500))
    many = [file_entry(number, rng=rng, directory=deep + b"%02d\0" % number) for number in range(40)]
    assert all(fits_page(entry) for entry in many)
    assert not fits_page(replace(many[0], directory=deep + b"y" * MAX_KEY + b"\0"))
    assert not fits_page(replace(many[0], xattrs=((b"user.x", b"v" * MAX_ENTRY),)))
    store = PageStore()
    root = build(many, store)
    assert list(TreeReader(KEYS, store.load).entries(root)) == many


# --- extent trees


def disk_image(count: int) -> list[Extent]:
    rng = random.Random(10)
    extents = []
    for number in range(count):
        block = BlockAddress(
            PackId(bytes([number // 16 % 256]) * 16), PackKind.DATA, 0, number % 16, 32, 1 << 20
        )
        length = rng.randrange(1 << 18, 1 << 22)
        hole = rng.random() < 0.1
        extents.append(
            Extent(length)
            if hole
            else Extent(length, ChunkId(rng.randbytes(16)), ChunkAddress(block, 0, length))
        )
    return extents


def file_of(extents: list[Extent], store: PageStore) -> Entry:
    tree = build_extent_tree(KEYS, store.store, extents)
    size = sum(extent.length for extent in extents)
    return replace(file_entry(1, rng=random.Random(1)), extents=(), extent_tree=tree, size=size)


@pytest.mark.parametrize("count", [65, 3000])
def test_extent_tree_gives_back_its_extents(count: int) -> None:
    extents = disk_image(count)
    store = PageStore()
    entry = file_of(extents, store)
    root = build([entry], store)
    reader = TreeReader(KEYS, store.load)
    (found,) = reader.entries(root)
    assert list(reader.extents(found)) == extents
    data = {extent.address.block.pack_id for extent in extents if extent.address}
    pages = {address.pack_id for address in store.addresses.values()}
    memo = Memo()
    assert reader.reachable_packs(root, memo) == data | pages
    # Memoised: nothing is loaded again.
    assert TreeReader(KEYS, PageStore().load).reachable_packs(root, memo) == data | pages


def test_change_inside_a_huge_file_touches_few_pages() -> None:
    extents = disk_image(6000)
    store = PageStore()
    tree = build_extent_tree(KEYS, store.store, extents)
    extents[3000] = extents[3000]._replace(chunk=ChunkId(b"n" * 16)) if extents[3000].chunk else extents[3000]
    extents[3001] = Extent(extents[3001].length)
    store.new = 0
    build_extent_tree(KEYS, store.store, extents)
    assert store.new <= 2 * (tree.level + 1)


# --- hostile trees


class Liar(PageStore):
    """Serves other bytes for some pages."""

    def __init__(self, store: PageStore) -> None:
        super().__init__()
        self.pages = dict(store.pages)
        self.addresses = dict(store.addresses)


def test_swapped_and_altered_pages_are_found() -> None:
    store = PageStore()
    root = build(large_tree(3000), store)
    refs = [ref for ref, _ in TreeReader(KEYS, store.load).leaves(root)]
    for victim, content in (
        (refs[0], store.pages[refs[1].page_id]),
        (refs[2], store.pages[refs[2].page_id][:-1]),
        (refs[3], b""),
    ):
        liar = Liar(store)
        liar.pages[victim.page_id] = content
        with pytest.raises(DamagedObject):
            list(TreeReader(KEYS, liar.load).entries(root))


@pytest.mark.parametrize("seed", range(4))
def test_every_flipped_bit_of_a_page_is_found(seed: int) -> None:
    """By its id, before anything is parsed: that also covers pages kept on the client's own disk."""
    rng = random.Random(seed)
    store = PageStore()
    entry = file_of(disk_image(200), store)
    root = build([*large_tree(1000), replace(entry, directory=b"z\0")], store)
    for _ in range(30):
        victim = rng.choice(list(store.pages))
        liar = Liar(store)
        content = bytearray(store.pages[victim])
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        liar.pages[victim] = bytes(content)
        with pytest.raises(DamagedObject, match="another id"):
            TreeReader(KEYS, liar.load).reachable_packs(root, Memo())


def test_interior_page_is_never_read_as_a_leaf_or_back() -> None:
    store = PageStore()
    root = build(large_tree(3000), store)
    assert root is not None
    leaf = next(ref for ref, _ in TreeReader(KEYS, store.load).leaves(root))
    for ref in (
        replace(root, page_type=PageType.LEAF, level=0),
        replace(leaf, page_type=PageType.INTERIOR, level=1),
        replace(leaf, page_type=PageType.EXTENT_LEAF),
        replace(root, level=root.level + 1),
    ):
        with pytest.raises(DamagedObject):
            list(TreeReader(KEYS, store.load).entries(ref))


@pytest.mark.parametrize(
    "lie", [{"entries": 5}, {"content": 1}, {"last_key": b"\0zzz"}, {"last_key": b"\0a"}]
)
def test_parent_that_lies_about_a_child_is_found(lie: dict[str, int | bytes]) -> None:
    store = PageStore()
    child = build(large_tree(30), store)
    assert child is not None
    false = replace(child, **lie)  # type: ignore[arg-type]
    page = encode_interior([false])
    spine = TreeBuilder(KEYS, store.store)._spine
    root = spine.store(
        PageType.INTERIOR,
        page,
        level=1,
        last_key=false.last_key,
        entries=false.entries,
        content=false.content,
    )
    with pytest.raises(DamagedObject):
        list(TreeReader(KEYS, store.load).entries(root))


def test_overlapping_siblings_are_found() -> None:
    store = PageStore()
    many = large_tree(40)
    spine = TreeBuilder(KEYS, store.store)._spine
    refs = [
        spine.store(
            PageType.LEAF, encode_leaf(part), level=0, last_key=part[-1].key, entries=len(part),
            content=sum(entry.size for entry in part),
        )
        for part in (many[:20], many[10:])
    ]  # fmt: skip
    root = spine.store(
        PageType.INTERIOR, encode_interior(refs), level=1, last_key=refs[1].last_key,
        entries=refs[0].entries + refs[1].entries, content=refs[0].content + refs[1].content,
    )  # fmt: skip
    with pytest.raises(DamagedObject):
        list(TreeReader(KEYS, store.load).entries(root))


def test_extent_tree_of_another_length_is_found() -> None:
    store = PageStore()
    entry = file_of(disk_image(500), store)
    reader = TreeReader(KEYS, store.load)
    for size in (entry.size - 1, entry.size + 1, 1):
        with pytest.raises(DamagedObject):
            list(reader.extents(replace(entry, size=size)))


def in_columns(many: list[Entry]) -> PlainEntries:
    first = many[0]
    return PlainEntries(
        directory=first.directory,
        file_system=first.file_system,
        owner=first.owner,
        names=[entry.name for entry in many],
        modes=[entry.mode for entry in many],
        sizes=[entry.size for entry in many],
        mtimes=[entry.mtime_ns for entry in many],
        ctimes=[entry.ctime_ns for entry in many],
        inodes=[entry.inode for entry in many],
        contents=[entry.extents[0] if entry.extents else None for entry in many],
    )


@given(st.integers(), st.integers(1, 400), st.sampled_from([9, 30, 230]), st.integers(0, 9000))
@settings(deadline=None, max_examples=30)
def test_columns_make_the_same_tree_however_they_are_cut(
    seed: int, count: int, name_length: int, depth: int
) -> None:
    """Also where leaves end because they are full, or before an entry that is large by its path."""
    rng = random.Random(seed)
    directory = b"d" * rng.choice([1, depth]) + b"\0" if depth else b""
    many = [file_entry(number, rng=rng, directory=directory) for number in range(count)]
    block = many[0].extents[0].address
    assert block is not None
    for place, entry in enumerate(many):
        many[place] = entry = replace(entry, name=entry.name + b"n" * name_length, file_system=seed & 3)
        if rng.random() < 0.3:  # every such file in a block, and a pack, of its own
            apart = block._replace(block=block.block._replace(pack_id=PackId(rng.randbytes(16))))
            many[place] = replace(entry, extents=(entry.extents[0]._replace(address=apart),))
    store = PageStore()
    builder = TreeBuilder(KEYS, store.store)
    before = replace(many[0], name=b"a", file_system=0)
    builder.add(before)
    place = 0
    while place < count:
        length = rng.randrange(1, 150)
        builder.add_plain(in_columns(many[place : place + length]))
        place += length
    assert builder.finish() == build([before, *many], PageStore())


def test_columns_out_of_order_are_refused() -> None:
    rng = random.Random(1)
    many = [file_entry(number, rng=rng) for number in range(3)]
    builder = TreeBuilder(KEYS, PageStore().store)
    builder.add_plain(in_columns(many[1:]))
    for wrong in (many, many[2:], [many[2], many[1]]):
        with pytest.raises(ValueError, match="out of order"):
            builder.add_plain(in_columns(wrong))
