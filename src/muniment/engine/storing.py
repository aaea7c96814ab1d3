"""Names chunks, stores the new ones, and tells where all of them are: the work given to threads.

A thread takes a batch of megabytes: all its ids, one look-up, then new chunks joined in walk order into
blocks. A chunk that two batches bring at once is claimed by the first; the other waits for its address, but
only after it has published its own, so that no two ever wait for each other.

beside     store                                       submit, close
store      safe: claims under one condition            safe
submit     safe                                        one thread only (the walking one)
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

from blake3 import blake3

from muniment.crypto.keys import VaultKeys
from muniment.engine.packing import PackWriter
from muniment.engine.ports import ChunkIndex, PackSink, Progress
from muniment.format.block import BLOCK_TARGET, Buffer, Compressor
from muniment.model.entry import Extent
from muniment.model.ids import ChunkId
from muniment.model.packs import MIB, ChunkAddress

IN_FLIGHT = 24 * MIB
"""Plain bytes handed to the threads and not yet done with; besides, each open pack holds up to 16 MiB."""

WINDOW = 8 * MIB


class Batch:
    """Pieces of content of one owner (uid) that are stored together.

    `extents` has one extent per piece, in order, once the batch was submitted and is done.
    """

    __slots__ = ("_future", "buffer", "parts", "size")

    def __init__(self, buffer: bytearray | None = None) -> None:
        self.parts: list[Buffer] = []
        self.size = 0
        self.buffer = buffer
        """What `parts` are views of, where it came from the store's buffers."""
        self._future: Future[list[Extent]] | None = None

    def add(self, part: Buffer) -> int:
        """The place of `part` among the pieces."""
        self.parts.append(part)
        self.size += len(part)
        return len(self.parts) - 1

    @property
    def is_submitted(self) -> bool:
        return self._future is not None

    @property
    def is_done(self) -> bool:
        return self._future is not None and self._future.done()

    @property
    def extents(self) -> list[Extent]:
        """Waits for the batch; raises what made it fail."""
        if self._future is None:
            raise RuntimeError("the batch was not submitted")
        return self._future.result()

    def start(self, future: Future[list[Extent]]) -> None:
        self._future = future


class _Failed(Exception):
    """Another batch failed, so the chunks that this one waits for will not come."""


