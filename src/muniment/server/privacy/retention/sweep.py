"""The nightly sweep: every rule, a batch at a time, counts by column in the ledger.

sweep_once(deployment)      # does nothing if today's was done
overdue(now=now)            # records past their period now: what the proof page shows
"""

from __future__ import annotations

import threading
from collections import Counter
from datetime import datetime

from muniment.server.deployment import Deployment
from muniment.server.privacy.ledger.entries import record
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.ports import late_accounts
from muniment.server.privacy.proof import Figure
from muniment.server.privacy.registry import Erase
from muniment.server.privacy.requests.holds import people_on_hold
from muniment.server.privacy.retention.models import Sweep
from muniment.server.privacy.retention.rules import Rule, rules
from muniment.server.transactions import writing

_AT_ONCE = 500
_SECONDS = 60.0
_COUNTING = threading.Lock()
"""Who comes while somebody counts waits for that count."""
_LAST: list[tuple[datetime, int]] = []


def sweep_once(deployment: Deployment) -> dict[str, int]:
    """Today's sweep; counts by column. A sweep that was stopped goes on, and counts nothing twice."""
    now = deployment.now()
    with writing():
        row, _ = Sweep.objects.get_or_create(day=now.date())
    if row.done_at is not None:
        return {}
    held = people_on_hold(now=now)
    for rule in rules():
        while _sweep_batch(row, rule, held=held, now=now):
            pass
    with writing():
        row = Sweep.objects.select_for_update().get(pk=row.pk)
        if row.done_at is None:
            Sweep.objects.filter(pk=row.pk).update(done_at=now)
            record(Kind.RETENTION_SWEPT, clause="P46", payload={"deleted": row.counts}, now=now)
    return dict(row.counts)


def overdue(*, now: datetime) -> int:
    """Rows that hold something past its period, but for those that the law makes us keep."""
    held = people_on_hold(now=now)
    rows = sum(rule.overdue(now=now).exclude(rule.on_hold(held)).count() for rule in rules())
    accounts: int = sum(late(now).exclude(pk__in=held).count() for late in late_accounts().values())
    return rows + accounts


def count_overdue(now: datetime) -> Figure:
    """For the proof page; counted at most once a minute, because it looks at every table."""
    with _COUNTING:
        if not _LAST or abs((now - _LAST[0][0]).total_seconds()) > _SECONDS:
            _LAST[:] = [(now, overdue(now=now))]
        return Figure(_LAST[0][1], "records past their period")


def _sweep_batch(row: Sweep, rule: Rule, *, held: list[int], now: datetime) -> bool:
    with writing():
        rows = rule.overdue(now=now)
        keys = list(
            (rows.exclude(rule.on_hold(held)) if held else rows).values_list("pk", flat=True)[:_AT_ONCE]
        )
        if not keys:
            return False
        batch = rule.table.model._default_manager.filter(pk__in=keys)
        gone = rule.count(batch)
        if rule.erase is Erase.DELETE:
            batch.delete()
        else:
            batch.update(**rule.emptied())
        fresh = Sweep.objects.select_for_update().get(pk=row.pk)
        fresh.counts = dict(Counter(fresh.counts) + Counter(gone))
        fresh.save(update_fields=["counts"])
    return True
