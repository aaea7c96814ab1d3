"""Posting a version, telling people about it, and bringing it into force: in this order, never sooner.

                   posted     everybody told     30 days seen since     in force
    changes that matter  ├──────────┼────────────────────┤ effective_at ├──────▶
    corrections          ├──────────────────────────────────────────────▶ at once

Safe beside one another: a process that starts posts while it holds the lock of whoever migrates, so two post
once; telling and turning are timed works, which take turns by a row (`jobs`). A notice is one transaction
with its mail, and nobody can be told twice of a version (`version_told_once`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import QuerySet

from muniment.server.privacy.ledger.entries import record
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.ledger.leaves import Json
from muniment.server.privacy.statement import Statement, parse_statement, shipped_texts
from muniment.server.privacy.terms import StatementRefused
from muniment.server.privacy.versions.in_force import (
    NOTICE,
    Version,
    newest_change_in_force,
    newest_in_force,
    version_of,
)
from muniment.server.privacy.versions.materiality import material_changes
from muniment.server.privacy.versions.models import Acceptance, ChangeNotice, Progress, StatementVersion
from muniment.server.transactions import writing

NOTICE_DAYS = 30
_AT_ONCE = 20
"""In one transaction, which keeps every other writer waiting."""
_DAY = timedelta(days=1)

Tell = Callable[[Any, Version], None]
"""Hands a notice of the version to the mail of an account, within the transaction that records it."""


class StatementEdited(StatementRefused):
    """The statement of this release says something else than the posted version of the same number."""


class StatementOutdated(StatementRefused):
    """This release brings an older statement than the one that people were told of."""


class TooEarly(Exception):
    """People were not told, or not long enough ago."""


def post_shipped(*, now: datetime, recipients: str = "") -> None:
    """Post the statement that ships with this release, once. Raises StatementEdited, StatementOutdated."""
    post_statement(*shipped_texts(), now=now, recipients=recipients)


def post_statement(declared: str, said: str, *, now: datetime, recipients: str = "") -> None:
    """Post the statement made of these two texts and the operator's own recipients, unless it is posted.

    `recipients` is TOML as `gate.declared.text_of` writes it. Other recipients under the same release are a
    further version: recorded, compared and told like every other.
    """
    release = parse_statement(declared, said)
    whole = f"{declared}\n{recipients}" if recipients else declared
    statement = parse_statement(whole, said)
    with writing():
        newest = StatementVersion.objects.order_by("-number").first()
        if newest is not None:
            _compare(newest, release)
            if (newest.release, newest.digest) == (release.version, statement.digest):
                return
        number = release.version if newest is None else max(release.version, newest.number + 1)
        _post(_Posting(number, release, statement, whole, said), now=now)


def _compare(newest: StatementVersion, release: Statement) -> None:
    if newest.release > release.version:
        raise StatementOutdated(f"version {newest.release} was posted; this release brings {release.version}")
    if newest.release == release.version and newest.sealed != release.digest:
        raise StatementEdited(f"statement edited without a version: {release.version}")


@dataclass(frozen=True, slots=True)
class _Posting:
    """What is to be posted: `release` as it ships, `statement` with the operator's recipients."""

    number: int
    release: Statement
    statement: Statement
    declared: str
    said: str


def _post(posting: _Posting, *, now: datetime) -> None:
    statement = posting.statement
    # Compared with what is in force, not with what was posted last: a version that overtakes another one, of
    # which people were not told for long enough, must not bring that one's changes along unannounced.
    before = newest_in_force()
    changes = [] if before is None else material_changes(version_of(before).statement, statement)
    effective_at = now + timedelta(days=NOTICE_DAYS) if changes else now
    row = StatementVersion.objects.create(
        number=posting.number,
        release=posting.release.version,
        sealed=posting.release.digest,
        digest=statement.digest,
        declared=posting.declared,
        said=posting.said,
        posted_at=now,
        effective_at=effective_at,
        is_material=bool(changes),
        changes=[change.sentence for change in changes],
    )
    progress = Progress.objects.create(version=row)
    record(
        Kind.VERSION_POSTED,
        clause="P83",
        payload={"version": row.number, "sha256": row.digest, "changes": row.changes},
        now=now,
    )
    if not changes:
        _bring_into_force(progress, now=now)


