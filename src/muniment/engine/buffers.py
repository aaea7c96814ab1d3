"""Large buffers that are used again and again."""

from __future__ import annotations

import threading
from queue import SimpleQueue


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
            makes = self._free.empty() and self._unmade > 0
            self._unmade -= makes
        if makes:
            return bytearray(self._size)
        found = self._free.get()
        if isinstance(found, BaseException):
            raise found
        return found

    def give_back(self, buffer: bytearray) -> None:
        self._free.put(buffer)

    def fail(self, error: BaseException) -> None:
        """Wake whoever waits: what it waits for will not come."""
        self._free.put(error)
