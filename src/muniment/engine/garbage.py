"""How Python's collector behaves while millions of small objects pass through."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_THRESHOLDS = (100_000, 20, 100)


@contextmanager
def rare_collections() -> Iterator[None]:
    """Collect cycles rarely: what the engine makes by the million has none, and looking for some costs a
    fifth of a rescan."""
    before = gc.get_threshold()
    gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
