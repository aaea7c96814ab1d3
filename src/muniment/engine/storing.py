"""Names chunks, stores the new ones, and tells where all of them are: the work given to threads.

A thread takes a batch of megabytes: all its ids (those of small new files come with it), one look-up, then
new chunks joined in walk order into blocks. A chunk that two batches bring at once is claimed by the first;
the other waits for its address, but only after it has published its own, so that no two ever wait for each
other.

beside     store                                       submit, close
store      safe: claims under one condition            safe
submit     safe                                        one thread only (the walking one)
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate, pairwise

from blake3 import blake3

from muniment.crypto.keys import VaultKeys
from muniment.engine.buffers import BufferPool
from muniment.engine.chunking import MAX_CHUNK
from muniment.engine.packing import PackWriter
from muniment.engine.ports import ChunkIndex, PackSink, Progress
from muniment.format.block import BLOCK_TARGET, Buffer, Compressor
from muniment.model.entry import Extent
from muniment.model.ids import ChunkId
from muniment.model.packs import MIB, ChunkAddress

BATCH = 2 * MIB
"""Small files of one owner are gathered up to this many bytes."""

WINDOW = 5 * MIB
"""Large files are read in pieces of this many bytes: enough for the largest chunk and more."""

_SMALL_BUFFERS = 5

_NICENESS = 19


class Batch:
    """Pieces of content of one owner (uid), in a buffer, that are stored together.

    `extents` has one extent per piece, in order, once the batch was submitted and is done.
    """

    __slots__ = ("_buffers", "_extents", "_future", "buffer", "digests", "end", "lengths", "starts", "view")

    def __init__(self, buffers: BufferPool) -> None:
        self._buffers = buffers
        self.buffer = buffers.take()
        self.view = memoryview(self.buffer)
        self.starts: list[int] = []
        self.lengths: list[int] = []
        self.digests: list[bytes | None] = []
        """What pieces are named by, where that is known already."""
        self.end = 0
        """End of the last piece."""
        self._future: Future[list[Extent]] | None = None
        self._extents: list[Extent] | None = None

    @property
    def room(self) -> int:
        return len(self.buffer) - self.end

    def add(self, length: int) -> int:
        """The next `length` bytes of the buffer are a piece; returns its place among the pieces."""
        self.starts.append(self.end)
        self.lengths.append(length)
        self.digests.append(None)
        self.end += length
        return len(self.lengths) - 1

    def add_named(self, lengths: Sequence[int], *, key: bytes) -> int:
        """`add` of many small ones, named here; returns the place of the first.

        A piece of some kilobytes is hashed in less time than threads need to hand the interpreter to each
        other and back, and it is still in the core's cache.
        """
        first, view = len(self.lengths), self.view
        ends = list(accumulate(lengths, initial=self.end))
        self.digests += [blake3(view[start:end], key=key).digest(16) for start, end in pairwise(ends)]
        self.end = ends.pop()
        self.starts += ends
        self.lengths += lengths
        return first

    @property
    def is_submitted(self) -> bool:
        return self._future is not None

    @property
    def is_done(self) -> bool:
        return self._extents is not None or (self._future is not None and self._future.done())

    @property
    def extents(self) -> list[Extent]:
        """Waits for the batch; raises what made it fail."""
        if self._extents is None:
            if self._future is None:
                raise RuntimeError("the batch was not submitted")
            self._extents = self._future.result()
        return self._extents

    def start(self, future: Future[list[Extent]]) -> None:
        self._future = future

    def release(self) -> None:
        """Nothing reads the buffer any more."""
        self.view.release()
        buffer, self.buffer = self.buffer, bytearray()
        self._buffers.give_back(buffer)


def _step_back() -> None:
    """Let the walking thread go first: it alone feeds the others, and they keep up with it."""
    if sys.platform == "linux":  # elsewhere a nice value is the whole process's
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


class _Failed(Exception):
    """Another batch failed, so the chunks that this one waits for will not come."""


class _Tools(threading.local):
    """What each thread has of its own: a compressor, and a buffer for blocks that do not shrink."""

    def __init__(self, level: int) -> None:
        self.compressor = Compressor(level)
        self._raw = bytearray(BLOCK_TARGET + 1)

    def encode(self, parts: Sequence[memoryview]) -> Buffer:
        """The block of `parts`; valid until this thread encodes the next."""
        if len(parts[0]) >= len(self._raw):
            self._raw = bytearray(MAX_CHUNK + 1)
        return self.compressor.encode(parts, out=self._raw)


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
        self._tools = _Tools(level)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="store", initializer=_step_back)
        self.batches = BufferPool(BATCH, count=_SMALL_BUFFERS)
        self.windows = BufferPool(WINDOW, count=workers + 1)
        self._claims: dict[ChunkId, ChunkAddress | None] = {}
        self._claimed = threading.Condition()
        self._has_failed = False

    # --- the walking thread

    def gather(self, batch: Batch, lengths: Sequence[int]) -> int:
        """Small pieces that lie behind the batch's last; returns the place of the first."""
        return batch.add_named(lengths, key=self._key)

    def submit(self, batch: Batch) -> None:
        """Give the batch to the threads. How many are in flight, the buffers bound."""
        batch.start(self._pool.submit(self._run, batch))

    def close(self) -> None:
        """Stop the threads; what was not begun is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    # --- the threads

    def _run(self, batch: Batch) -> list[Extent]:
        try:
            return self._store(batch)
        except BaseException as error:
            with self._claimed:
                self._has_failed = True
                self._claimed.notify_all()
            for buffers in (self.batches, self.windows):
                buffers.fail(error)
            raise
        finally:
            batch.release()

    def _store(self, batch: Batch) -> list[Extent]:
        key, view, lengths = self._key, batch.view, batch.lengths
        ids = ChunkId.trusted(
            [
                digest or blake3(view[start : start + length], key=key).digest(16)
                for digest, start, length in zip(batch.digests, batch.starts, lengths, strict=True)
            ]
        )
        # Of equal pieces the last is named; which one is stored makes no difference.
        places = dict(zip(ids, range(len(ids)), strict=True))
        addresses: dict[ChunkId, ChunkAddress] = {}
        missing: Collection[ChunkId] = places
        while missing:
            mine, known, awaited = self._claim(missing)
            addresses.update(known)
            found = self._index.find(mine)
            if found:
                addresses.update(found)
                self._forget(found)
                mine = [chunk for chunk in mine if chunk not in found]
            # In the order of the buffer: whether pieces lie side by side is told by the first and the last.
            for block in _gather(sorted(places[chunk] for chunk in mine), lengths):
                placed = self._place(batch, block, [ids[place] for place in block])
                addresses.update(placed)
                self._publish(placed)
            addresses.update(self._await(awaited))
            # Claims that are gone belonged to packs that were sent: the index knows those now. Or it did, and
            # their pack has turned out to be lost since; then they are ours to store.
            missing = [chunk for chunk in awaited if chunk not in addresses]
        return list(map(Extent, lengths, ids, map(addresses.__getitem__, ids)))

    def _place(
        self, batch: Batch, places: Sequence[int], ids: Sequence[ChunkId]
    ) -> dict[ChunkId, ChunkAddress]:
        """Compress the pieces at `places` as one block and add it to a pack."""
        starts, lengths, view = batch.starts, [batch.lengths[place] for place in places], batch.view
        first, size = starts[places[0]], sum(lengths)
        if starts[places[-1]] + lengths[-1] - first != size:
            parts = [view[starts[place] : starts[place] + batch.lengths[place]] for place in places]
            addresses = self.writer.add_data(self._tools.encode(parts), ids, lengths)
        elif not first:
            addresses = self.writer.add_data(self._tools.encode([view[:size]]), ids, lengths)
        else:
            # Side by side, as new files mostly are, and behind a byte that may be borrowed.
            room = view[first - 1 : first + size]
            borrowed = room[0]
            addresses = self.writer.add_data(self._tools.compressor.encode_behind(room), ids, lengths)
            room[0] = borrowed
        return dict(zip(ids, addresses, strict=True))

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
        """Where the claims of others put `ids`; those whose claim is gone are left out."""
        addresses: dict[ChunkId, ChunkAddress] = {}
        with self._claimed:
            for chunk in ids:
                while (address := self._claims.get(chunk)) is None and chunk in self._claims:
                    if self._has_failed:
                        raise _Failed
                    self._claimed.wait()
                if address is not None:
                    addresses[chunk] = address
        return addresses

    def _forget(self, known: Collection[ChunkId]) -> None:
        """The index knows these: no claim is needed any more."""
        with self._claimed:
            for chunk in known:
                self._claims.pop(chunk, None)
            self._claimed.notify_all()


def _gather(places: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
    """Runs of pieces that make blocks of nearly equal size, none above the target but a lone chunk."""
    total = sum([lengths[place] for place in places])
    share = total / max(1, -(-total // BLOCK_TARGET))
    block: list[int] = []
    size = 0
    for place in places:
        length = lengths[place]
        if block and (size + length > BLOCK_TARGET or size + length / 2 > share):
            yield block
            block, size = [], 0
        block.append(place)
        size += length
    if block:
        yield block
