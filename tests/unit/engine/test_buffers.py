"""Buffers that threads share."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from muniment.engine import buffers
from muniment.engine.buffers import BufferPool


class _SlowlyLeft:
    """A lock whose holders are slow to go on once they let go of it: others come between."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        time.sleep(0.05)


def test_two_who_ask_at_once_get_the_free_one_and_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were one of them to wait, a backup whose other threads had nothing left to do would never end."""
    monkeypatch.setattr(buffers.threading, "Lock", _SlowlyLeft)
    pool = BufferPool(1, count=2)
    monkeypatch.undo()
    pool.give_back(pool.take())
    with ThreadPoolExecutor(2) as threads:
        asked = [threads.submit(pool.take) for _ in range(2)]
        try:
            first, second = (one.result(5) for one in asked)
        except TimeoutError:
            pool.give_back(bytearray(1))  # so that the thread ends
            raise
    assert first is not second


def test_whoever_waits_hears_of_a_failure() -> None:
    pool = BufferPool(1, count=1)
    pool.take()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(pool.take)
        pool.fail(RuntimeError("a batch failed"))
        with pytest.raises(RuntimeError, match="a batch failed"):
            waiting.result(5)
