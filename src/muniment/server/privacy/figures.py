"""Live numbers for the proof page. None of them is kept: each is counted when somebody looks.

A clause names one in `statement.toml` by `figure`; a name that nobody counts shows nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from django.db.models import Count

from muniment.server.privacy.ledger.models import LeafRow
from muniment.server.privacy.proof import Figure

Counter = Callable[[datetime], Figure]
_COUNTERS: dict[str, Counter] = {}
_SECONDS = 60.0
_LAST: list[tuple[datetime, Mapping[str, int]]] = []


def register_figure(name: str, count: Counter) -> None:
    """Make `count` answer for the figure; apps do so when they are ready."""
    _COUNTERS[name] = count


def figures(now: datetime) -> dict[str, Figure]:
    return {name: count(now) for name, count in _COUNTERS.items()}


def recorded(now: datetime) -> Mapping[str, int]:
    """Ledger entries by kind, at most a minute old: counting a million of them is no work for every visit."""
    if not _LAST or abs((now - _LAST[0][0]).total_seconds()) > _SECONDS:
        counted = LeafRow.objects.values_list("kind").annotate(Count("number")).order_by()
        _LAST[:] = [(now, dict(counted))]
    return _LAST[0][1]
