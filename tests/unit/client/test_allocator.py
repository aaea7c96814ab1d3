"""The thresholds are taken by this machine's C library, or said not to be."""

from __future__ import annotations

import ctypes
import subprocess
import sys

_PROBE = "from muniment.client.allocator import keep_buffers; print(keep_buffers())"


def test_the_c_library_takes_the_thresholds_where_it_has_them() -> None:
    """In a process of its own, since the setting cannot be taken back."""
    said = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=True).stdout
    has_them = sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "mallopt")
    assert said.strip() == str(has_them)
