"""Token buckets: no more than so many bytes a second, over all connections of the process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

STEP = 16 * 1024
"""A limited transfer moves in pieces of this many bytes, so that slow limits stay smooth."""


class RateLimit:
    """Bytes per second over all callers. `take` returns once `amount` more bytes may move."""

    def __init__(
        self,
        bytes_per_second: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.bytes_per_second = bytes_per_second
        self._monotonic, self._sleep = monotonic, sleep
        self._lock = threading.Lock()
        self._free_at = monotonic()

    def take(self, amount: int) -> None:
        with self._lock:
            now = self._monotonic()
            # At most a quarter of a second of unused rate is kept, so a pause earns no burst.
            start = max(self._free_at, now - 0.25)
            self._free_at = start + amount / self.bytes_per_second
            delay = self._free_at - now
        if delay > 0:
            self._sleep(delay)


def limit_of(kib_per_second: int | None) -> RateLimit | None:
    """The limit asked for on the command line; None where there is none."""
    return RateLimit(kib_per_second * 1024) if kib_per_second else None
