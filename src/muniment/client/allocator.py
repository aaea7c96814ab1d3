"""Tells glibc to keep the buffers that a restore opens blocks into.

By default it gives each of them back to the kernel and faults in a new one, and every thread keeps a heap
of its own: measured on a tree of 84,000 files, a quarter of the processor time of a restore and 20 MiB.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_KEEP_BYTES = 64 << 20
_MAP_FROM_BYTES = 32 << 20
_ARENAS = 2


def keep_buffers() -> bool:
    """Set this process's thresholds, before it starts threads; False where the C library has none."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(
        mallopt(_M_ARENA_MAX, _ARENAS)
        and mallopt(_M_MMAP_THRESHOLD, _MAP_FROM_BYTES)
        and mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)
    )
