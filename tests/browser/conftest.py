"""A real server and a real browser for each story. See `tests.support.browsing`.

    pytest tests/browser --all-sights      narrow and wide, light and dark, in every combination

Without the option (`make sights` has it) pages are looked at wide and light, and narrow and dark: each width
and each set of colours once.
"""

from __future__ import annotations

import itertools

import pytest

from tests.support.browsing import (
    NARROW,
    WIDE,
    Sight,
    browser,
    page,
    playwright_driver,
    scriptless_page,
    site,
)

__all__ = ["browser", "page", "playwright_driver", "scriptless_page", "site"]

_ALL = [Sight(scheme, size) for scheme, size in itertools.product(("light", "dark"), (WIDE, NARROW))]
_SOME = [Sight("light", WIDE), Sight("dark", NARROW)]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all-sights", action="store_true", help="every width in every set of colours")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "sight" in metafunc.fixturenames:
        # Not known where pytest was not started on this folder.
        chosen = _ALL if metafunc.config.getoption("--all-sights", default=False) else _SOME
        metafunc.parametrize("sight", chosen, ids=str)
