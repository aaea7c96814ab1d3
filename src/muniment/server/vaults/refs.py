"""Between ids as the wire writes them (hexadecimal) and as rows keep them (UUID)."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID


def parse_ref(text: str) -> UUID:
    """A wire id whose pattern was checked when the message was decoded."""
    return UUID(hex=text)


def seconds(at: datetime) -> float:
    return at.timestamp()


def seconds_or_none(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()
