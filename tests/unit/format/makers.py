"""Hypothesis strategies and small stores for what a tree is made of."""

from __future__ import annotations

import random
import stat
from dataclasses import replace

from hypothesis import strategies as st

from muniment.crypto.digests import page_id
from muniment.crypto.keys import VaultKeys
from muniment.format.block import MAX_BLOCK_PLAIN
from muniment.format.page import PlainEntries
from muniment.model.entry import Entry, EntryFlag, Extent, Owner, PageRef, PageType
from muniment.model.ids import ChunkId, PackId, PageId, VaultId
from muniment.model.packs import BlockAddress, ChunkAddress, PackKind

KEYS = VaultKeys(VaultId(bytes(range(16))), {0: b"\x07" * 32, 3: b"\x09" * 32})

U63 = (1 << 63) - 1
names = st.binary(min_size=1, max_size=20).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in {b".", b".."}
)
directories = st.lists(names, max_size=3).map(lambda parts: b"".join(part + b"\0" for part in parts))
packs = st.integers(0, 5).map(lambda n: (PackId(bytes([n]) * 16), list(PackKind)[n % 3], n % 2 * 3))


@st.composite
def addresses(draw: st.DrawFn) -> BlockAddress:
    """Of one pack, the place and length of an ordinal are always the same, as in real packs."""
    pack, kind, epoch = draw(packs)
    ordinal = draw(st.integers(0, 300))
    return BlockAddress(pack, kind, epoch, ordinal, 32 + ordinal * 5000, 29 + ordinal)


@st.composite
def data_extents(draw: st.DrawFn) -> Extent:
    length = draw(st.integers(1, MAX_BLOCK_PLAIN))
    inner = draw(st.integers(0, MAX_BLOCK_PLAIN - length))
    chunk = ChunkId(draw(st.binary(min_size=16, max_size=16)))
    return Extent(length, chunk, ChunkAddress(draw(addresses()), inner, length))


holes = st.integers(1, 1 << 45).map(Extent)
extents = st.one_of(data_extents(), holes)
owners = st.builds(
    Owner, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.binary(max_size=8), st.binary(max_size=8)
)
times = st.integers(-(1 << 63), U63)
modes = st.integers(0, 0o7777)
flags = st.integers(0, 31).map(EntryFlag)
xattr_names = st.binary(min_size=1, max_size=10).filter(lambda name: b"\0" not in name)


@st.composite
def extent_trees(draw: st.DrawFn) -> PageRef:
    level = draw(st.integers(0, 3))
    return PageRef(
        draw(addresses()),
        PageId(draw(st.binary(min_size=16, max_size=16))),
        PageType.EXTENT_INTERIOR if level else PageType.EXTENT_LEAF,
        level,
        draw(st.binary(min_size=8, max_size=8)),
        draw(st.integers(65, 1 << 40)),
        draw(st.integers(65, U63)),
    )


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    """Any entry an honest client may write."""
    small = draw(st.dictionaries(xattr_names, st.binary(max_size=40), max_size=3))
    large = draw(st.dictionaries(xattr_names, st.lists(data_extents(), min_size=1, max_size=2), max_size=1))
    entry = Entry(
        directory=draw(directories),
        name=draw(names),
        mode=draw(modes),
        size=draw(st.integers(0, U63)),
        mtime_ns=draw(times),
        ctime_ns=draw(times),
        inode=draw(st.integers(0, (1 << 64) - 1)),
        owner=draw(owners),
        file_system=draw(st.integers(0, 3)),
        link_group=draw(st.integers(0, 3)),
        xattrs=tuple(sorted(small.items())),
        large_xattrs=tuple((name, tuple(e)) for name, e in sorted(large.items()) if name not in small),
        flags=draw(flags),
        windows=draw(st.binary(max_size=5)),
        macos=draw(st.binary(max_size=5)),
    )
    return draw(with_content(entry))


