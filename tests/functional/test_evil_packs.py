"""An evil server gives other bytes than it was given. Whatever is restored is true, and the rest is named.

A server without the key can cut, swap, repeat and mix what it holds; a hostile holder of the key can seal
anything. Neither gets a wrong byte, name, mode, time or target onto a disk.
"""

from __future__ import annotations

import random
import resource
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest
from backports import zstd

from muniment.crypto.digests import chunk_id
from muniment.crypto.keys import VaultKeys
from muniment.format.head import open_head
from muniment.format.pack import IndexedBlock, open_block, read_index
from muniment.format.page import encode_interior, encode_leaf
from muniment.format.tree import TreeReader
from muniment.model.entry import Entry, Extent, PageRef, PageType
from muniment.model.ids import ChunkId, PackId, PageId
from muniment.model.packs import BlockRole, ChunkAddress
from muniment.wire import messages as wire
from tests.support.attacked import AttackedVault, files_of, whatever_is_there_is_true
from tests.support.evil import Evil, Exchange
from tests.support.forger import Forger, directory, entry, file
from tests.support.machine import Machine, Ran

Packs = dict[str, bytearray]


@dataclass
class Stored:
    """The packs of Alice's newest snapshot, as the server holds them, and what is in them."""

    packs: Packs
    blocks: dict[str, tuple[IndexedBlock, ...]]

    def of_role(self, role: BlockRole) -> list[tuple[str, IndexedBlock]]:
        """Those of the fewest items first: packs have random names, and one block holds most files."""
        found = [(pack, one) for pack, blocks in self.blocks.items() for one in blocks if one.role is role]
        return sorted(found, key=lambda held: (len(held[1].lengths), held[1].address.length))

    def span(self, block: IndexedBlock) -> slice:
        return slice(block.address.offset, block.address.offset + block.address.length)


@pytest.fixture(scope="module")
def stored(attacked: AttackedVault) -> Stored:
    infos = attacked.packs_of(attacked.snapshots["alice-2"])
    packs = {info.pack: bytearray(attacked.pack(info.pack)) for info in infos}
    blocks = {pack: read_index(attacked.keys, bytes(content)).blocks for pack, content in packs.items()}
    record = next(
        one for one in attacked.history(attacked.alice) if one.snapshot == attacked.snapshots["alice-2"]
    )
    needed = pages_under(attacked.keys, open_head(attacked.keys, record.head).root, packs)
    return Stored(
        packs,
        {
            pack: tuple(one for one in held if one.role is not BlockRole.PAGE or one.page in needed)
            for pack, held in blocks.items()
        },
    )


def pages_under(keys: VaultKeys, root: PageRef | None, packs: Packs) -> set[PageId]:
    """The pages of a tree: packs also hold older ones, which nobody reads."""

    def load(ref: PageRef) -> bytes:
        block = ref.block
        sealed = bytes(packs[block.pack_id.hex][block.offset : block.offset + block.length])
        return bytes(open_block(sealed, block, BlockRole.PAGE, keys))

    reader, found, waiting = TreeReader(keys, load), set(), [root]
    while waiting:
        ref = waiting.pop()
        assert ref is not None
        found.add(ref.page_id)
        if ref.level:
            waiting += reader.children(ref).children
    return found


# --- without the key


def flip(role: BlockRole, *, every: bool = False) -> Callable[[AttackedVault, Stored, Packs], None]:
    def twist(world: AttackedVault, stored: Stored, packs: Packs) -> None:
        rng = random.Random(3)
        for pack, block in stored.of_role(role)[: None if every else 1]:
            packs[pack][block.address.offset + rng.randrange(block.address.length)] ^= 1 << rng.randrange(8)

    return twist


