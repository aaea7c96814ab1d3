"""Forgets accounts that nobody confirmed, and minors' whose guardian did not agree, after seven days."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import models
from django.db.models import Q

from muniment.server.accounts.models import Account, Origin
from muniment.server.privacy.requests.holds import people_on_hold
from muniment.server.privacy.statement import read_statement
from muniment.server.transactions import writing

_AT_ONCE = 100


def late_to_confirm(now: datetime) -> models.QuerySet[Account]:
    """Accounts that the operator made are exempt: their devices may be working already."""
    cutoff = now - timedelta(days=read_statement().days["unconfirmed"])
    return Account.objects.filter(
        Q(confirmed_at=None) | Q(guardianship__isnull=False, guardianship__agreed_at=None),
        made_by=Origin.SELF,
        created_at__lte=cutoff,
    )


def forget_unconfirmed(*, now: datetime) -> int:
    """Returns how many. What the law makes us keep stays."""
    late = late_to_confirm(now).exclude(pk__in=people_on_hold(now=now))
    forgotten = 0
    while ids := list(late.values_list("pk", flat=True)[:_AT_ONCE]):
        with writing():
            # Asked again under the rows' locks: somebody may have confirmed meanwhile.
            still = list(late.filter(pk__in=ids).select_for_update(of=("self",)).values_list("pk", flat=True))
            Account.objects.filter(pk__in=still).delete()
        forgotten += len(still)
    return forgotten
