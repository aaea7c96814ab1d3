"""Packs that threads fill side by side."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from muniment.crypto.digests import chunk_id
from muniment.engine import packing
from muniment.engine.buffers import BufferPool
from muniment.engine.packing import PackWriter
from muniment.format.block import Compressor
from muniment.model.ids import PageId
from muniment.model.packs import KIB, PackKind
from tests.support.memory_vault import MemoryVault, RecordingProgress, new_keys


class _BusyPool(BufferPool):
    """Lets `meanwhile` happen between the taking of a buffer and its use."""

    def __init__(self, size: int, *, count: int) -> None:
        super().__init__(size, count=count)
        self.meanwhile: Callable[[], None] | None = None

    def take(self) -> bytearray:
        buffer, meanwhile, self.meanwhile = super().take(), self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return buffer


def test_pages_hold_no_buffer_though_the_first_pack_closes_while_they_get_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both buffers held until something more comes, which needs one: the backup would never end."""
    pool = _BusyPool(packing._PACK_BUFFER, count=packing._PACK_BUFFERS)
    monkeypatch.setattr(packing, "BufferPool", lambda *_, **__: pool)
    monkeypatch.setattr("muniment.format.pack.MIXED_PACK_TARGET", 128 * KIB)
    keys, vault, chance = new_keys(), MemoryVault(), random.Random(1)
    writer = PackWriter(keys, vault, progress=RecordingProgress(), sent=lambda _: None)

    def add_data() -> None:
        content = chance.randbytes(100 * KIB)
        block = bytes(Compressor().encode([content]))
        writer.add_data(block, [chunk_id(keys, content)], [len(content)])

    def fill_the_first_pack() -> None:
        add_data()
        add_data()

    pool.meanwhile = fill_the_first_pack
    page = bytes(Compressor().encode([b"a page"]))
    writer.add_page(page, PageId(bytes(16)), len(b"a page"))
    with ThreadPoolExecutor(1) as threads:
        free = threads.submit(pool.take)
        try:
            pool.give_back(free.result(5))
        except TimeoutError:
            pool.give_back(bytearray(1))  # so that the thread ends
            raise
    writer.flush()
    assert sorted(pack.kind for pack, _ in vault.packs.values()) == sorted(
        [PackKind.MIXED, PackKind.DATA, PackKind.PAGE, PackKind.INDEX]
    )
