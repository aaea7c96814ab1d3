"""Which version holds: for everybody, for one person, and which is to come.

A version that changes what matters holds for a person only 30 days after that person was told, or once they
accepted it; for who came when it was in force, at once. A correction holds with what it corrects. `now` is
when it is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from django.db.models import QuerySet

from muniment.server.privacy.statement import Statement, parse_statement, read_statement
from muniment.server.privacy.versions.models import Acceptance, ChangeNotice, StatementVersion

NOTICE = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Version:
    """A posted version, parsed."""

    number: int
    statement: Statement
    posted_at: datetime
    effective_at: datetime
    in_force_at: datetime | None
    is_material: bool
    changes: tuple[str, ...]


class NoSuchVersion(LookupError):
    """No version of that number was posted."""


def in_force(now: datetime) -> Version:
    """What holds for whoever comes now. Before anything was posted, what ships with the release."""
    row = newest_in_force()
    return _shipped(now) if row is None else version_of(row)


def in_force_for(account: Any, now: datetime) -> Version:
    """What holds for this account: what it was told in time, or has accepted."""
    held = list(_held_ever())
    for place, row in enumerate(held):
        # What it rests on: a correction brings no change along that does not hold for this person yet.
        base = next((older for older in held[place:] if older.is_material), None)
        if base is None or _holds_for(account, base, now=now):
            return version_of(row)
    return _shipped(now)


def upcoming(now: datetime) -> Version | None:
    """The newest version that is posted and does not hold yet."""
    current = newest_in_force()
    row = StatementVersion.objects.select_related("progress").order_by("-number").first()
    if row is None or current is None or row.number <= current.number or row.posted_at > now:
        return None
    return version_of(row)


def versions() -> list[Version]:
    """Every posted version, newest first."""
    rows = StatementVersion.objects.select_related("progress").order_by("-number")
    return [version_of(row) for row in rows]


def version_numbered(number: int) -> Version:
    """Raises NoSuchVersion."""
    row = StatementVersion.objects.select_related("progress").filter(number=number).first()
    if row is None:
        raise NoSuchVersion(number)
    return version_of(row)


def days_of(period: str, *, now: datetime) -> int:
    """How long the statement in force keeps it: a shorter period deletes nothing before its notice ran out.

    Raises KeyError for a period that ends with an event instead.
    """
    held = in_force(now).statement.days
    # A period that only the coming version knows is used by columns that came with it.
    return held[period] if period in held else read_statement().days[period]


def statement_in_force(now: datetime) -> Statement:
    """What holds for whoever comes now, without reading its texts again each time."""
    digest = _held_ever().values_list("digest", flat=True).first()
    return _shipped(now).statement if digest is None else _with_digest(digest)


def newest_posted(now: datetime) -> Statement:
    """What was posted last, in force or not: what this server was last started with."""
    digest = StatementVersion.objects.order_by("-number").values_list("digest", flat=True).first()
    return _shipped(now).statement if digest is None else _with_digest(digest)


def newest_in_force() -> StatementVersion | None:
    """The row of what holds for everybody who comes now."""
    return _held_ever().first()


def version_of(row: StatementVersion) -> Version:
    return Version(
        number=row.number,
        statement=_parsed(row.declared, row.said),
        posted_at=row.posted_at,
        effective_at=row.effective_at,
        in_force_at=row.progress.in_force_at,
        is_material=row.is_material,
        changes=tuple(row.changes),
    )


def _held_ever() -> QuerySet[StatementVersion]:
    """Versions that came into force, newest first; once they did, a clock set back changes nothing."""
    held = StatementVersion.objects.filter(progress__in_force_at__isnull=False)
    return held.select_related("progress").order_by("-number")


def newest_change_in_force() -> StatementVersion | None:
    """The newest that holds and changed what matters: of it everybody is told who came before it held."""
    return _held_ever().filter(is_material=True).first()


def _holds_for(account: Any, row: StatementVersion, *, now: datetime) -> bool:
    if account.created_at >= row.progress.in_force_at:
        return True
    if Acceptance.objects.filter(account=account, version=row).exists():
        return True
    return ChangeNotice.objects.filter(account=account, version=row, mailed_at__lte=now - NOTICE).exists()


# A posted version never changes, so what has its digest is what was posted.
@lru_cache(maxsize=16)
def _with_digest(digest: str) -> Statement:
    row = StatementVersion.objects.filter(digest=digest).values_list("declared", "said")[0]
    return _parsed(*row)


@lru_cache(maxsize=16)
def _parsed(declared: str, said: str) -> Statement:
    return parse_statement(declared, said)


def _shipped(now: datetime) -> Version:
    return Version(read_statement().version, read_statement(), now, now, None, False, ())