def give_notices(tell: Tell, *, now: datetime) -> int:
    """Tell every account of versions that are to come; returns how many notices were given.

    Stops and goes on where it was: each notice is recorded together with the mail that it hands over. Who
    came between the last round and the moment a version came into force is told of it, too: for them it does
    not hold yet.
    """
    given = 0
    for progress in [*_just_turned(), *_coming()]:
        while True:
            with writing():
                untold = list(_untold(progress)[:_AT_ONCE])
                for account in untold:
                    _give_notice(account, version_of(progress.version), tell, now=now)
                if not untold and progress.told_at is None:
                    Progress.objects.filter(pk=progress.pk).update(told_at=now, counted_at=now)
            if not untold:
                break
            given += len(untold)
    return given


def turn_versions(*, now: datetime) -> int:
    """Count a day for versions to come, and bring those into force whose time it is; returns how many."""
    turned = 0
    for coming in _coming():
        with writing():
            progress = Progress.objects.select_for_update().get(pk=coming.pk)
            _count_day(progress, now=now)
            try:
                check_notice(progress, now=now)
            except TooEarly:
                continue
            _bring_into_force(progress, now=now)
            turned += 1
    return turned


def check_notice(progress: Progress, *, now: datetime) -> None:
    """Raises TooEarly unless everybody was told, and 30 days were seen to pass since then."""
    if progress.told_at is None:
        raise TooEarly("not everybody has been told")
    if progress.days < NOTICE_DAYS or now < progress.told_at + timedelta(days=NOTICE_DAYS):
        raise TooEarly(f"{progress.days} of {NOTICE_DAYS} days have passed")
    if now < progress.version.effective_at:
        raise TooEarly(f"effective on {progress.version.effective_at}")


def _count_day(progress: Progress, *, now: datetime) -> None:
    """One day at most each time, whatever the clock says; a clock set back counts nothing."""
    if progress.told_at is None or progress.counted_at is None:
        return
    if now < progress.counted_at:
        progress.counted_at = now
    elif now - progress.counted_at >= _DAY:
        progress.days += 1
        progress.counted_at = now
    progress.save(update_fields=["days", "counted_at"])


def _bring_into_force(progress: Progress, *, now: datetime) -> None:
    progress.in_force_at = now
    progress.save(update_fields=["in_force_at"])
    record(Kind.VERSION_IN_FORCE, clause="P85", payload={"version": progress.version.number}, now=now)


def _coming() -> list[Progress]:
    """Versions newer than the one in force, oldest first; those in between were overtaken and never hold."""
    current = newest_in_force()
    floor = 0 if current is None else current.number
    waiting = Progress.objects.filter(in_force_at__isnull=True, version__number__gt=floor)
    return list(waiting.select_related("version").order_by("version__number"))


def _just_turned() -> list[Progress]:
    current = newest_change_in_force()
    return [] if current is None else [current.progress]


def _untold(progress: Progress) -> QuerySet[Any]:
    told = ChangeNotice.objects.filter(version=progress.version).values("account")
    # Their rows before the first record, which takes the ledger's: docs/design/concurrency.md.
    people = get_user_model()._default_manager.select_for_update(no_key=True)
    people = people.exclude(pk__in=told).order_by("pk")
    if progress.in_force_at is None:
        return people
    agreed = Acceptance.objects.filter(version=progress.version).values("account")
    return people.filter(created_at__lt=progress.in_force_at).exclude(pk__in=agreed)


def _give_notice(account: Any, version: Version, tell: Tell, *, now: datetime) -> None:
    holds_at = max(version.effective_at, now + NOTICE)
    payload: dict[str, Json] = {"version": version.number, "effective_at": holds_at.isoformat()}
    entry = record(Kind.VERSION_ANNOUNCED, clause="P84", payload=payload, now=now, subject=account)
    ChangeNotice.objects.create(account=account, version_id=version.number, mailed_at=now, entry=entry)
    tell(account, version)
