"""How many entries of each kind the ledger holds, for the proof page."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime

from django.db.models import Count

from muniment.server.privacy.ledger.models import LeafRow

_SECONDS = 60.0
_COUNTING = threading.Lock()
"""Who comes while somebody counts waits for that count."""
_LAST: list[tuple[datetime, Mapping[str, int]]] = []


def recorded(now: datetime) -> Mapping[str, int]:
    """Ledger entries by kind, at most a minute old: counting a million of them is no work for every visit."""
    with _COUNTING:
        if not _LAST or abs((now - _LAST[0][0]).total_seconds()) > _SECONDS:
            counted = LeafRow.objects.values_list("kind").annotate(Count("number")).order_by()
            _LAST[:] = [(now, dict(counted))]
        return _LAST[0][1]
