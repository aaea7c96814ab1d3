"""How our own people read a person's data: with a written reason, which that person can see.

    with staff_reading(Purpose.REQUESTS, reason="…", subject=account, about="…", now=now):
        ...

What the console lists shows nobody's data. The reason is recorded, durably, before anything is readable.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from muniment.server.privacy.ledger.entries import Subject, record
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.purposes import Purpose, purpose
from muniment.server.transactions import writing


class ReasonMissing(ValueError):
    """Nobody reads somebody else's data without saying why."""

    def __init__(self) -> None:
        super().__init__("reading somebody's data needs a reason, which they can see")


@contextmanager
def staff_reading(
    used_for: Purpose, *, reason: str, subject: Subject | None, about: str, now: datetime
) -> Iterator[None]:
    """Open the purpose for one look. Raises ReasonMissing. Not inside `writing()`: the record outlives it.

    `about` names the case. Where there is no account to show it to, or an order forbids telling, the record
    is about nobody, and holds the case without the reason.
    """
    if not reason.strip():
        raise ReasonMissing
    payload = {"purpose": used_for.value, "case": about}
    if subject is not None:
        payload["reason"] = reason.strip()
    with writing():
        record(Kind.STAFF_READ, clause="P19", payload=payload, now=now, subject=subject)
    with purpose(used_for):
        yield
