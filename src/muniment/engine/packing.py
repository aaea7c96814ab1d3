"""Brings encoded blocks into packs, and full packs to the vault.

Addresses are known the moment a block is added; sealing comes when a pack is full, in the thread that filled
it, one pack at a time into one buffer. The first pack of a run is mixed, so that a small run makes one pack;
later ones hold data or pages. Index packs carry copies of the indexes of what was sent.

beside          add_data, add_page             flush
add_*           safe: one short lock           the caller's duty: nothing may be added meanwhile
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from muniment.crypto.keys import VaultKeys
from muniment.engine.ports import PackSink, Progress
from muniment.format.block import Buffer, Compressor
from muniment.format.pack import PackBuilder
from muniment.model.ids import ChunkId, PackId, PageId
from muniment.model.packs import MIB, BlockAddress, ChunkAddress, PackKind, SealedPack

_SEAL_BUFFER = 17 * MIB
"""Holds any pack that is closed at its target, padded."""


@dataclass(frozen=True, slots=True)
class IndexPack:
    """An index pack that was sent, and the packs whose indexes it holds."""

    pack: SealedPack
    covers: tuple[PackId, ...]


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
        self._lock = threading.Lock()
        self._open: dict[PackKind, PackBuilder] = {PackKind.MIXED: PackBuilder(keys, PackKind.MIXED)}
        self._sealing = threading.Lock()
        self._buffer = bytearray(_SEAL_BUFFER)
        self._compressor = Compressor()
        self._index: PackBuilder | None = None
        self._covered: list[PackId] = []
        self._index_packs: list[IndexPack] = []
        self.new_content = 0
        """Bytes of chunks added, before compression."""

    def add_data(self, encoded: Buffer, ids: Sequence[ChunkId], lengths: Sequence[int]) -> list[ChunkAddress]:
        """Where each chunk of the block will lie."""
        with self._lock:
            builder, full = self._builder_for(PackKind.DATA, len(encoded), items=len(ids))
            addresses = builder.place_data(encoded, ids, lengths)
            self.new_content += sum(lengths)
        if full is not None:
            self._finish(full)
        return addresses

    def add_page(self, encoded: Buffer, page: PageId, length: int) -> BlockAddress:
        with self._lock:
            builder, full = self._builder_for(PackKind.PAGE, len(encoded), items=1)
            address = builder.add_page(encoded, page, length)
        if full is not None:
            self._finish(full)
        return address

    def _builder_for(
        self, kind: PackKind, length: int, *, items: int
    ) -> tuple[PackBuilder, PackBuilder | None]:
        """The open pack that takes the block, and the one that had no room for it and is now closed."""
        place = PackKind.MIXED if PackKind.MIXED in self._open else kind
        builder = self._open.get(place)
        if builder is not None and builder.room_for(length, items=items):
            return builder, None
        if builder is not None:
            del self._open[place]
        if kind not in self._open:
            self._open[kind] = PackBuilder(self._keys, kind)
        return self._open[kind], builder

    def flush(self) -> tuple[IndexPack, ...]:
        """Send what is open, and the index packs of all sent since the last flush; returns those."""
        with self._lock:
            closing = [builder for builder in self._open.values() if not builder.is_empty]
            self._open = {kind: builder for kind, builder in self._open.items() if builder.is_empty}
        for builder in closing:
            self._finish(builder)
        with self._sealing:
            self._finish_index()
            index_packs = tuple(self._index_packs)
            self._index_packs.clear()
        return index_packs

    def _finish(self, builder: PackBuilder) -> None:
        with self._sealing:
            sealed = self._send(builder)
            if builder.chunks:
                self._cover(builder)
                self._sent(builder.chunks.keys())
        self._progress.stored(new=builder.content_size if builder.chunks else 0, sealed=sealed.size)

    def _send(self, builder: PackBuilder) -> SealedPack:
        sealed, content = builder.seal(self._buffer, compressor=self._compressor)
        with content:
            self._sink.send(sealed, content, builder.chunks)
        return sealed

    def _cover(self, builder: PackBuilder) -> None:
        copy = builder.index_copy()
        encoded = bytes(self._compressor.encode([copy]))
        if self._index is not None and not self._index.room_for(len(encoded)):
            self._finish_index()
        if self._index is None:
            self._index = PackBuilder(self._keys, PackKind.INDEX)
        self._index.add_index_copy(encoded, builder.pack_id, len(copy))
        self._covered.append(builder.pack_id)

    def _finish_index(self) -> None:
        if self._index is not None:
            sealed = self._send(self._index)
            self._index_packs.append(IndexPack(sealed, tuple(self._covered)))
            self._index = None
            self._covered.clear()
