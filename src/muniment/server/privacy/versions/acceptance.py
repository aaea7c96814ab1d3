"""Accepting a version of the statement: recorded for the person who did."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from muniment.server.privacy.ledger.entries import record
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.versions.in_force import (
    NoSuchVersion,
    Version,
    in_force,
    in_force_for,
)
from muniment.server.privacy.versions.models import Acceptance, StatementVersion


class Method(StrEnum):
    """How somebody accepted."""

    SIGN_UP = "sign_up"
    FIRST_SIGN_IN = "first_sign_in"
    BANNER = "banner"


def accept(account: Any, version: int, *, method: Method | str, now: datetime) -> None:
    """Record that the account accepts the version, in the caller's transaction. Once; again changes nothing.

    Raises NoSuchVersion: only what was posted can be accepted.
    """
    row = StatementVersion.objects.filter(number=version).first()
    if row is None:
        raise NoSuchVersion(version)
    if Acceptance.objects.filter(account=account, version=row).exists():
        return
    entry = record(
        Kind.VERSION_ACCEPTED,
        clause="P3",
        payload={"version": version, "sha256": row.digest, "method": str(method)},
        now=now,
        subject=account,
    )
    Acceptance.objects.create(account=account, version=row, method=str(method), at=now, entry=entry)


def has_accepted(account: Any, version: int) -> bool:
    return Acceptance.objects.filter(account=account, version_id=version).exists()


def held_by(account: Any, now: datetime) -> Version:
    """What holds for whoever asks: a person with an account, or anybody else."""
    if account is None or not account.is_authenticated:
        return in_force(now)
    return in_force_for(account, now)
