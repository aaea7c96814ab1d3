"""Cut points: the contract that deduplication rests on. Golden ones are in `tests/golden`."""

from __future__ import annotations

import hashlib

from muniment.crypto.keys import VaultKeys
from muniment.engine.chunking import MAX_CHUNK, MEAN_CHUNK, MIN_CHUNK, Cutter
from muniment.engine.storing import WINDOW
from muniment.model.ids import VaultId


def stream(length: int) -> bytes:
    """Bytes that look random and are the same everywhere: SHAKE-128 of a constant."""
    return hashlib.shake_128(b"muniment cut points").digest(length)


def keys(byte: int) -> VaultKeys:
    return VaultKeys(VaultId(bytes(16)), {0: bytes([byte]) * 32})


def test_chunks_have_the_promised_sizes() -> None:
    lengths = Cutter(keys(7)).cut(memoryview(stream(96 << 20)))
    assert sum(lengths) == 96 << 20
    assert all(MIN_CHUNK <= length <= MAX_CHUNK for length in lengths[:-1])
    assert MEAN_CHUNK * 0.9 < sum(lengths) / len(lengths) < MEAN_CHUNK * 1.5


def test_cutting_window_by_window_gives_the_same_chunks() -> None:
    content = memoryview(stream(40 << 20))
    cutter = Cutter(keys(3))
    whole = cutter.cut(content)
    pieces: list[int] = []
    at = 0
    while at < len(content):
        found = cutter.cut(content[at : at + WINDOW])
        final = found if at + WINDOW >= len(content) else found[:-1]
        pieces += final
        at += sum(final)
    assert pieces == whole


def test_another_vault_cuts_elsewhere() -> None:
    content = memoryview(stream(16 << 20))
    assert Cutter(keys(1)).cut(content) != Cutter(keys(2)).cut(content)
