"""Who said yes to a purpose, as a set: for conditions of queries and for counts."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Exists, OuterRef, Q, QuerySet

from muniment.server.privacy.consent.effect import State
from muniment.server.privacy.consent.models import ConsentEvent


def yeses(purpose: str, *, now: datetime) -> QuerySet[ConsentEvent]:
    """The last word of each account whose last word on this is a yes that holds now.

    Of a purpose that Global Privacy Control is not about: here nobody looks at signals.
    """
    said = ConsentEvent.objects.filter(subject__isnull=False, purpose=purpose, recipient="")
    later = said.filter(subject=OuterRef("subject"), pk__gt=OuterRef("pk"))
    holds = Q(until=None) | Q(until__gt=now)
    return said.filter(holds, state=State.GRANTED.value).exclude(Exists(later))
