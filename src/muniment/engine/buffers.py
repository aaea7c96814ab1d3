"""Large buffers that are used again and again."""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue


class BufferPool:
    """A few buffers that are used again: the allocator would return each to the kernel, and ask anew.

    `take` waits for one. Every method may be called from any thread.
    """

    def __init__(self, size: int, *, count: int) -> None:
        self._size = size
        self._unmade = count
        self._making = threading.Lock()
        self._free: SimpleQueue[bytearray | BaseException] = SimpleQueue()

    def take(self) -> bytearray:
        with self._making:
            # Asked and taken in one: of two who both see the last free one, one would wait for it in vain.
            try:
                found = self._free.get_nowait()
            except Empty:
                if self._unmade:
                    self._unmade -= 1
                    return bytearray(self._size)
                found = None
        if found is None:
            found = self._free.get()
        if isinstance(found, BaseException):
            raise found
        return found

    def give_back(self, buffer: bytearray) -> None:
        self._free.put(buffer)

    def fail(self, error: BaseException) -> None:
        """Wake whoever waits: what it waits for will not come."""
        self._free.put(error)
