"""Forgets what the statement keeps for a number of days only: sessions, kit tokens, enrolment codes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TypeVar

from django.db.models import Model, Q, QuerySet

from muniment.server.accounts.models import EnrolmentCode
from muniment.server.deployment import Deployment
from muniment.server.privacy.versions.in_force import days_of
from muniment.server.transactions import writing
from muniment.server.vaults.models import KitToken, Session

M = TypeVar("M", bound=Model)
_AT_ONCE = 500


def forget_expired(deployment: Deployment) -> int:
    """Delete rows whose period is over, in small transactions; returns how many."""
    now = deployment.now()
    return _delete(_old_sessions(deployment, now)) + _delete(_old_tokens(now)) + _delete(_old_codes(now))


def _before(period: str, now: datetime) -> datetime:
    return now - timedelta(days=days_of(period, now=now))


def _old_sessions(deployment: Deployment, now: datetime) -> QuerySet[Session]:
    over = _before("session", now)
    silence = timedelta(seconds=deployment.config.session_silence)
    return Session.objects.filter(
        Q(closed_at__lte=over) | Q(ends_at__lte=over) | Q(alive_at__lte=over - silence)
    )


def _old_tokens(now: datetime) -> QuerySet[KitToken]:
    return KitToken.objects.filter(expires_at__lte=_before("session", now))


def _old_codes(now: datetime) -> QuerySet[EnrolmentCode]:
    over = _before("enrolment", now)
    return EnrolmentCode.objects.filter(
        Q(expires_at__lte=over, device__isnull=True) | Q(device__enrolled_at__lte=over)
    )


def _delete(rows: QuerySet[M]) -> int:
    deleted = 0
    while True:
        with writing():
            batch = list(rows.values_list("pk", flat=True)[:_AT_ONCE])
            rows.model._default_manager.filter(pk__in=batch).delete()
        deleted += len(batch)
        if len(batch) < _AT_ONCE:
            return deleted
