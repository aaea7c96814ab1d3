"""Blocks survive encoding; bombs and malformed ones are refused before anything is allocated."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from muniment.format.block import MAX_BLOCK_PLAIN, Codec, Compressor, decode_block
from muniment.model.errors import DamagedObject

COMPRESSOR = Compressor()
NOISE = random.Random(1).randbytes(1 << 20)


@given(st.lists(st.binary(max_size=2000), max_size=12))
def test_block_survives(parts: list[bytes]) -> None:
    assert bytes(decode_block(COMPRESSOR.encode(parts))) == b"".join(parts)


@given(st.integers(0, 300_000), st.integers(0, 300_000), st.randoms(use_true_random=False))
def test_large_block_survives(noise: int, zeros: int, rng: random.Random) -> None:
    parts = [memoryview(NOISE)[:noise], bytearray(zeros), b"end"]
    rng.shuffle(parts)
    assert bytes(decode_block(COMPRESSOR.encode(parts))) == b"".join(parts)


def test_what_does_not_shrink_is_kept_raw() -> None:
    for parts in ([NOISE], [NOISE[:100]], [b""], [NOISE[:200_000], NOISE[200_000:400_000]]):
        encoded = COMPRESSOR.encode(parts)
        assert encoded[0] == Codec.RAW
        assert len(encoded) == 1 + sum(map(len, parts))


def test_what_shrinks_is_compressed_in_one_frame() -> None:
    encoded = COMPRESSOR.encode([b"abc" * 100_000, b"def" * 1000])
    assert encoded[0] == Codec.ZSTD
    assert len(encoded) < 200
    assert zstd.get_frame_info(bytes(encoded)[1:]).decompressed_size == 303_000
    assert zstd.get_frame_size(bytes(encoded)[1:]) == len(encoded) - 1


def test_caller_buffer_is_used_for_raw_blocks() -> None:
    out = bytearray(2 << 20)
    encoded = COMPRESSOR.encode([NOISE], out=out)
    assert isinstance(encoded, memoryview)
    assert encoded.obj is out
    assert bytes(decode_block(encoded)) == NOISE
    small = bytearray(10)
    assert bytes(decode_block(COMPRESSOR.encode([NOISE], out=small))) == NOISE


def test_a_block_behind_a_byte_that_may_be_written_over_is_not_copied() -> None:
    room = memoryview(bytearray(b"!" + NOISE))
    raw = COMPRESSOR.encode_behind(room)
    assert raw is room
    assert bytes(raw) == bytes(COMPRESSOR.encode([NOISE]))
    room = memoryview(bytearray(b"!" + b"abc" * 100_000))
    assert bytes(COMPRESSOR.encode_behind(room)) == bytes(COMPRESSOR.encode([b"abc" * 100_000]))
    assert room[0] == ord("!")
    with pytest.raises(ValueError):
        COMPRESSOR.encode_behind(memoryview(bytes(MAX_BLOCK_PLAIN + 2)))


def test_equal_parts_give_equal_blocks_whatever_came_before() -> None:
    worn, fresh = Compressor(), Compressor()
    for _ in range(3):
        worn.encode([NOISE[:70_000], b"x" * 70_000])
    parts = [b"some text " * 900, NOISE[:5000]]
    assert bytes(worn.encode(parts)) == bytes(fresh.encode(parts))


def test_too_much_is_refused_by_the_writer() -> None:
    with pytest.raises(ValueError):
        COMPRESSOR.encode([bytes(MAX_BLOCK_PLAIN), b"x"])


def frame(content: bytes, *, stated: bool = True) -> bytes:
    compressor = zstd.ZstdCompressor()
    if stated:
        compressor.set_pledged_input_size(len(content))
        return compressor.compress(content, zstd.ZstdCompressor.FLUSH_FRAME)
    return compressor.compress(content) + compressor.flush()


GOOD = frame(b"content " * 100)
BAD = {
    "empty": b"",
    "unknown codec": b"\x02" + GOOD,
    "no frame": b"\x01",
    "noise": b"\x01" + NOISE[:100],
    "cut": b"\x01" + GOOD[:-1],
    "trailing byte": b"\x01" + GOOD + b"\0",
    "two frames": b"\x01" + GOOD + GOOD,
    "no stated size": b"\x01" + frame(b"content " * 100, stated=False),
    "one byte over": b"\x01" + frame(bytes(MAX_BLOCK_PLAIN + 1)),
    "raw over": b"\x00" + bytes(MAX_BLOCK_PLAIN + 1),
}


@pytest.mark.parametrize("case", BAD)
def test_malformed_block_is_refused(case: str) -> None:
    with pytest.raises(DamagedObject):
        decode_block(BAD[case])


def test_bomb_allocates_nothing() -> None:
    bomb = b"\x01" + frame(bytes(256 << 20))
    tracemalloc.start()
    with pytest.raises(DamagedObject):
        decode_block(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_frame_that_lies_about_its_size_is_refused() -> None:
    """The stated size, altered downwards and upwards in the frame header."""
    content = NOISE[:1000] + bytes(60_000)
    good = frame(content)
    size = len(content)
    at = good.index((size - 256).to_bytes(2, "little"), 4)
    for lie in (size - 1, size + 1, 300):
        bad = good[:at] + (lie - 256).to_bytes(2, "little") + good[at + 2 :]
        assert zstd.get_frame_info(bad).decompressed_size == lie
        with pytest.raises(DamagedObject):
            decode_block(b"\x01" + bad)


def test_largest_block_passes() -> None:
    content = bytes(MAX_BLOCK_PLAIN)
    assert decode_block(COMPRESSOR.encode([content])) == content
