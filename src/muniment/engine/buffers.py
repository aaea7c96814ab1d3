"""Large buffers that are used again and again."""

from __future__ import annotations

from queue import SimpleQueue


class BufferPool:
    """A few buffers that are used again: the allocator would return each to the kernel, and ask anew.

    `take` waits for one; `give_back` may be called from any thread.
    """

    def __init__(self, size: int, *, count: int) -> None:
        self._size = size
        self._unmade = count
        self._free: SimpleQueue[bytearray | BaseException] = SimpleQueue()

    def take(self) -> bytearray:
        if self._free.empty() and self._unmade:
            self._unmade -= 1
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
