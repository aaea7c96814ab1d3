"""Chunks that two batches bring at once, also where the index stops knowing them in between."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.crypto.digests import chunk_id
from muniment.engine.storing import Batch, ChunkStore
from muniment.format.pack import open_block, take_chunk
from muniment.model.ids import ChunkId, PackId
from muniment.model.packs import BlockRole, ChunkAddress
from tests.support.memory_vault import MemoryVault, RecordingProgress, new_keys

SHARED, OTHER = b"both bring this" * 100, b"only the second brings this" * 100
KEYS = new_keys()


class LosingVault(MemoryVault):
    """Knows a chunk until the second batch waits for it, then learns that its pack was lost."""

    def __init__(self, doubtful: ChunkId) -> None:
        super().__init__()
        self._doubtful = doubtful
        self.first_asks, self.second_waits = threading.Event(), threading.Event()

    def find(self, ids: Sequence[ChunkId]) -> Mapping[ChunkId, ChunkAddress]:
        if self._doubtful not in ids:
            self.second_waits.set()
            return super().find(ids)
        if self.first_asks.is_set():
            return super().find(ids)
        found = super().find(ids)
        self.first_asks.set()
        assert self.second_waits.wait(20)
        for chunk in found:
            self.lose(found[chunk].block.pack_id)
        return found

    def lose(self, pack: PackId) -> None:
        del self.packs[pack]
        self.chunks = {chunk: at for chunk, at in self.chunks.items() if at.block.pack_id != pack}


def store_in(vault: MemoryVault) -> ChunkStore:
    return ChunkStore(KEYS, index=vault, sink=vault, progress=RecordingProgress(), level=1, workers=2)


def submit(store: ChunkStore, *contents: bytes) -> Batch:
    batch = Batch(store.batches)
    for content in contents:
        batch.view[batch.end : batch.end + len(content)] = content
        batch.add(len(content))
    store.submit(batch)
    return batch


def read_back(vault: MemoryVault, chunk: ChunkId, at: ChunkAddress) -> bytes:
    block = at.block
    sealed = vault.read(block.pack_id, offset=block.offset, length=block.length)
    content = open_block(sealed, block, BlockRole.DATA, KEYS)
    return bytes(take_chunk(KEYS, content, address=at, expected=chunk))


def test_a_chunk_lost_while_a_batch_waits_for_it_is_stored_by_that_batch() -> None:
    chunk = chunk_id(KEYS, SHARED)
    vault = LosingVault(chunk)
    earlier = store_in(vault)
    vault.first_asks.set()
    assert len(submit(earlier, SHARED).extents) == 1
    earlier.writer.flush()
    earlier.close()
    vault.first_asks.clear()

    store = store_in(vault)
    first = submit(store, SHARED)
    assert vault.first_asks.wait(20)
    second = submit(store, SHARED, OTHER)
    extents = second.extents
    assert len(first.extents) == 1
    store.writer.flush()
    store.close()
    for extent, content in zip(extents, (SHARED, OTHER), strict=True):
        assert extent.chunk is not None
        assert extent.address is not None
        assert read_back(vault, extent.chunk, extent.address) == content


def test_pieces_that_do_not_shrink_stay_what_they_are() -> None:
    """The byte before such a piece is borrowed while it is sealed, and belongs to another one."""
    vault = MemoryVault()
    store = store_in(vault)
    pieces = [random.Random(number).randbytes(300_000) for number in range(3)]
    batch = submit(store, *pieces, pieces[0])
    extents = batch.extents
    store.writer.flush()
    store.close()
    for piece, extent in zip([*pieces, pieces[0]], extents, strict=True):
        assert extent.chunk == chunk_id(KEYS, piece)
        assert extent.chunk is not None
        assert extent.address is not None
        assert read_back(vault, extent.chunk, extent.address) == piece


@pytest.mark.parametrize("order", ["ABACC", "XYWXWZ", "ABCABCCBA"])
def test_equal_pieces_of_one_length_stay_what_they_are(order: str) -> None:
    assert_stored_as_they_are(known="W", order=order)


@given(order=st.text("ABCDE", min_size=1, max_size=24), known=st.sets(st.sampled_from("ABCDE")))
def test_whatever_repeats_in_a_batch_is_stored_as_it_is(order: str, known: set[str]) -> None:
    assert_stored_as_they_are(known="".join(sorted(known)), order=order)


def assert_stored_as_they_are(*, known: str, order: str) -> None:
    """Pieces of two bytes, one per letter; those of `known` are in the vault already."""
    vault = MemoryVault()
    for letters in filter(None, (known, order)):
        pieces = [letter.encode() * 2 for letter in letters]
        store = store_in(vault)
        extents = submit(store, *pieces).extents
        store.writer.flush()
        store.close()
        for piece, extent in zip(pieces, extents, strict=True):
            assert extent.chunk == chunk_id(KEYS, piece)
            assert extent.chunk is not None
            assert extent.address is not None
            assert read_back(vault, extent.chunk, extent.address) == piece
