"""What all tests share."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.user_systemd import why_not

pytest_plugins = ["tests.support.clauses", "tests.support.database_option"]

# No deadline for single examples: how long one takes says how busy the machine is, not whether it is right.
settings.register_profile("muniment", parent=settings.default, deadline=None)
settings.load_profile("muniment")

collect_ignore = ["functional/test_schedule_systemd.py"] if why_not() else []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what did not run here."""
    for name in collect_ignore:
        terminalreporter.write_line(f"NOT-RUN tests/{name}: {why_not()}")


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """As pytest's own, removed after the test.

    By rm, because some tests make trees so deep that Python's rmtree runs out of stack, which would end a
    later session with a traceback.
    """
    yield tmp_path
    subprocess.run(["rm", "-rf", tmp_path], check=True)


@pytest.fixture(scope="session")
def tmp_path_factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.TempPathFactory]:
    """The same for what modules and sessions share."""
    yield tmp_path_factory
    subprocess.run(["rm", "-rf", *tmp_path_factory.getbasetemp().iterdir()], check=True)
