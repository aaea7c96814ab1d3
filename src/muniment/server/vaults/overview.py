"""What an owner sees first: each machine, when it backed up last and how that went, and half a year."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum
from uuid import UUID

from django.db.models import Count, Max
from django.db.models.functions import TruncDate

from muniment.server.accounts.models import Device
from muniment.server.vaults.models import Run, Snapshot, Vault

QUIET_AFTER = timedelta(days=3)
WEEKS = 26


class MachineState(Enum):
    SAFE = "safe"
    GAP = "gap"
    """Backed up, but the last run could not read everything."""
    FAILED = "failed"
    QUIET = "quiet"
    NEW = "new"


@dataclass(frozen=True, slots=True)
class Machine:
    ref: UUID
    name: str
    enrolled_at: datetime
    seen_at: datetime | None
    sets: int
    backed_up_at: datetime | None
    """When the newest complete or partial snapshot was committed."""
    files: int | None
    """That the last reported run looked at; None where none was reported."""
    unreadable: int
    state: MachineState


class DayState(Enum):
    COMPLETE = "complete"
    PARTIAL = "partial"
    FAILED = "failed"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class Day:
    day: date
    state: DayState
    snapshots: int


@dataclass(frozen=True, slots=True)
class Overview:
    machines: tuple[Machine, ...]
    days: tuple[Day, ...]
    """Whole weeks from Monday on, the current one cut at today."""
    used: int
    allowance: int


def overview_of(account_id: int, *, now: datetime) -> Overview:
    """Reads a handful of rows per machine and one per day; cost does not grow with the vault's size."""
    vaults = list(Vault.objects.filter(owner_id=account_id, closing_at=None))
    return Overview(
        tuple(machines_of(account_id, now=now)),
        tuple(_days(account_id, today=now.date())),
        sum(vault.used for vault in vaults),
        sum(vault.allowance for vault in vaults),
    )


def machines_of(account_id: int, *, now: datetime) -> list[Machine]:
    """Devices that are not revoked, in the order they came."""
    devices = Device.objects.filter(account_id=account_id, revoked_at=None).order_by("id")
    newest: dict[int, tuple[datetime, int]] = {
        device: (at, sets)
        for device, at, sets in Snapshot.objects.filter(vault__owner_id=account_id)
        .values("device")
        .annotate(at=Max("received_at"), sets=Count("set_ref", distinct=True))
        .values_list("device", "at", "sets")
    }
    return [_machine(device, *newest.get(device.pk, (None, 0)), now=now) for device in devices]


def _machine(device: Device, backed_up_at: datetime | None, sets: int, *, now: datetime) -> Machine:
    run = Run.objects.filter(device=device).order_by("-received_at").first()
    coverage = {} if run is None else run.coverage
    unreadable = int(coverage.get("unreadable", 0)) + int(coverage.get("changed", 0))
    return Machine(
        ref=device.ref,
        name=device.name,
        enrolled_at=device.enrolled_at,
        seen_at=device.last_seen_at,
        sets=sets,
        backed_up_at=backed_up_at,
        files=None if run is None else int(coverage.get("read", 0)) + int(coverage.get("unchanged", 0)),
        unreadable=unreadable,
        state=_state(backed_up_at, "" if run is None else run.outcome, unreadable, now=now),
    )


def _state(backed_up_at: datetime | None, outcome: str, unreadable: int, *, now: datetime) -> MachineState:
    if backed_up_at is None:
        return MachineState.FAILED if outcome == "failed" else MachineState.NEW
    if now - backed_up_at > QUIET_AFTER:
        return MachineState.QUIET
    if outcome == "failed":
        return MachineState.FAILED
    return MachineState.GAP if unreadable or outcome == "incomplete" else MachineState.SAFE


def _days(account_id: int, *, today: date) -> Sequence[Day]:
    first = today - timedelta(days=today.weekday(), weeks=WEEKS - 1)
    snapshots = _count_by_day(Snapshot, account_id, first, partial=False)
    partial = _count_by_day(Snapshot, account_id, first, partial=True)
    failed = _count_by_day(Run, account_id, first, outcome="failed")
    found = []
    for offset in range((today - first).days + 1):
        day = first + timedelta(days=offset)
        whole, part = snapshots.get(day, 0), partial.get(day, 0)
        if whole:
            state = DayState.COMPLETE
        elif part:
            state = DayState.PARTIAL
        else:
            state = DayState.FAILED if failed.get(day) else DayState.EMPTY
        found.append(Day(day, state, whole + part))
    return found


def _count_by_day(
    model: type[Snapshot] | type[Run], account_id: int, first: date, **only: object
) -> dict[date, int]:
    rows = (
        model._default_manager.filter(vault__owner_id=account_id, received_at__date__gte=first, **only)
        .annotate(day=TruncDate("received_at"))
        .values("day")
        .annotate(count=Count("id"))
    )
    return {row["day"]: row["count"] for row in rows}
