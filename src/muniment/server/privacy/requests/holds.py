"""Legal holds: what stops an erasure, and nothing else does."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from muniment.server.privacy.ledger.entries import Subject, record
from muniment.server.privacy.ledger.kinds import Kind as Record
from muniment.server.privacy.purposes import Purpose, purpose
from muniment.server.privacy.requests.models import Hold


class HeldByLaw(Exception):
    """A hold is in force; `reason` and `until` say what and how long."""

    def __init__(self, *, reason: str, until: datetime) -> None:
        super().__init__(reason)
        self.reason, self.until = reason, until


def place_hold(subject: Subject, *, reason: str, until: datetime, now: datetime) -> int:
    """Keep what is held about the account until then. Only inside `writing()`. ValueError: no reason."""
    if not reason.strip() or until <= now:
        raise ValueError("a hold needs a reason and an end")
    row: Any = Hold.objects.create(subject_id=subject.pk, reason=reason, begins_at=now, ends_at=until)
    record(
        Record.HOLD_PLACED, clause="P46", now=now, subject=subject,
        payload={"reason": reason, "until": until.isoformat()},
    )  # fmt: skip
    return int(row.pk)


@purpose(Purpose.REQUESTS)
def check_holds(account: int, *, now: datetime) -> None:
    """Raises HeldByLaw while a hold on the account is in force."""
    row = _in_force(account, now=now)
    if row is not None:
        raise HeldByLaw(reason=row.reason, until=row.ends_at)


@purpose(Purpose.REQUESTS)
def hold_on(account: int, *, now: datetime) -> str | None:
    """The reason of the hold in force on the account; None where there is none."""
    row = _in_force(account, now=now)
    return None if row is None else row.reason


@purpose(Purpose.REQUESTS)
def people_on_hold(*, now: datetime) -> list[int]:
    """Row numbers of the accounts that a hold is in force on."""
    rows = Hold.objects.filter(begins_at__lte=now, ends_at__gt=now)
    return list(rows.values_list("subject_id", flat=True).distinct())


def _in_force(account: int, *, now: datetime) -> Hold | None:
    rows = Hold.objects.filter(subject=account, begins_at__lte=now, ends_at__gt=now)
    return rows.order_by("-ends_at").first()