class ChunkStore:
    """The run's new chunks on their way into packs."""

    def __init__(
        self,
        keys: VaultKeys,
        *,
        index: ChunkIndex,
        sink: PackSink,
        progress: Progress,
        level: int,
        workers: int,
    ) -> None:
        self.writer = PackWriter(keys, sink, progress=progress, sent=self._forget)
        self._key = keys.chunk_key
        self._index = index
        self._level = level
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="store")
        self._local = threading.local()
        self._submitted: deque[tuple[Future[list[Extent]], int]] = deque()
        self._in_flight = 0
        self._buffers: SimpleQueue[bytearray] = SimpleQueue()
        self._unmade_buffers = workers + 1
        self._claims: dict[ChunkId, ChunkAddress | None] = {}
        self._claimed = threading.Condition()
        self._has_failed = False

    # --- the walking thread

    def submit(self, batch: Batch) -> None:
        """Give the batch to the threads; waits while too many bytes are in flight."""
        while self._submitted and (self._submitted[0][0].done() or self._in_flight + batch.size > IN_FLIGHT):
            future, size = self._submitted.popleft()
            future.result()
            self._in_flight -= size
        future = self._pool.submit(self._run, batch)
        batch.start(future)
        self._submitted.append((future, batch.size))
        self._in_flight += batch.size

    def take_buffer(self) -> bytearray:
        """One of a few buffers of `WINDOW` bytes; it comes back when the batch that carries it is done."""
        if self._unmade_buffers:
            self._unmade_buffers -= 1
            return bytearray(WINDOW)
        while True:
            # With every batch failed or cancelled nobody would bring one back: the failure must show.
            if self._has_failed:
                for future, _ in self._submitted:
                    future.result()
            try:
                return self._buffers.get(timeout=1.0)
            except Exception:
                continue

    def give_back(self, buffer: bytearray) -> None:
        self._buffers.put(buffer)

    def close(self) -> None:
        """Stop the threads; what was not begun is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    # --- the threads

    def _run(self, batch: Batch) -> list[Extent]:
        try:
            return self._store(batch.parts)
        except BaseException:
            with self._claimed:
                self._has_failed = True
                self._claimed.notify_all()
            raise
        finally:
            batch.parts = []
            if batch.buffer is not None:
                self.give_back(batch.buffer)
                batch.buffer = None

    def _store(self, parts: Sequence[Buffer]) -> list[Extent]:
        key = self._key
        ids = [ChunkId(blake3(part, key=key).digest(16)) for part in parts]
        places = dict(zip(ids, range(len(ids)), strict=True))
        mine, addresses, awaited = self._claim(places)
        found = self._index.find(mine)
        new = [chunk for chunk in mine if chunk not in found]
        if found:
            addresses.update(found)
            self._publish(found)
        # `places` names the last of equal pieces; which one is stored makes no difference.
        for block in _gather(new, {chunk: len(parts[places[chunk]]) for chunk in new}):
            placed = self._place(block, [parts[places[chunk]] for chunk in block])
            addresses.update(placed)
            self._publish(placed)
        if awaited:
            addresses.update(self._await(awaited))
        return [Extent(len(part), chunk, addresses[chunk]) for part, chunk in zip(parts, ids, strict=True)]

    def _place(self, ids: Sequence[ChunkId], parts: Sequence[Buffer]) -> dict[ChunkId, ChunkAddress]:
        """Compress the parts as one block and add it to a pack."""
        encoded = self._compressor().encode(parts)
        if isinstance(encoded, memoryview):
            encoded = bytes(encoded)
        lengths = [len(part) for part in parts]
        block = self.writer.add_data(encoded, ids, lengths)
        placed: dict[ChunkId, ChunkAddress] = {}
        inner = 0
        for chunk, length in zip(ids, lengths, strict=True):
            placed[chunk] = ChunkAddress(block, inner, length)
            inner += length
        return placed

    def _compressor(self) -> Compressor:
        compressor: Compressor | None = getattr(self._local, "compressor", None)
        if compressor is None:
            compressor = self._local.compressor = Compressor(self._level)
        return compressor

    # --- claims: chunks of this run that the index does not know yet; None until the address is known

    def _claim(
        self, ids: Collection[ChunkId]
    ) -> tuple[list[ChunkId], dict[ChunkId, ChunkAddress], list[ChunkId]]:
        """Of `ids`: what is now ours to store, what has an address, what another batch is storing."""
        mine: list[ChunkId] = []
        known: dict[ChunkId, ChunkAddress] = {}
        awaited: list[ChunkId] = []
        claims = self._claims
        with self._claimed:
            for chunk in ids:
                if chunk not in claims:
                    claims[chunk] = None
                    mine.append(chunk)
                elif (address := claims[chunk]) is None:
                    awaited.append(chunk)
                else:
                    known[chunk] = address
        return mine, known, awaited

    def _publish(self, placed: Mapping[ChunkId, ChunkAddress]) -> None:
        with self._claimed:
            self._claims.update(placed)
            self._claimed.notify_all()

    def _await(self, ids: Sequence[ChunkId]) -> dict[ChunkId, ChunkAddress]:
        addresses: dict[ChunkId, ChunkAddress] = {}
        with self._claimed:
            for chunk in ids:
                while (address := self._claims.get(chunk)) is None and chunk in self._claims:
                    if self._has_failed:
                        raise _Failed
                    self._claimed.wait()
                if address is not None:
                    addresses[chunk] = address
        # A claim that is gone belonged to a pack that was sent: by now the index knows it.
        gone = [chunk for chunk in ids if chunk not in addresses]
        if gone:
            addresses.update(self._index.find(gone))
        return addresses

    def _forget(self, sent: Collection[ChunkId]) -> None:
        with self._claimed:
            for chunk in sent:
                self._claims.pop(chunk, None)


def _gather(ids: Sequence[ChunkId], lengths: Mapping[ChunkId, int]) -> Iterator[list[ChunkId]]:
    """Runs of `ids` whose chunks make blocks of nearly equal size, none above the target but a lone chunk."""
    total = sum(lengths.values())
    share = total / max(1, -(-total // BLOCK_TARGET))
    block: list[ChunkId] = []
    size = 0
    for chunk in ids:
        length = lengths[chunk]
        if block and (size + length > BLOCK_TARGET or size + length / 2 > share):
            yield block
            block, size = [], 0
        block.append(chunk)
        size += length
    if block:
        yield block
