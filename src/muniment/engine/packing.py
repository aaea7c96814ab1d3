"""Brings encoded blocks into packs, and full packs to the vault.

An address is known the moment a block is placed, under a short lock; the thread that placed it then seals
it into the pack's buffer, beside others. Whoever finds a pack full waits for those, seals its index and sends
it. The first pack of a run is mixed, so that a small run makes one pack; later ones hold data or pages. Index
packs carry copies of the indexes of what was sent.

beside   add_data, add_page                                        flush
add_*    safe: placing under a lock, sealing into disjoint parts   caller's duty: nothing is added meanwhile
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from muniment.crypto.keys import VaultKeys
from muniment.engine.buffers import BufferPool
from muniment.engine.ports import PackSink, Progress
from muniment.format.block import Buffer, Compressor
from muniment.format.pack import PackBuilder
from muniment.model.ids import ChunkId, PackId, PageId
from muniment.model.packs import MIB, BlockAddress, ChunkAddress, PackKind, SealedPack

_PACK_BUFFER = 17 * MIB
"""Holds any pack that is closed at its target, padded."""

_PACK_BUFFERS = 2
"""One pack fills while another is sent."""


@dataclass(frozen=True, slots=True)
class IndexPack:
    """An index pack that was sent, and the packs whose indexes it holds."""

    pack: SealedPack
    covers: tuple[PackId, ...]


@dataclass(slots=True, eq=False)
class _OpenPack:
    """A pack being filled. `sealing` blocks are placed and not yet sealed."""

    builder: PackBuilder
    buffer: bytearray | None
    sealing: int = 0
    has_failed: bool = False


class PackWriter:
    """The open packs of a run."""

    def __init__(
        self,
        keys: VaultKeys,
        sink: PackSink,
        *,
        progress: Progress,
        sent: Callable[[Collection[ChunkId]], None],
    ) -> None:
        """`sent` is told the chunks of each pack once the sink knows them."""
        self._keys = keys
        self._sink = sink
        self._progress = progress
        self._sent = sent
        self._changed = threading.Condition()
        self._open: dict[PackKind, _OpenPack] = {}
        self._is_mixed = True
        """Whether the first pack, which takes data and pages, is yet to be closed."""
        self._buffers = BufferPool(_PACK_BUFFER, count=_PACK_BUFFERS)
        self._sending = threading.Lock()
        self._compressor = Compressor()
        self._index: PackBuilder | None = None
        self._covered: list[PackId] = []
        self._index_packs: list[IndexPack] = []
        self.new_content = 0
        """Bytes of chunks added, before compression."""

    def add_data(self, encoded: Buffer, ids: Sequence[ChunkId], lengths: Sequence[int]) -> list[ChunkAddress]:
        """Where each chunk of the block lies. `encoded` is not needed any more afterwards."""
        while True:
            with self._changed:
                pack, full = self._pack_for(PackKind.DATA, len(encoded), items=len(ids))
                if pack is not None:
                    addresses = pack.builder.place_data(encoded, ids, lengths)
                    pack.sealing += 1
                    self.new_content += sum(lengths)
                    break
            self._make_room(PackKind.DATA, full)
        self._seal(pack, addresses[0].block)
        return addresses

    def add_page(self, encoded: bytes, page: PageId, length: int) -> BlockAddress:
        while True:
            with self._changed:
                pack, full = self._pack_for(PackKind.PAGE, len(encoded), items=1)
                if pack is not None:
                    address = pack.builder.add_page(encoded, page, length)
                    pack.sealing += 1
                    break
            self._make_room(PackKind.PAGE, full)
        self._seal(pack, address)
        return address

    def _pack_for(
        self, kind: PackKind, length: int, *, items: int
    ) -> tuple[_OpenPack | None, _OpenPack | None]:
        """(the open pack that takes the block, None), or (None, the one that was full and is now closed)."""
        place = PackKind.MIXED if self._is_mixed else kind
        pack = self._open.get(place)
        if pack is None or pack.builder.room_for(length, items=items):
            return pack, None
        del self._open[place]
        self._is_mixed = False
        return None, pack

    def _make_room(self, kind: PackKind, full: _OpenPack | None) -> None:
        """Finish the pack that was full, or else open another. Waits without holding the lock."""
        if full is not None:
            self._finish(full)
            return
        buffer = self._buffers.take() if kind is PackKind.DATA or self._is_mixed else None
        with self._changed:
            place = PackKind.MIXED if self._is_mixed else kind
            if place not in self._open and place is PackKind.PAGE:
                # Pages come slowly: they are kept as they are, and take a buffer when their pack is sealed.
                # Held until then, it might be the one a thread waits for, and all others for that thread.
                self._open[place] = _OpenPack(PackBuilder(self._keys, place), None)
            elif place not in self._open and buffer is not None:
                self._open[place] = _OpenPack(PackBuilder(self._keys, place, out=buffer), buffer)
                return
        if buffer is not None:
            self._buffers.give_back(buffer)

    def _seal(self, pack: _OpenPack, address: BlockAddress) -> None:
        try:
            pack.builder.seal_block(address)
        except BaseException:
            pack.has_failed = True
            raise
        finally:
            with self._changed:
                pack.sealing -= 1
                self._changed.notify_all()

    def flush(self) -> tuple[IndexPack, ...]:
        """Send what is open, and the index packs of all sent since the last flush; returns those."""
        with self._changed:
            closing = list(self._open.values())
            self._open.clear()
            self._is_mixed = self._is_mixed and not closing
        for pack in closing:
            self._finish(pack)
        buffer = self._buffers.take()
        try:
            with self._sending:
                self._finish_index(buffer)
                index_packs = tuple(self._index_packs)
                self._index_packs.clear()
        finally:
            self._buffers.give_back(buffer)
        return index_packs

    def _finish(self, pack: _OpenPack) -> None:
        builder = pack.builder
        # Taken before `_sending`: who holds the buffer waited for may be waiting to send.
        buffer = self._buffers.take() if pack.buffer is None else pack.buffer
        try:
            with self._changed:
                self._changed.wait_for(lambda: not pack.sealing)
            if pack.has_failed:
                raise RuntimeError("a block of this pack could not be sealed")
            with self._sending:
                sealed = self._send(builder, buffer)
                if builder.chunks:
                    self._cover(builder, buffer)
                    self._sent(builder.chunks.keys())
        finally:
            self._buffers.give_back(buffer)
        self._progress.stored(new=builder.content_size if builder.chunks else 0, sealed=sealed.size)

    def _send(self, builder: PackBuilder, buffer: bytearray) -> SealedPack:
        sealed, content = builder.seal(buffer, compressor=self._compressor)
        with content:
            self._sink.send(sealed, content, builder.chunks)
        return sealed

    def _cover(self, builder: PackBuilder, buffer: bytearray) -> None:
        """Keep a copy of the index of what was sent. `buffer` is free again."""
        copy = builder.index_copy()
        encoded = bytes(self._compressor.encode([copy]))
        if self._index is not None and not self._index.room_for(len(encoded)):
            self._finish_index(buffer)
        if self._index is None:
            self._index = PackBuilder(self._keys, PackKind.INDEX)
        self._index.add_index_copy(encoded, builder.pack_id, len(copy))
        self._covered.append(builder.pack_id)

    def _finish_index(self, buffer: bytearray) -> None:
        if self._index is not None:
            sealed = self._send(self._index, buffer)
            self._index_packs.append(IndexPack(sealed, tuple(self._covered)))
            self._index = None
            self._covered.clear()
