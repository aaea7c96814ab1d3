"""The option `--database`, and the marks that go with it."""

from __future__ import annotations

import os
import shlex
import sys
from itertools import pairwise

import pytest

from tests.support.databases import is_postgresql, start_cluster, stop_cluster

FOLDERS = ("tests/unit/server/", "tests/integration/server/")
"""Tests that touch the database; others say so themselves: `pytestmark = pytest.mark.database`."""


def _asks_for_postgresql(words: list[str]) -> bool:
    return "--database=postgresql" in words or ("--database", "postgresql") in pairwise(words)


# Read before pytest reads it: some conftests set Django up, and with it the database, when they are imported.
if _asks_for_postgresql(sys.argv) or _asks_for_postgresql(shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))):
    start_cluster()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database", choices=("sqlite", "postgresql"), default="sqlite", help="what the server's rows are in"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "database: touches the server's database; runs on both")
    config.addinivalue_line("markers", "sqlite: is about SQLite itself")
    config.addinivalue_line("markers", "postgresql: is about PostgreSQL itself")
    if (config.getoption("--database") == "postgresql") is not is_postgresql():
        raise pytest.UsageError("--database goes on the command line or into PYTEST_ADDOPTS")


def pytest_unconfigure() -> None:
    stop_cluster()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    other = "sqlite" if is_postgresql() else "postgresql"
    for item in items:
        if item.nodeid.startswith(FOLDERS):
            item.add_marker(pytest.mark.database)
    left_out = [item for item in items if item.get_closest_marker(other)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
