"""Beacons: a request that a page makes only so that it is noticed. There is one, and it counts.

Whatever is not in the statement's table never fires; what is there fires after a yes, until its end. Who
visited is never kept: within an hour a browser is known by a keyed hash, in memory, under a key that is
forgotten with the hour.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from datetime import datetime

from django.db.models import F

from muniment.server.privacy.consent.choices import Subject
from muniment.server.privacy.consent.effect import Consents
from muniment.server.privacy.consent.models import VisitCount
from muniment.server.privacy.contracts import holds
from muniment.server.privacy.ledger.leaves import hour_of
from muniment.server.privacy.statement import Statement
from muniment.server.transactions import writing

VISIT = "visit"
_OURS = "us"
_MOST_AN_HOUR = 100_000
"""Visits beyond are not counted: the memory for telling them apart has an end."""


def may_fire(name: str, statement: Statement, consents: Consents, *, gpc: bool, now: datetime) -> bool:
    """Whether it is declared, not past its end, agreed to, and its owner somebody we may share with."""
    beacon = statement.beacons.get(name)
    if beacon is None or now.date() >= beacon.expires or not consents.allows(beacon.purpose, gpc=gpc):
        return False
    if beacon.owner == _OURS:
        return True
    recipient = statement.recipients.get(beacon.owner)
    return recipient is not None and beacon.purpose in recipient.purposes and holds(recipient, now.date())


class _Hour:
    """Who was seen where in this hour, as hashes under a key that nobody will know in the next."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hour, self._key, self._seen = "", b"", set[bytes]()

    def is_new(self, visitor: bytes, page: str, *, hour: str) -> bool:
        """Whether the visitor was not yet seen there in this hour; from now on it was."""
        with self._lock:
            if hour != self._hour:
                self._hour, self._key, self._seen = hour, secrets.token_bytes(32), set()
            mark = hmac.digest(self._key, visitor + b"\0" + page.encode(), "sha256")
            if mark in self._seen or len(self._seen) >= _MOST_AN_HOUR:
                return False
            self._seen.add(mark)
            return True


_THIS_HOUR = _Hour()


def count_visit(subject: Subject, page: str, *, now: datetime) -> bool:
    """Count a visit of the page, once an hour; returns whether it counted. Only where `may_fire` said yes."""
    hour, visitor = hour_of(now), _known_as(subject)
    if visitor is None or not _THIS_HOUR.is_new(visitor, page, hour=hour):
        return False
    with writing():
        row, _ = VisitCount.objects.get_or_create(hour=hour, page=page, defaults={"visits": 0})
        VisitCount.objects.filter(pk=row.pk).update(visits=F("visits") + 1)
    return True


def _known_as(subject: Subject) -> bytes | None:
    if subject.account is not None:
        return subject.account.ref.bytes
    return subject.browser
