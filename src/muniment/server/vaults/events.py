"""The owner's record of what happened to a vault, numbered without gaps."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

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
