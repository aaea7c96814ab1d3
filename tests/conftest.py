"""For all tests: what they leave behind goes away at once."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """As pytest's own, removed after the test.

    By rm, because some tests make trees so deep that Python's rmtree runs out of stack, which would end a
    later session with a traceback.
    """
    yield tmp_path
    subprocess.run(["rm", "-rf", tmp_path], check=True)
