"""What every page says of versions: which one holds, and a banner about the one to come."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from muniment.server.privacy.versions.in_force import NOTICE, in_force_for
from muniment.server.privacy.versions.models import Acceptance, ChangeNotice, StatementVersion
from muniment.server.transactions import writing


@dataclass(frozen=True, slots=True)
class Coming:
    """A posted version that does not hold yet."""

    number: int
    effective_at: datetime


@dataclass(frozen=True, slots=True)
class Banner:
    in_force: int | None
    """None before anything was posted."""
    coming: Coming | None


def banner_for(account: Any | None, now: datetime) -> Banner:
    """For a person with an account (an account, signed in) or anybody else. Nothing once they accepted it.

    The first time that somebody who was told sees it is recorded with the notice.
    """
    rows = StatementVersion.objects.order_by("-number").values_list(
        "number", "effective_at", "progress__in_force_at"
    )
    known = list(rows)
    held = next((number for number, _, in_force_at in known if in_force_at is not None), None)
    if held is None or known[0][0] == held:
        return Banner(held, None) if account is None else _told_late(account, held, now=now)
    number, effective_at, _ = known[0]
    if account is not None:
        if Acceptance.objects.filter(account=account, version_id=number).exists():
            return Banner(held, None)
        _remember_seen(account, number, now=now)
    return Banner(held, Coming(number, effective_at))


def _told_late(account: Any, held: int | None, *, now: datetime) -> Banner:
    """Who came shortly before it turned was told after: for them it is still to come."""
    notice = ChangeNotice.objects.filter(account=account, version_id=held, mailed_at__gt=now - NOTICE).first()
    if held is None or notice is None or (own := in_force_for(account, now).number) == held:
        return Banner(held, None)
    _remember_seen(account, held, now=now)
    return Banner(own, Coming(held, notice.mailed_at + NOTICE))


def _remember_seen(account: Any, number: int, *, now: datetime) -> None:
    unseen = ChangeNotice.objects.filter(
        account=account, version_id=number, seen_at__isnull=True, mailed_at__lte=now
    )
    if unseen.exists() and not connection.in_atomic_block:
        with writing():
            unseen.update(seen_at=now)
