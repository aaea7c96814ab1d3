"""The thresholds are taken by this machine's C library, or said not to be; a restore gets the client's."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from muniment.main.allocator import CLIENT

_PROBE = "from muniment.main.allocator import {0}, keep_buffers; print(keep_buffers({0}))"

_TOLD = """
from muniment.main import allocator, client
from muniment.client.cli.options import GlobalOptions
asked = []
allocator.keep_buffers = asked.append
client.compose(GlobalOptions()).keep_buffers()
print(asked)
"""


@pytest.mark.parametrize("program", ["CLIENT", "SERVER"])
def test_the_c_library_takes_the_thresholds_where_it_has_them(program: str) -> None:
    """In a process of its own, since the setting cannot be taken back."""
    has_them = sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "mallopt")
    assert _run(_PROBE.format(program)) == str(has_them)


def test_a_restore_is_given_the_clients_thresholds(tmp_path: Path) -> None:
    assert _run(_TOLD, MUNIMENT_HOME=str(tmp_path)) == str([CLIENT])


def _run(code: str, **environment: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ) | environment,
    ).stdout.strip()
