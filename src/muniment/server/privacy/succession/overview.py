"""How a succession stands: who was told, what they chose, and who was handed over."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from muniment.server.privacy.succession.handing_over import NOTICE, against, leaving
from muniment.server.privacy.succession.models import HandOver, Succession, SuccessionNotice


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
    """Told thirty days ago, not handed over yet, neither objecting nor leaving."""
    file: HandOver | None
    """What is made, or half made, and not known to have arrived."""
    lines: int
    """Of how many people it is, those left out who leave or objected since."""


def read_successions(*, now: datetime) -> list[SuccessionSeen]:
    """Newest first."""
    return [_seen(row, now=now) for row in Succession.objects.order_by("-declared_at")]


def _seen(row: Succession, *, now: datetime) -> SuccessionSeen:
    notices = SuccessionNotice.objects.filter(succession=row)
    objecting, going = against().values("subject"), leaving().values("subject")
    staying = notices.exclude(account__in=objecting).exclude(account__in=going)
    file = HandOver.objects.filter(succession=row, delivered_at=None).first()
    return SuccessionSeen(
        row,
        told=notices.count(),
        objected=notices.filter(account__in=objecting).count(),
        leaving=notices.filter(account__in=going).count(),
        handed_over=notices.filter(handed_over_at__isnull=False).count(),
        due=0 if now < row.hands_over_at else _told_before(staying.filter(handed_over_at=None), now - NOTICE),
        file=file,
        lines=0 if file is None else staying.filter(hand_over=file).exclude(line="").count(),
    )


def _told_before(notices: QuerySet[SuccessionNotice], at: datetime) -> int:
    return notices.filter(told_at__lte=at).count()
