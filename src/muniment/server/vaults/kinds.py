"""Every kind of event of a vault."""

from __future__ import annotations

from enum import StrEnum


class EventKind(StrEnum):
    VAULT_CREATED = "vault_created"
    DEVICE_ENROLLED = "device_enrolled"
    DEVICE_REVOKED = "device_revoked"
    SLOT_ADDED = "slot_added"
    SLOT_REMOVED = "slot_removed"
    SLOT_LIST_CHANGED = "slot_list_changed"
    SLOT_LIST_WITHDRAWN = "slot_list_withdrawn"
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
