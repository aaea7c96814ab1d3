"""What is inside a sealed block: one codec byte, then chunks or a page, compressed together or raw.

`docs/design/format.md`, "Block".
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from backports import zstd

from muniment.model.errors import DamagedObject

MAX_BLOCK_PLAIN = 8 << 20
"""No block holds more; a reader refuses a larger one before it allocates."""

BLOCK_TARGET = 512 << 10
"""Chunks are gathered into one block up to about this many bytes."""

DEFAULT_LEVEL = 3

Buffer = bytes | bytearray | memoryview

_TUNED_FROM = 256 << 10
"""From this size of a block on, level 3 gets smaller tables, so that they stay in a core's cache: it takes
a tenth less time, and half a percent more room."""

_TUNING: dict[int, int] = {
    zstd.CompressionParameter.hash_log: 16,
    zstd.CompressionParameter.chain_log: 15,
    zstd.CompressionParameter.min_match: 5,
}

_SAMPLED_ABOVE = 64 << 10
_SAMPLES = 8
_SAMPLE = 4 << 10
_WINDOW_LOG_MAX = 23
_DECODING: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG_MAX}


class Codec(IntEnum):
    """First byte of a block's plaintext."""

    RAW = 0
    ZSTD = 1


class Compressor:
    """Encodes blocks, one at a time: each thread has its own. Its contexts and buffers are used again.

    Raw is chosen where a sample of a large block, or the result, is hardly smaller than the original.
    """

    def __init__(self, level: int = DEFAULT_LEVEL) -> None:
        self._zstd = self._tuned = zstd.ZstdCompressor(level)
        if level == DEFAULT_LEVEL:
            level_and_tables = {zstd.CompressionParameter.compression_level: level, **_TUNING}
            self._tuned = zstd.ZstdCompressor(options=level_and_tables)
        self._sampler = zstd.ZstdCompressor(1)
        self._joined = bytearray()
        self._shrank_well = False

    def encode(self, parts: Sequence[Buffer], *, out: bytearray | None = None) -> Buffer:
        """Codec byte and body of the concatenation of `parts`.

        Where it is stored raw and `out` has room, the answer is a view of `out`: a caller that reuses such
        buffers spares an allocation of megabytes per block.
        """
        size = sum(map(len, parts))
        if size > MAX_BLOCK_PLAIN:
            raise ValueError(f"a block holds at most {MAX_BLOCK_PLAIN} bytes, not {size}")
        data = parts[0] if len(parts) == 1 else self._join(parts, size)
        return self._shrunk(data) or _raw(data, out)

    def encode_behind(self, room: memoryview) -> Buffer:
        """`encode` of all but the first byte of `room`, which is written over where it is stored raw: the
        answer then is `room` itself, without a copy."""
        if len(room) - 1 > MAX_BLOCK_PLAIN:
            raise ValueError(f"a block holds at most {MAX_BLOCK_PLAIN} bytes, not {len(room) - 1}")
        shrunk = self._shrunk(room[1:])
        if shrunk is None:
            room[0] = Codec.RAW
        return shrunk or room

    def _shrunk(self, data: Buffer) -> bytes | None:
        """Codec byte and compressed body, where that is worth it."""
        size = len(data)
        # Blocks are like their neighbours: after one that shrank well the next is not sampled first.
        sampled = size > _SAMPLED_ABOVE and not self._shrank_well
        if sampled and not self._shrinks(memoryview(data)):
            return None
        body = self._compress(data, size)
        self._shrank_well = len(body) < size - size // 4
        return b"\x01" + body if len(body) < size - size // 64 else None

    def _compress(self, data: Buffer, size: int) -> bytes:
        compressor = self._tuned if size >= _TUNED_FROM else self._zstd
        compressor.set_pledged_input_size(size)
        return compressor.compress(data, zstd.ZstdCompressor.FLUSH_FRAME)

    def _join(self, parts: Sequence[Buffer], size: int) -> memoryview:
        if len(self._joined) < size:
            self._joined = bytearray(max(size, BLOCK_TARGET))
        joined = memoryview(self._joined)
        at = 0
        for part in parts:
            joined[at : at + len(part)] = part
            at += len(part)
        return joined[:size]

    def _shrinks(self, data: memoryview) -> bool:
        """Whether slices taken all over `data` give up at least one part in 32."""
        stride = (len(data) - _SAMPLE) // (_SAMPLES - 1)
        sample = b"".join(data[at * stride : at * stride + _SAMPLE] for at in range(_SAMPLES))
        packed = len(self._sampler.compress(sample, zstd.ZstdCompressor.FLUSH_FRAME))
        return packed < len(sample) - len(sample) // 32


def decode_block(plain: Buffer, *, limit: int = MAX_BLOCK_PLAIN) -> bytes | memoryview:
    """What a block holds. DamagedObject when it is malformed or claims more than `limit` bytes."""
    view = memoryview(plain)
    if not view:
        raise _damaged("it is empty")
    body = view[1:]
    if view[0] == Codec.RAW:
        if len(body) > limit:
            raise _damaged("it holds too much")
        return body
    if view[0] != Codec.ZSTD:
        raise _damaged("its codec is unknown")
    return _decompress(body, limit)


def _decompress(body: memoryview, limit: int) -> bytes:
    try:
        size: int | None = zstd.get_frame_info(body).decompressed_size
        if size is None or size > limit:  # pyright: ignore[reportUnnecessaryComparison]
            raise _damaged("it states no size, or too large a one")
        decompressor = zstd.ZstdDecompressor(options=_DECODING)
        content = decompressor.decompress(body, size)
        if not decompressor.eof:
            # An empty frame, or one whose checksum follows, ends only when asked for more.
            content += decompressor.decompress(b"", 1)
    except zstd.ZstdError:
        raise _damaged("it does not decompress") from None
    if len(content) != size or not decompressor.eof or decompressor.unused_data:
        raise _damaged("it does not hold what it states")
    return content


def _raw(data: Buffer, out: bytearray | None) -> Buffer:
    end = len(data) + 1
    if out is None or len(out) < end:
        return b"\0" + data if isinstance(data, bytes) else b"".join((b"\0", data))
    view = memoryview(out)[:end]
    view[0] = Codec.RAW
    view[1:] = data
    return view


def _damaged(why: str) -> DamagedObject:
    return DamagedObject("a block", why=why)
