"""What is past its period, read off the declarations.

A column says how long it is kept (`keep="session"`), the statement how many days that are, and the model from
when they count:

    ended: ClassVar = {"session": ("closed_at", "ends_at")}

The period is over once any of these lies so many days back. A row goes when the columns of the period are
declared to be deleted; where they are declared to be emptied, only they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import Any

from django.db import models
from django.db.models import Count, Q

from muniment.server.privacy.ports import late_accounts
from muniment.server.privacy.registry import Erase, Personal
from muniment.server.privacy.rows_about import SELF, PersonalTable, tables_about
from muniment.server.privacy.statement import read_statement
from muniment.server.privacy.versions.in_force import days_of


@dataclass(frozen=True)
class Rule:
    """Columns of one table that are kept for one period of days."""

    table: PersonalTable
    period: str
    clocks: tuple[str, ...]
    columns: tuple[str, ...]
    erase: Erase

    def overdue(self, *, now: datetime) -> models.QuerySet[models.Model]:
        """Rows that hold anything of the period although it is over, those of people on hold among them."""
        before = now - timedelta(days=days_of(self.period, now=now))
        over = reduce(or_, (Q(**{f"{clock}__lte": before}) for clock in self.clocks))
        rows = self.table.model._default_manager.filter(over)
        if self.erase is Erase.DELETE and not self._optional():
            return rows
        return rows.filter(reduce(or_, self._filled().values(), Q(pk__in=[])))

    def count(self, rows: models.QuerySet[models.Model]) -> dict[str, int]:
        """In how many of these rows each column of the period holds something, by its registered name."""
        filled = {f"count_{name}": Count("pk", filter=there) for name, there in self._filled().items()}
        counted = rows.aggregate(**filled)
        return {f"{self.table.label}.{name}": counted[f"count_{name}"] for name in self.columns}

    def emptied(self) -> dict[str, Any]:
        """The columns of the period as they are when nothing is in them."""
        instead: Mapping[str, Any] = getattr(self.table.model, "cleared", {})
        empty = {}
        for name in self.columns:
            field = self.table.model._meta.get_field(name)
            assert isinstance(field, models.Field)
            empty[name] = None if field.null else instead.get(name, field.get_default())
        return empty

    def on_hold(self, people: list[int]) -> Q:
        """Rows about these people."""
        return Q(**{"pk__in" if self.table.path == SELF else f"{self.table.path}__in": people})

    def _filled(self) -> dict[str, Q]:
        """Of each column, when something is in it."""
        return {
            name: Q(**{f"{name}__isnull": False}) if empty is None else ~Q(**{name: empty})
            for name, empty in self.emptied().items()
        }

    def _optional(self) -> bool:
        """Whether rows without any of these columns are kept for something else."""
        return all(self.table.model._meta.get_field(name).null for name in self.columns)


def rules() -> list[Rule]:
    """Every rule that the declarations make."""
    days = read_statement().days
    found = []
    for table in tables_about():
        clocks: Mapping[str, tuple[str, ...]] = getattr(table.model, "ended", {})
        for period, erase in dict.fromkeys(_kept_for_days(table, days)):
            columns = tuple(
                column.name for column in table.personal if _keep(column.declaration) == (period, erase)
            )
            found.append(Rule(table, period, tuple(clocks.get(period, ())), columns, erase))
    return found


def complaints() -> list[str]:
    """Columns kept for days whose models do not say from when; periods of days that nothing ends."""
    found = rules()
    return [
        f"{rule.table.label} keeps {', '.join(rule.columns)} for {rule.period!r} and says not when that ends"
        for rule in found
        if not rule.clocks
    ] + [
        f"the statement promises {period!r}, and nothing ends it"
        for period in read_statement().days
        if period not in late_accounts() and period not in {rule.period for rule in found}
    ]


def _kept_for_days(table: PersonalTable, days: Mapping[str, int]) -> list[tuple[str, Erase]]:
    kept = [_keep(column.declaration) for column in table.personal]
    return [one for one in kept if one[0] in days and one[0] not in late_accounts()]


def _keep(declared: object) -> tuple[str, Erase]:
    assert isinstance(declared, Personal)
    return declared.keep, declared.erase
