"""How often a device may do what leaves a row behind."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet

from muniment.server.refusals import Refusal
from muniment.wire.errors import ErrorCode

DAY = timedelta(days=1)


def check_rate(lately: QuerySet[Any, datetime], *, most: int, now: datetime) -> None:
    """TOO_MANY where there are `most` already. `lately`: when it was done in the last day, newest first."""
    oldest = list(lately[most - 1 : most])
    if oldest:
        raise Refusal(
            ErrorCode.TOO_MANY,
            f"more than {most} of these in a day",
            advice="Run backups and restores less often; what is stored stays.",
            retry_after=max(1.0, (oldest[0] + DAY - now).total_seconds()),
        )
