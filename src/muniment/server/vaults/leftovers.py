"""What killed uploads left behind. Rows name the objects to remove; the object goes first, then the row."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Q, QuerySet

from muniment.server.deployment import Deployment
from muniment.server.transactions import writing
from muniment.server.vaults.models import UNSETTLED_SQL, Pack, PackState
from muniment.server.vaults.receive import give_up_upload


def clear_all_uploads(deployment: Deployment) -> int:
    """At start, before anyone is served: every incoming row is of a process that is gone."""
    return _clear(deployment, _unsettled(PackState.INCOMING)) + _remove_replaced(deployment)


def clear_expired_uploads(deployment: Deployment) -> int:
    """Uploads whose session is over. One still running finds its row gone and is refused."""
    now = deployment.now()
    silent = now - timedelta(seconds=deployment.config.session_silence)
    over = (
        Q(session__isnull=True)
        | Q(session__closed_at__isnull=False)
        | Q(session__ends_at__lte=now)
        | Q(session__alive_at__lte=silent)
    )
    return _clear(deployment, _unsettled(PackState.INCOMING).filter(over)) + _remove_replaced(deployment)


def _unsettled(state: PackState) -> QuerySet[Pack]:
    return Pack.objects.filter(state=state).extra(where=[UNSETTLED_SQL])


def _clear(deployment: Deployment, rows: QuerySet[Pack]) -> int:
    return sum(give_up_upload(deployment, row.pk, row.object_key) for row in rows)


def _remove_replaced(deployment: Deployment) -> int:
    """Damaged objects whose pack was sent again."""
    removed = 0
    for row in _unsettled(PackState.DELETING):
        deployment.objects.delete(row.object_key)
        with writing():
            Pack.objects.filter(pk=row.pk).update(state=PackState.GONE)
        removed += 1
    return removed
