"""Ending a restriction or an objection: its person alone says so, and what was allowed before is again."""

from __future__ import annotations

from datetime import datetime

from muniment.server.privacy.holding import hold_person
from muniment.server.privacy.ledger.entries import Subject, record
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.requests.models import Restriction
from muniment.server.transactions import writing


class NoSuchRestriction(LookupError):
    """Nothing of the kind stands."""


def lift(subject: Subject, purpose: str, *, now: datetime) -> None:
    """From now on it stands no more: `purpose`, or all use where that is empty. Raises NoSuchRestriction."""
    with writing():
        hold_person(subject.pk)
        standing = Restriction.objects.filter(subject=subject.pk, purpose=purpose, ended_at=None)
        if not standing.update(ended_at=now):
            raise NoSuchRestriction(purpose)
        payload = {"purpose": purpose}
        record(Kind.USE_ALLOWED_AGAIN, clause="P44", payload=payload, now=now, subject=subject)