def exchange_blocks(first: BlockRole, second: BlockRole) -> Callable[[AttackedVault, Stored, Packs], None]:
    """Each in the other's place, as far as it fits."""

    def twist(world: AttackedVault, stored: Stored, packs: Packs) -> None:
        one_pack, one = stored.of_role(first)[0]
        # Where chance cut the tree into one page, a block of data takes that page's place.
        others = stored.of_role(second) + stored.of_role(BlockRole.DATA)
        two_pack, two = next(held for held in others if held[1] is not one)
        length = min(one.address.length, two.address.length)
        a, b = one.address.offset, two.address.offset
        held = bytes(packs[one_pack][a : a + length])
        packs[one_pack][a : a + length] = packs[two_pack][b : b + length]
        packs[two_pack][b : b + length] = held

    return twist


def drop_block(world: AttackedVault, stored: Stored, packs: Packs) -> None:
    for pack, blocks in stored.blocks.items():
        size, span = len(packs[pack]), stored.span(blocks[0])
        del packs[pack][span]
        packs[pack] += bytes(size - len(packs[pack]))


def repeat_block(world: AttackedVault, stored: Stored, packs: Packs) -> None:
    for pack, blocks in stored.blocks.items():
        size, span = len(packs[pack]), stored.span(blocks[0])
        packs[pack][span.stop : span.stop] = packs[pack][span]
        del packs[pack][size:]


def exchange_packs(world: AttackedVault, stored: Stored, packs: Packs) -> None:
    names = list(packs)
    for name, other in zip(names, names[1:] + names[:1], strict=True):
        packs[name] = bytearray(stored.packs[other])
    if len(names) == 1:
        raise AssertionError("one pack cannot be exchanged")


def stranger_pack(world: AttackedVault, stored: Stored, packs: Packs) -> None:
    """What another vault holds, in place of everything."""
    newest = world.history(world.stranger)[-1].snapshot
    info = world.packs_of(newest, machine=world.stranger)[0]
    content = world.pack(info.pack, machine=world.stranger)
    for pack in packs:
        packs[pack][: len(content)] = content[: len(packs[pack])]


def fill(byte: int) -> Callable[[AttackedVault, Stored, Packs], None]:
    def twist(world: AttackedVault, stored: Stored, packs: Packs) -> None:
        for pack in packs:
            packs[pack] = bytearray([byte]) * len(packs[pack])

    return twist


