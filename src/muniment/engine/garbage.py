"""How Python's collector behaves while millions of small objects pass through."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_THRESHOLDS = (1_000_000, 50, 1000)


@contextmanager
def rare_collections() -> Iterator[None]:
    """Collect cycles rarely: what the engine makes by the million has none, and looking for some costs a
    fifth of a rescan. What was imported stays anyway and is not looked at again."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
