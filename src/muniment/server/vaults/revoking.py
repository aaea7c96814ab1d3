"""Ending a device: by a confirmed request, or by the owner's own act on the devices page."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from muniment.server.accounts.models import Device
from muniment.server.transactions import writing
from muniment.server.vaults.access import lock_vault
from muniment.server.vaults.events import record_event
from muniment.server.vaults.kinds import EventKind
from muniment.server.vaults.models import Slot, Vault


class NoSuchDevice(LookupError):
    """It is somebody else's, or was revoked already."""


def revoke_own_device(account_id: int, ref: UUID, *, now: datetime) -> None:
    """The owner, freshly signed in, ends one of their devices at all vaults. Raises NoSuchDevice."""
    with writing():
        device = Device.objects.filter(account_id=account_id, ref=ref, revoked_at=None).first()
        if device is None:
            raise NoSuchDevice
        vaults = Vault.objects.filter(grants__device=device, closing_at=None).order_by("id")
        # All vaults' rows before the device's: who commits takes them in that order too.
        for vault in [lock_vault(vault) for vault in vaults]:
            revoke_at(vault, ref, now=now)
        Device.objects.filter(pk=device.pk, revoked_at=None).update(revoked_at=now)


def revoke_at(vault: Vault, ref: UUID, *, now: datetime) -> None:
    """Token and slot delivery stop with this transaction. The event lists the slots that the device added."""
    device = Device.objects.get(ref=ref)
    Device.objects.filter(pk=device.pk, revoked_at=None).update(revoked_at=now)
    added = Slot.objects.filter(vault=vault, added_by=device, withheld_at=None).order_by("id")
    record_event(
        vault,
        EventKind.DEVICE_REVOKED,
        now=now,
        revoked=ref.hex,
        slots_added=" ".join(slot.hex for slot in added.values_list("ref", flat=True)),
    )
