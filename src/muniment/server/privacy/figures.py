"""Live numbers for the proof page. None of them is kept: each is counted when somebody looks.

A clause names one in `statement.toml` by `figure`; a name that nobody counts shows nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from muniment.server.privacy.proof import Figure

Counter = Callable[[datetime], Figure]
_COUNTERS: dict[str, Counter] = {}


def register_figure(name: str, count: Counter) -> None:
    """Make `count` answer for the figure; apps do so when they are ready."""
    _COUNTERS[name] = count


def figures(now: datetime) -> dict[str, Figure]:
    return {name: count(now) for name, count in _COUNTERS.items()}
