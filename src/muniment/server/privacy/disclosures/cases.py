"""The steps of an order as a page takes them: one call each, durable when it returns."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from muniment.server.privacy.disclosures.orders import Order, approve, refuse, take_in
from muniment.server.transactions import writing


def take_in_case(order: Order, *, by: Any, now: datetime) -> UUID:
    """Raises as `take_in`."""
    with writing():
        return take_in(order, by=by, now=now)


def approve_case(ref: UUID, approver: Any, *, now: datetime) -> int:
    """Raises NoSuchOrder."""
    with writing():
        return approve(ref, approver, now=now)


def refuse_case(ref: UUID, *, reason: str, by: Any, now: datetime) -> None:
    """Raises NoSuchOrder, ValueError."""
    with writing():
        refuse(ref, reason=reason, by=by, now=now)
