"""The owner's record of what happened to a vault, numbered without gaps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from muniment.server.accounts.models import Device
from muniment.server.vaults.models import Event, Vault


class EventKind(StrEnum):
    VAULT_CREATED = "vault_created"
    DEVICE_ENROLLED = "device_enrolled"
    DEVICE_REVOKED = "device_revoked"
    SLOT_ADDED = "slot_added"
    SLOT_REMOVED = "slot_removed"
    SLOT_LIST_CHANGED = "slot_list_changed"
    KIT_REGISTERED = "kit_registered"
    KIT_USED = "kit_used"
    KIT_REFUSED = "kit_refused"
    RESTORE_OPENED = "restore_opened"
    SNAPSHOT_COMMITTED = "snapshot_committed"
    RUN_REPORTED = "run_reported"
    PACK_QUARANTINED = "pack_quarantined"
    PACK_REPLACED = "pack_replaced"
    CONFIRMATION_ASKED = "confirmation_asked"
    CONFIRMATION_GIVEN = "confirmation_given"
    CONFIRMATION_UNDONE = "confirmation_undone"
    CONFIRMATION_LAPSED = "confirmation_lapsed"
    ALLOWANCE_CHANGED = "allowance_changed"


def record_event(
    vault: Vault, kind: EventKind, *, now: datetime, device: Device | None = None, **detail: str
) -> None:
    """Append an event. Only inside `writing()`: the number is taken under the vault's row lock."""
    number = Vault.objects.select_for_update().values_list("last_event", flat=True).get(pk=vault.pk) + 1
    Vault.objects.filter(pk=vault.pk).update(last_event=number)
    Event.objects.create(vault=vault, number=number, at=now, kind=kind.value, device=device, detail=detail)


@dataclass(frozen=True, slots=True)
class OwnerEvent:
    """An event as the owner of the vault reads it on a page. `device` is the name its owner gave it."""

    vault: UUID
    vault_name: str
    number: int
    at: datetime
    kind: EventKind
    device: str | None
    detail: Mapping[str, str]


def events_of(account_id: int, *, since: datetime | None, limit: int) -> list[OwnerEvent]:
    """The newest events of the account's vaults, newest first, none older than `since`."""
    rows = Event.objects.select_related("vault", "device").filter(vault__owner_id=account_id)
    if since is not None:
        rows = rows.filter(at__gte=since)
    return [_told(row) for row in rows.order_by("-at", "-id")[:limit]]


def operator_acts(account_id: int, *, limit: int) -> list[OwnerEvent]:
    """What an operator decided in the owner's place, newest first, with the reason."""
    rows = Event.objects.select_related("vault", "device").filter(
        vault__owner_id=account_id,
        kind__in=(EventKind.CONFIRMATION_GIVEN, EventKind.CONFIRMATION_UNDONE),
        detail__by="operator",
    )
    return [_told(row) for row in rows.order_by("-at", "-id")[:limit]]


def _told(row: Event) -> OwnerEvent:
    return OwnerEvent(
        vault=row.vault.ref,
        vault_name=row.vault.name,
        number=row.number,
        at=row.at,
        kind=EventKind(row.kind),
        device=None if row.device is None else row.device.name,
        detail=row.detail,
    )
