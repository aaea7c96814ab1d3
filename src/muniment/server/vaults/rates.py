"""How often a device may do what leaves a row behind."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from muniment.server.refusals import Refusal
from muniment.wire.errors import ErrorCode

DAY = timedelta(days=1)


class Moments(Protocol):
    """Times of one day, newest first: a query that is only read as far as it must be."""

    def __getitem__(self, places: slice, /) -> Sequence[datetime]: ...


def check_rate(lately: Moments, *, most: int, now: datetime) -> None:
    """TOO_MANY where there are `most` of the last day's moments already."""
    oldest = list(lately[most - 1 : most])
    if oldest:
        raise Refusal(
            ErrorCode.TOO_MANY,
            f"more than {most} of these in a day",
            advice="Run backups and restores less often; what is stored stays.",
            retry_after=max(1.0, (oldest[0] + DAY - now).total_seconds()),
        )