@st.composite
def with_content(draw: st.DrawFn, entry: Entry) -> Entry:
    kind = draw(st.sampled_from(["file", "file", "file", "big", "dir", "link", "fifo", "socket", "device"]))
    if kind == "file":
        held = tuple(draw(st.lists(extents, max_size=4)))
        return replace(
            entry, mode=entry.mode | stat.S_IFREG, extents=held, size=sum(extent.length for extent in held)
        )
    if kind == "big":
        tree = draw(extent_trees())
        return replace(entry, mode=entry.mode | stat.S_IFREG, extent_tree=tree, size=tree.content)
    if kind == "link":
        target = draw(st.binary(min_size=1, max_size=30).filter(lambda text: b"\0" not in text))
        return replace(entry, mode=entry.mode | stat.S_IFLNK, link_target=target)
    if kind == "device":
        numbers = draw(st.tuples(st.integers(0, 4095), st.integers(0, 1 << 20)))
        return replace(
            entry, mode=entry.mode | draw(st.sampled_from([stat.S_IFBLK, stat.S_IFCHR])), device=numbers
        )
    types = {"dir": stat.S_IFDIR, "fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK}
    return replace(entry, mode=entry.mode | types[kind])


def sorted_entries(many: list[Entry]) -> list[Entry]:
    return sorted({entry.key: entry for entry in many}.values(), key=lambda entry: entry.key)


page_entries = st.lists(entries(), min_size=1, max_size=12).map(sorted_entries)


@st.composite
def plain_entries(draw: st.DrawFn, *, longest: int = 40) -> PlainEntries:
    """Files of one extent or none, and directories."""
    held = sorted(draw(st.sets(names, min_size=1, max_size=longest)))
    numbers = st.lists(st.integers(0, U63), min_size=len(held), max_size=len(held))
    contents = draw(st.lists(st.one_of(st.none(), extents), min_size=len(held), max_size=len(held)))
    return PlainEntries(
        directory=draw(directories),
        file_system=draw(st.integers(0, 3)),
        owner=draw(owners),
        names=held,
        modes=[stat.S_IFREG | 0o644 if one else stat.S_IFDIR | 0o755 for one in contents],
        sizes=[one.length if one else 0 for one in contents],
        mtimes=draw(numbers),
        ctimes=draw(numbers),
        inodes=draw(numbers),
        contents=contents,
    )


def file_entry(number: int, *, rng: random.Random, directory: bytes = b"d\0") -> Entry:
    """A cheap, realistic regular file, for trees of thousands."""
    length = rng.randrange(1, 60_000)
    block = BlockAddress(PackId(b"p" * 16), PackKind.DATA, 0, number // 50, 32 + (number // 50) * 9000, 8000)
    extent = Extent(length, ChunkId(rng.randbytes(16)), ChunkAddress(block, number % 50 * 60_000, length))
    return Entry(
        directory, b"file-%08d" % number, 0o100644, length, rng.getrandbits(60), rng.getrandbits(60),
        rng.getrandbits(40), Owner(1000, 1000, b"me", b"me"), extents=(extent,),
    )  # fmt: skip


class PageStore:
    """Keeps pages by id in memory; counts those stored for the first time."""

    def __init__(self) -> None:
        self.pages: dict[PageId, bytes] = {}
        self.addresses: dict[PageId, BlockAddress] = {}
        self.new = 0

    def store(self, page_type: PageType, page: bytes, name: PageId) -> BlockAddress:
        assert page_id(KEYS, page_type, page) == name
        if name not in self.pages:
            self.new += 1
            ordinal = len(self.pages)
            self.pages[name] = page
            self.addresses[name] = BlockAddress(
                PackId(bytes([1 + ordinal // 1000]) * 16), PackKind.PAGE, 0, ordinal % 1000, 32, 100
            )
        return self.addresses[name]

    def load(self, ref: PageRef) -> bytes:
        return self.pages[ref.page_id]


class Memo:
    def __init__(self) -> None:
        self.known: dict[PageId, frozenset[PackId]] = {}

    def packs_of(self, page: PageId) -> frozenset[PackId] | None:
        return self.known.get(page)

    def note_packs(self, page: PageId, packs: frozenset[PackId]) -> None:
        self.known[page] = packs
