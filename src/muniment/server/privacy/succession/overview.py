"""How a succession stands: who was told, what they chose, and who was handed over."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from muniment.server.privacy.requests.models import Kind, Request, Restriction
from muniment.server.privacy.succession.handing_over import NOTICE, PURPOSE
from muniment.server.privacy.succession.models import Succession, SuccessionNotice

_EVERY_USE = ""


@dataclass(frozen=True, slots=True)
class SuccessionSeen:
    """Numbers of people; names are nobody's business here. Who objects and leaves counts as both."""

    succession: Succession
    told: int
    objected: int
    """To this, or to every use."""
    leaving: int
    """Those who asked to be deleted; who was deleted is in none of these numbers."""
    handed_over: int
    due: int
    """Told thirty days ago, not handed over yet, and without an objection."""


def read_successions(*, now: datetime) -> list[SuccessionSeen]:
    """Newest first."""
    return [_seen(row, now=now) for row in Succession.objects.order_by("-declared_at")]


def _seen(row: Succession, *, now: datetime) -> SuccessionSeen:
    notices = SuccessionNotice.objects.filter(succession=row)
    against = Restriction.objects.filter(ended_at=None, purpose__in=(PURPOSE, _EVERY_USE)).values("subject")
    leaving = Request.objects.filter(kind=Kind.ERASE, closed_at=None).values("subject")
    open_notices = notices.filter(handed_over_at=None).exclude(account__in=against)
    return SuccessionSeen(
        row,
        told=notices.count(),
        objected=notices.filter(account__in=against).count(),
        leaving=notices.filter(account__in=leaving).count(),
        handed_over=notices.filter(handed_over_at__isnull=False).count(),
        due=0 if now < row.hands_over_at else _told_before(open_notices, now - NOTICE),
    )


def _told_before(notices: QuerySet[SuccessionNotice], at: datetime) -> int:
    return notices.filter(told_at__lte=at).count()