def cut(world: AttackedVault, stored: Stored, packs: Packs) -> None:
    for pack in packs:
        del packs[pack][len(packs[pack]) // 2 :]


def empty(world: AttackedVault, stored: Stored, packs: Packs) -> None:
    for pack in packs:
        packs[pack] = bytearray()


def other_header(at: int, value: int) -> Callable[[AttackedVault, Stored, Packs], None]:
    """The clear header: epoch, kind, version. A restore does not read it; verifying does."""

    def twist(world: AttackedVault, stored: Stored, packs: Packs) -> None:
        for pack in packs:
            packs[pack][at] = value

    return twist


WITHOUT_KEY = {
    "data-block-altered": flip(BlockRole.DATA),
    "every-data-block-altered": flip(BlockRole.DATA, every=True),
    "page-altered": flip(BlockRole.PAGE),
    "every-page-altered": flip(BlockRole.PAGE, every=True),
    "data-blocks-swapped": exchange_blocks(BlockRole.DATA, BlockRole.DATA),
    "pages-swapped": exchange_blocks(BlockRole.PAGE, BlockRole.PAGE),
    "data-and-page-confused": exchange_blocks(BlockRole.DATA, BlockRole.PAGE),
    "block-dropped": drop_block,
    "block-repeated": repeat_block,
    "packs-exchanged": exchange_packs,
    "pack-of-another-vault": stranger_pack,
    "zeros": fill(0),
    "ones": fill(255),
    "cut": cut,
    "empty": empty,
}
ONLY_VERIFY = {
    "header-of-another-epoch": other_header(15, 7),
    "header-of-another-kind": other_header(9, 2),
    "header-of-version-0": other_header(8, 0),
    "header-of-newer-version": other_header(8, 2),
    "header-names-another-pack": other_header(20, 7),
    "header-magic": other_header(0, 0),
}


def serve(evil: Evil, packs: Packs) -> None:
    """Ranges of these bytes; short where they end."""

    def trick(exchange: Exchange) -> None:
        content = packs.get(exchange.ids["pack"])
        if content is not None:
            offset, length = exchange.range
            exchange.answer(bytes(content[offset : offset + length]), status=206)

    evil.usurp("get_pack", trick)


def restore(world: AttackedVault, evil: Evil, target: Path, snapshot: str = "latest") -> Ran:
    """On a bare machine, by the kit: nothing cached, nothing known."""
    bare = Machine(target.with_name("bare"))
    snapshot = world.snapshots["alice-2"] if snapshot == "latest" else snapshot
    return bare.muniment("--kit", world.kit, "restore", snapshot, "--target", target, server=evil.url)


def verify(world: AttackedVault, evil: Evil, home: Path, snapshot: str) -> Ran:
    return Machine(home).muniment("--kit", world.kit, "verify", "--read-data", snapshot, server=evil.url)


@pytest.mark.parametrize("name", [*WITHOUT_KEY, *ONLY_VERIFY])
def test_other_bytes_are_never_restored(
    attacked: AttackedVault, stored: Stored, name: str, tmp_path: Path
) -> None:
    packs = {pack: bytearray(content) for pack, content in stored.packs.items()}
    (WITHOUT_KEY | ONLY_VERIFY)[name](attacked, stored, packs)
    target = tmp_path / "target"
    with Evil(attacked.url) as evil:
        serve(evil, packs)
        ran = restore(attacked, evil, target)
        verified = verify(attacked, evil, tmp_path / "bare", attacked.snapshots["alice-2"])
        assert evil.attacked
        assert not evil.sent_after_attack
    whole = whatever_is_there_is_true(attacked.tree, target, directories="page" not in name)
    if name in ONLY_VERIFY:
        assert whole == files_of(attacked.tree)
        ran.expect(0)
        assert verified.code == 5 or verified.error == "NewerFormat", verified
        return
    ran.expect(5)
    verified.expect(5)
    assert verified.result["damaged"]
    if name in {"data-block-altered", "data-blocks-swapped"}:
        # Only the files that need those blocks are lost, each by name.
        assert len(whole) > 100
        assert named(ran) == files_of(attacked.tree) - whole


MISSING = {
    "not-found": lambda exchange: exchange.refuse("not_found", status=404),
    "quarantined": lambda exchange: exchange.refuse("not_found", status=404, reason="quarantined"),
    "whole-where-a-part-was-asked": lambda exchange: exchange.answer(b"\0" * 100_000, status=200),
    "another-range": lambda exchange: exchange.answer(
        b"\0" * exchange.range[1], status=206, Content_Range="bytes 0-1/2"
    ),
    "text": lambda exchange: exchange.answer(b"<html>sorry</html>", status=200),
}


@pytest.mark.parametrize("name", MISSING)
@pytest.mark.parametrize("which", ["data", "pages"])
def test_discarded_packs_are_noticed(
    attacked: AttackedVault, stored: Stored, name: str, which: str, tmp_path: Path
) -> None:
    """Acknowledged, then thrown away. What is still there is restored; what is not is named."""
    pages = {pack for pack, _ in stored.of_role(BlockRole.PAGE)}
    lost = pages if which == "pages" else {pack for pack, _ in stored.of_role(BlockRole.DATA)} - pages
    assert lost

    def discard(exchange: Exchange) -> None:
        if exchange.ids["pack"] in lost:
            MISSING[name](exchange)

    target = tmp_path / "target"
    with Evil(attacked.url) as evil:
        evil.usurp("get_pack", discard)
        ran = restore(attacked, evil, target).expect(5)
        verified = verify(attacked, evil, tmp_path / "bare", attacked.snapshots["alice-2"]).expect(5)
    whole = whatever_is_there_is_true(attacked.tree, target, directories=False)
    if which == "data":
        assert {damage["pack"] for damage in verified.result["damaged"]} == lost
        assert set(ran.result["damaged_packs"]) == lost
        assert whole
        assert named(ran) == files_of(attacked.tree) - whole


def named(ran: Ran) -> set[Path]:
    """The files that a restore said to be damaged."""
    problems = [problem for problem in ran.result["problems"] if problem["problem"] == "damaged"]
    return {Path(problem["path"]) for problem in problems}


def test_endless_range_is_given_up(attacked: AttackedVault, tmp_path: Path) -> None:
    with Evil(attacked.url) as evil:
        evil.usurp(
            "get_pack", lambda exchange: exchange.answer(b"\0" * (exchange.range[1] + (1 << 20)), status=206)
        )
        ran = restore(attacked, evil, tmp_path / "target")
    assert (ran.error, ran.code) == ("ServerUnreachable", 1)
    assert not whatever_is_there_is_true(attacked.tree, tmp_path / "target")


def test_packs_that_are_no_longer_listed_are_noticed(attacked: AttackedVault, tmp_path: Path) -> None:
    with Evil(attacked.url) as evil:
        evil.rewrite(
            "snapshot_packs", wire.SnapshotPacks, lambda said: msgspec.structs.replace(said, packs=[])
        )
        bare = Machine(tmp_path / "bare")
        ran = bare.muniment("--kit", attacked.kit, "verify", server=evil.url).expect(5)
    assert ran.result["damaged"]


# --- with the key


@dataclass
class Forged:
    """A tree and what restoring it must come to."""

    make: Callable[[Forger], PageRef]
    codes: frozenset[int] = frozenset({5})


GOOD = [entry(b"a/one"), entry(b"a/two"), directory(b"a")]


def of_leaf(content: bytes, **described: int | bytes) -> Callable[[Forger], PageRef]:
    told = {"last_key": b"a\0\0two", "entries": 2} | described
    return lambda forger: forger.leaf(content, **told)  # type: ignore[arg-type]


def rows(*entries: Entry) -> bytes:
    return encode_leaf(list(entries))


def wrong_page_id(forger: Forger) -> PageRef:
    pack = forger.pack()
    good = forger.tree(GOOD, pack=pack)
    other = pack.page(
        PageType.LEAF, rows(entry(b"a/other")), level=0, last_key=b"a\0\0other", entries=1, content=0
    )
    pack.seal()
    return replace(other, page_id=good.page_id)


def told_otherwise(**described: int | bytes | PageType) -> Callable[[Forger], PageRef]:
    return lambda forger: replace(forger.tree(GOOD), **described)  # type: ignore[arg-type]


def interior_as_leaf(forger: Forger) -> PageRef:
    pack = forger.pack()
    leaf = forger.tree(GOOD, pack=pack)
    content = encode_interior([leaf], page_type=PageType.INTERIOR)
    root = pack.page(PageType.LEAF, content, level=0, last_key=leaf.last_key, entries=3, content=0)
    pack.seal()
    return root


def leaf_as_interior(forger: Forger) -> PageRef:
    pack = forger.pack()
    root = pack.page(PageType.INTERIOR, rows(*GOOD[:2]), level=1, last_key=b"a\0\0two", entries=2, content=0)
    pack.seal()
    return root


def interiors(order: list[int], *, level: int = 1, told: int | None = None) -> Callable[[Forger], PageRef]:
    """An interior page over three leaves in this order, at this level."""

    def make(forger: Forger) -> PageRef:
        pack = forger.pack()
        leaves = [
            pack.page(PageType.LEAF, rows(entry(name)), level=0, last_key=b"\0" + name, entries=1, content=0)
            for name in (b"a", b"b", b"c")
        ]
        children = [leaves[at] for at in order]
        content = encode_interior(children, page_type=PageType.INTERIOR)
        root = pack.page(
            PageType.INTERIOR, content, level=level, last_key=children[-1].last_key,
            entries=told if told is not None else len(children), content=0,
        )  # fmt: skip
        pack.seal()
        return root

    return make


def too_deep(forger: Forger) -> PageRef:
    pack = forger.pack()
    page = pack.page(PageType.LEAF, rows(entry(b"a")), level=0, last_key=b"\0a", entries=1, content=0)
    for level in range(1, 30):
        content = encode_interior([page], page_type=PageType.INTERIOR)
        page = pack.page(PageType.INTERIOR, content, level=level, last_key=b"\0a", entries=1, content=0)
    pack.seal()
    return page


def with_chunk(change: Callable[[Extent], Extent]) -> Callable[[Forger], PageRef]:
    """A file whose one extent is not quite what is stored."""

    def make(forger: Forger) -> PageRef:
        pack = forger.pack()
        extent = change(pack.chunk(b"stored " * 100))
        root = forger.tree([file(b"f", extent)], pack=pack)
        pack.seal()
        return root

    return make


def at(extent: Extent, **changes: int) -> Extent:
    assert extent.address is not None
    address = extent.address._replace(**changes)  # type: ignore[arg-type]
    return extent._replace(address=address, length=changes.get("length", extent.length))


def in_block(extent: Extent, **changes: object) -> Extent:
    assert extent.address is not None
    block = extent.address.block._replace(**changes)  # type: ignore[arg-type]
    return extent._replace(address=extent.address._replace(block=block))


def page_as_chunk(forger: Forger) -> PageRef:
    """A file whose content is said to lie in a page's block."""
    pack = forger.pack()
    inner = forger.tree(GOOD, pack=pack)
    extent = Extent(10, ChunkId(bytes(16)), ChunkAddress(inner.block, 0, 10))
    root = forger.tree([file(b"f", extent)], pack=pack)
    pack.seal()
    return root


def bomb(encoded: Callable[[], bytes], *, size: int = 1 << 20) -> Callable[[Forger], PageRef]:
    """A data block of these bytes, said to hold one chunk of `size`."""

    def make(forger: Forger) -> PageRef:
        pack = forger.pack()
        name = chunk_id(forger.keys, b"\0" * size)
        address = pack.block(encoded(), [name], [min(size, 1 << 20)])
        root = forger.tree([file(b"f", Extent(size, name, ChunkAddress(address, 0, size)))], pack=pack)
        pack.seal()
        return root

    return make


def zstd_of(size: int) -> bytes:
    return b"\x01" + zstd.compress(bytes(size), level=3)


def zstd_without_size() -> bytes:
    compressor = zstd.ZstdCompressor()
    return b"\x01" + compressor.compress(bytes(64 << 20)) + compressor.flush()


def zstd_states(size: int) -> bytes:
    """A frame header that states `size`, and one empty last block."""
    return b"\x01" + b"\x28\xb5\x2f\xfd" + bytes([0b1110_0000]) + size.to_bytes(8, "little") + b"\x01\0\0"


def holes(length: int) -> Callable[[Forger], PageRef]:
    return lambda forger: forger.tree([entry(b"f", size=length, extents=(Extent(length),))])


ANY = frozenset({0, 3, 5})
WITH_KEY = {
    "page-under-another-id": Forged(wrong_page_id),
    "interior-page-as-leaf": Forged(interior_as_leaf),
    "leaf-as-interior-page": Forged(leaf_as_interior),
    "root-of-extent-type": Forged(told_otherwise(page_type=PageType.EXTENT_LEAF)),
    "root-tells-more-entries": Forged(told_otherwise(entries=4)),
    "root-tells-fewer-entries": Forged(told_otherwise(entries=2)),
    "root-tells-other-bytes": Forged(told_otherwise(content=77)),
    "root-tells-other-last-key": Forged(told_otherwise(last_key=b"zzz\0\0z")),
    "names-out-of-order": Forged(of_leaf(rows(entry(b"a/two"), entry(b"a/one")), last_key=b"a\0\0one")),
    "name-twice": Forged(of_leaf(rows(entry(b"a/two"), entry(b"a/two")))),
    "children-out-of-order": Forged(interiors([0, 2, 1])),
    "child-twice": Forged(interiors([0, 1, 1])),
    "level-lied": Forged(interiors([0, 1, 2], level=2)),
    "count-lied": Forged(interiors([0, 1, 2], told=400)),
    "count-absurd": Forged(interiors([0, 1, 2], told=1 << 62)),
    "too-deep": Forged(too_deep),
    "page-of-newer-version": Forged(of_leaf(b"\x96\x02\0" + rows(*GOOD[:2])[3:]), frozenset({1, 5})),
    "page-of-nothing": Forged(of_leaf(b"\xc0")),
    "page-counts-absurd": Forged(of_leaf(b"\x96\x01\0\xdd\xff\xff\xff\xff")),
    "page-nested-deep": Forged(of_leaf(b"\x91" * 60_000)),
    "page-names-absurd": Forged(of_leaf(b"\x96\x01\0\x90\x90\x90\xdd\x7f\xff\xff\xff" + b"\xc0" * 1000)),
    "page-string-absurd": Forged(of_leaf(b"\x96\x01\0\xc6\xff\xff\xff\xff")),
    "chunk-under-another-id": Forged(with_chunk(lambda extent: extent._replace(chunk=ChunkId(b"\x01" * 16)))),
    "chunk-cut": Forged(with_chunk(lambda extent: at(extent, length=50))),
    "chunk-shifted": Forged(with_chunk(lambda extent: at(extent, inner=1))),
    "chunk-outside-its-block": Forged(with_chunk(lambda extent: at(extent, inner=1 << 20))),
    "block-of-another-ordinal": Forged(with_chunk(lambda extent: in_block(extent, ordinal=1))),
    "block-of-another-epoch": Forged(with_chunk(lambda extent: in_block(extent, epoch=9))),
    "block-far-away": Forged(with_chunk(lambda extent: in_block(extent, offset=1 << 25))),
    "block-of-unknown-pack": Forged(
        with_chunk(lambda extent: in_block(extent, pack_id=PackId(b"\x05" * 16)))
    ),
    "page-as-chunk": Forged(page_as_chunk),
    "bomb-over-the-limit": Forged(bomb(lambda: zstd_of(64 << 20))),
    "bomb-without-size": Forged(bomb(zstd_without_size)),
    "bomb-states-an-exabyte": Forged(bomb(lambda: zstd_states(1 << 60))),
    "bomb-states-more-than-it-holds": Forged(bomb(lambda: zstd_states(8 << 20))),
    "bomb-of-frames": Forged(bomb(lambda: zstd_of(1 << 20) + zstd_of(8 << 20)[1:])),
    "hole-of-half-an-exabyte": Forged(holes(1 << 59), ANY),
    "hole-of-eight-exabytes": Forged(holes((1 << 63) - 1), ANY),
}


@pytest.fixture
def memory() -> Iterator[None]:
    """No bomb may make us hold more than another 192 MiB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 192 << 10


@pytest.mark.parametrize("name", WITH_KEY)
def test_forged_trees_are_refused(attacked: AttackedVault, name: str, tmp_path: Path, memory: None) -> None:
    forged = WITH_KEY[name]
    forger = Forger(attacked.keys)
    snapshot = forger.snapshot(forged.make(forger))
    target = tmp_path / "target"
    begun = time.process_time()
    with Evil(attacked.url) as evil:
        forger.plant(evil)
        ran = restore(attacked, evil, target, snapshot)
    assert ran.code in forged.codes, ran
    assert time.process_time() - begun < 20
    if ran.code == 5:
        left = [path for path in target.rglob("*") if stat.S_ISREG(path.lstat().st_mode)]
        assert not left, "something of a damaged tree was written"
