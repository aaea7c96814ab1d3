"""Packs give back what was put in, tell nothing but a padded size, and no bit of them can be altered."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.crypto.digests import chunk_id, page_id
from muniment.crypto.keys import VaultKeys
from muniment.format.block import Compressor
from muniment.format.pack import (
    PackBuilder,
    PackIndex,
    check_pack,
    decode_index_copy,
    encode_index_copy,
    open_block,
    read_index,
    take_chunk,
)
from muniment.format.packindex import decode_index
from muniment.format.page import encode_leaf
from muniment.model.entry import PageType
from muniment.model.errors import DamagedObject, NewerFormat
from muniment.model.ids import ChunkId, PackId, VaultId
from muniment.model.packs import (
    MIXED_PACK_TARGET,
    PACK_CEILING,
    PACK_FLOOR,
    PACK_TARGET,
    BlockRole,
    PackKind,
    is_permitted_size,
    padded_size,
)
from tests.unit.format.makers import KEYS, file_entry

COMPRESSOR = Compressor()
PAGE = encode_leaf([file_entry(1, rng=random.Random(1))])


def add_chunks(builder: PackBuilder, chunks: list[bytes]) -> None:
    ids = [chunk_id(KEYS, chunk) for chunk in chunks]
    builder.add_data(COMPRESSOR.encode(chunks), ids, [len(chunk) for chunk in chunks])


def add_page(builder: PackBuilder, page: bytes = PAGE) -> None:
    builder.add_page(COMPRESSOR.encode([page]), page_id(KEYS, PageType.LEAF, page), len(page))


def a_pack() -> tuple[PackBuilder, bytes]:
    builder = PackBuilder(KEYS, PackKind.MIXED)
    add_chunks(builder, [b"small file", b"another, " * 50])
    add_page(builder)
    add_chunks(builder, [random.Random(2).randbytes(3000)])
    return builder, bytes(builder.seal()[1])


BUILDER, PACK = a_pack()


@settings(deadline=None)
@given(st.lists(st.lists(st.binary(min_size=1, max_size=400), min_size=1, max_size=5), max_size=6))
def test_pack_gives_back_its_chunks(blocks: list[list[bytes]]) -> None:
    builder = PackBuilder(KEYS, PackKind.DATA)
    assert builder.is_empty
    for chunks in blocks:
        add_chunks(builder, chunks)
    copy = builder.index_copy()
    sealed, content = builder.seal()
    index = check_pack(KEYS, content, pack_id=builder.pack_id)
    assert (sealed.size, sealed.kind, sealed.epoch) == (len(content), PackKind.DATA, KEYS.newest_epoch)
    assert dict(index.chunks()) == builder.chunks
    assert decode_index_copy(copy) == decode_index_copy(encode_index_copy(index)) == index
    for chunks in blocks:
        for chunk in chunks:
            address = builder.chunks[chunk_id(KEYS, chunk)]
            block = address.block
            held = open_block(
                content[block.offset : block.offset + block.length], block, BlockRole.DATA, KEYS
            )
            assert take_chunk(KEYS, held, address=address, expected=chunk_id(KEYS, chunk)) == chunk


def test_pages_and_data_share_a_mixed_pack() -> None:
    index = check_pack(KEYS, PACK)
    assert [block.role for block in index.blocks] == [BlockRole.DATA, BlockRole.PAGE, BlockRole.DATA]
    ((page, address),) = index.pages()
    assert page == page_id(KEYS, PageType.LEAF, PAGE)
    sealed = PACK[address.offset : address.offset + address.length]
    assert bytes(open_block(sealed, address, BlockRole.PAGE, KEYS)) == PAGE
    with pytest.raises(DamagedObject):
        open_block(sealed, address, BlockRole.DATA, KEYS)


def test_one_buffer_serves_pack_after_pack() -> None:
    out = bytearray(1 << 20)
    packs = []
    for number in range(3):
        builder = PackBuilder(KEYS, PackKind.DATA)
        add_chunks(builder, [b"%d" % number * 1000])
        sealed, content = builder.seal(out)
        assert content.obj is out
        packs.append((sealed, bytes(content)))
    assert len({sealed.sha256 for sealed, _ in packs}) == 3
    for sealed, content in packs:
        check_pack(KEYS, content, pack_id=sealed.pack_id)


def test_index_pack_holds_copies() -> None:
    covered = [read_index(KEYS, PACK), read_index(KEYS, a_pack()[1])]
    builder = PackBuilder(KEYS, PackKind.INDEX)
    for index in covered:
        copy = encode_index_copy(index)
        builder.add_index_copy(COMPRESSOR.encode([copy]), index.pack_id, len(copy))
    content = bytes(builder.seal()[1])
    found = []
    for block in check_pack(KEYS, content).blocks:
        sealed = content[block.address.offset : block.address.offset + block.address.length]
        found.append(decode_index_copy(open_block(sealed, block.address, BlockRole.INDEX_COPY, KEYS)))
    assert found == covered


# --- sizes


@given(st.integers(0, PACK_CEILING))
def test_padding_is_permitted_and_bounded(size: int) -> None:
    padded = padded_size(size)
    assert padded >= max(size, PACK_FLOOR)
    assert is_permitted_size(padded) or padded > PACK_CEILING
    assert padded_size(padded) == padded
    if size > MIXED_PACK_TARGET:
        assert padded <= size * 1.12
    elif size > PACK_FLOOR:
        assert padded < 2 * size


def test_few_sizes_are_permitted() -> None:
    """What the size of a pack up to 16 MiB tells: seven powers of two, then 32 steps per doubling."""
    sizes = {padded_size(size) for size in range(1, PACK_TARGET, 4096)}
    assert len(sizes) <= 7 + 2 * 32


@pytest.mark.parametrize("kind", [PackKind.DATA, PackKind.MIXED])
def test_pack_closes_before_its_target(kind: PackKind) -> None:
    rng = random.Random(3)
    builder = PackBuilder(KEYS, kind)
    pool = rng.randbytes(1 << 20)
    while builder.room_for(length := rng.randrange(1, 900_000)):
        start = rng.randrange((1 << 20) - length)
        chunk = pool[start : start + length]
        builder.add_data(b"\0" + chunk, [chunk_id(KEYS, chunk)], [length])
    target = MIXED_PACK_TARGET if kind is PackKind.MIXED else PACK_TARGET
    sealed, _ = builder.seal()
    assert is_permitted_size(sealed.size)
    assert target * 0.75 < sealed.size <= target


def test_pack_of_many_tiny_chunks_closes_by_its_index() -> None:
    builder = PackBuilder(KEYS, PackKind.DATA)
    chunks = 0
    while builder.room_for(100, items=20_000):
        ids = [number.to_bytes(16) for number in range(chunks, chunks + 20_000)]
        builder.add_data(bytes(100), ids, [1] * 20_000)
        chunks += 20_000
    _, content = builder.seal()
    assert 100_000 < chunks < 1_000_000
    assert sum(1 for _ in read_index(KEYS, content).chunks()) == chunks


def test_block_larger_than_the_target_gets_a_pack_of_its_own() -> None:
    builder = PackBuilder(KEYS, PackKind.MIXED)
    assert builder.room_for(5 << 20)
    chunk = random.Random(4).randbytes(5 << 20)
    add_chunks(builder, [chunk])
    assert not builder.room_for(1)
    assert is_permitted_size(builder.seal()[0].size)


def test_pack_beyond_the_ceiling_is_not_built() -> None:
    builder = PackBuilder(KEYS, PackKind.DATA)
    block = b"\0" + bytes(8 << 20)
    for number in range(7):
        builder.add_data(block, [bytes([number]) * 16], [8 << 20])
    with pytest.raises(ValueError):
        builder.add_data(block, [b"x" * 16], [8 << 20])


# --- what an evil server or a hostile holder of the key can try


def test_every_flipped_bit_is_found() -> None:
    rng = random.Random(5)
    clear_and_ends = [*range(32 * 8), *range((len(PACK) - 92) * 8, len(PACK) * 8, 7)]
    for at in [*clear_and_ends, *rng.sample(range(len(PACK) * 8), 300)]:
        altered = bytearray(PACK)
        altered[at // 8] ^= 1 << at % 8
        with pytest.raises((DamagedObject, NewerFormat)):
            check_pack(KEYS, altered, pack_id=BUILDER.pack_id)


@pytest.mark.parametrize("size", [0, 31, 32, 1000, PACK_FLOOR - 1, PACK_FLOOR + 1, 2 * PACK_FLOOR])
def test_truncated_and_extended_packs_are_found(size: int) -> None:
    with pytest.raises(DamagedObject):
        check_pack(KEYS, PACK[:size] + bytes(max(0, size - len(PACK))))


def test_another_pack_in_its_place_is_found() -> None:
    other, content = a_pack()
    check_pack(KEYS, content, pack_id=other.pack_id)
    with pytest.raises(DamagedObject):
        check_pack(KEYS, content, pack_id=BUILDER.pack_id)


def test_swapped_blocks_are_found() -> None:
    builder = PackBuilder(KEYS, PackKind.DATA)
    for letter in b"ab":
        add_chunks(builder, [bytes([letter]) * 50])
    content = bytes(builder.seal()[1])
    first, second = (block.address for block in read_index(KEYS, content).blocks)
    assert first.length == second.length
    one, two = (content[a.offset : a.offset + a.length] for a in (first, second))
    swapped = content[: first.offset] + two + one + content[second.offset + second.length :]
    with pytest.raises(DamagedObject):
        check_pack(KEYS, swapped)


def test_pack_of_another_vault_or_key_is_refused() -> None:
    for keys in (
        VaultKeys(VaultId(b"w" * 16), KEYS.raw),
        VaultKeys(KEYS.vault, {0: b"\5" * 32, 3: b"\6" * 32}),
    ):
        with pytest.raises(DamagedObject):
            read_index(keys, PACK)


def test_newer_pack_is_left_alone() -> None:
    with pytest.raises(NewerFormat):
        read_index(KEYS, PACK[:8] + b"\x02" + PACK[9:])


def planted(ids: list[ChunkId], lengths: list[int], content: bytes) -> bytes:
    builder = PackBuilder(KEYS, PackKind.DATA)
    builder.add_data(b"\0" + content, ids, lengths)
    return bytes(builder.seal()[1])


def test_poisoned_index_is_found() -> None:
    """A hostile holder of the key names chunks that the block does not hold."""
    good, evil = chunk_id(KEYS, b"good"), chunk_id(KEYS, b"evil")
    assert check_pack(KEYS, planted([good], [4], b"good"))
    for ids, lengths in (([evil], [4]), ([good], [3]), ([good, evil], [4, 4]), ([good, evil], [2, 2])):
        with pytest.raises(DamagedObject):
            check_pack(KEYS, planted(ids, lengths, b"good"))


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        (PackKind.DATA, (100, 1, b"i" * 16, [5])),
        (PackKind.PAGE, (100, 0, b"i" * 16, [5])),
        (PackKind.INDEX, (100, 0, b"i" * 16, [5])),
        (PackKind.MIXED, (100, 4, b"i" * 16, [5])),
        (PackKind.MIXED, (100, 2, b"i" * 16, [5])),
        (PackKind.DATA, (28, 0, b"i" * 16, [5])),
        (PackKind.DATA, (PACK_CEILING, 0, b"i" * 16, [5])),
        (PackKind.DATA, (100, 0, b"i" * 15, [5])),
        (PackKind.DATA, (100, 0, b"i" * 16, [5, 5])),
        (PackKind.DATA, (100, 0, b"", [])),
        (PackKind.DATA, (100, 0, b"i" * 16, [0])),
        (PackKind.DATA, (100, 0, b"i" * 32, [1 << 22, (1 << 22) + 1])),
        (PackKind.PAGE, (100, 1, b"i" * 32, [5, 5])),
        (PackKind.DATA, (100, 0, "text", [5])),
        (PackKind.DATA, (True, 0, b"i" * 16, [5])),
    ],
)
def test_impossible_index_is_refused(kind: PackKind, row: tuple[object, ...]) -> None:
    with pytest.raises(DamagedObject):
        decode_index(msgspec.msgpack.encode([1, [row]]), pack_id=PackId(b"p" * 16), kind=kind, epoch=0)


def test_newer_or_malformed_indexes_are_refused() -> None:
    for content, error in (
        (msgspec.msgpack.encode([2, [], "new"]), NewerFormat),
        (msgspec.msgpack.encode([2, []]), NewerFormat),
        (msgspec.msgpack.encode([0, []]), DamagedObject),
        (b"", DamagedObject),
        (b"\x90", DamagedObject),
        (b"\x80", DamagedObject),
        (b"\x92\x01\xdd\xff\xff\xff\xff", DamagedObject),
    ):
        with pytest.raises(error):
            decode_index(content, pack_id=PackId(b"p" * 16), kind=PackKind.DATA, epoch=0)
        with pytest.raises(error):
            decode_index_copy(bytes(16) + b"\x01" + bytes(4) + content)
    for copy in (b"", bytes(20), bytes(16) + b"\x09" + bytes(4) + b"\x92\x01\x90"):
        with pytest.raises(DamagedObject):
            decode_index_copy(copy)


def test_range_reader_is_asked_for_ends_only() -> None:
    """A restore learns an index from three short ranges."""
    asked: list[tuple[int, int]] = []

    def read(offset: int, length: int) -> bytes:
        asked.append((offset, length))
        return PACK[offset : offset + length]

    index: PackIndex = read_index(KEYS, read, len(PACK), pack_id=BUILDER.pack_id)
    assert dict(index.chunks()) == BUILDER.chunks
    assert [offset for offset, _ in asked] == [
        0,
        len(PACK) - 92,
        index.blocks[-1].address.offset + index.blocks[-1].address.length,
    ]
