"""Closing a vault: every object and every row of it goes; counts stay.

    closing_at set, no device gets in → objects, then the rows that named them, a batch at a time
    → whatever else the store has of the vault → the vault's row → done

Each batch counts in the transaction that deletes its rows, so a closing that was stopped anywhere goes on
where it was and counts nothing twice. What a request that was under way still stores is removed by its own
refusal, or by `clear_closed_vaults`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Model, QuerySet

from muniment.server.deployment import Deployment
from muniment.server.transactions import writing
from muniment.server.vaults.models import (
    PRESENT,
    ClosedVault,
    Confirmation,
    Event,
    Grant,
    IndexPack,
    KitCredential,
    KitToken,
    Pack,
    Run,
    Session,
    Slot,
    SlotListVersion,
    Snapshot,
    Vault,
)

Holds = Callable[[UUID], str | None]
"""Why the vault may not be closed: the reason of a legal hold in force on it; None where there is none."""

_AT_ONCE = 500
_ECHO = timedelta(days=8)
"""Longer than any session lives: so long something of a closed vault may still turn up in the store."""


class NoSuchVault(Exception):
    """There is no such vault, and never was."""


class VaultHeld(Exception):
    """A legal hold forbids it. A closing that had begun stands still: nobody gets in, nothing more goes."""

    def __init__(self, vault: UUID, *, reason: str) -> None:
        super().__init__(f"vault {vault.hex} is on legal hold")
        self.vault, self.reason = vault, reason


@dataclass(frozen=True, slots=True)
class Deleted:
    """How much was deleted, over all runs of one closing. `bytes` are those that the allowance counted."""

    packs: int = 0
    bytes: int = 0
    snapshots: int = 0
    slots: int = 0
    slot_lists: int = 0
    kits: int = 0
    sessions: int = 0
    runs: int = 0
    confirmations: int = 0
    events: int = 0
    grants: int = 0


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows of one model; the newest go first, so that children precede their parents."""

    model: type[Model]
    counted: str = ""
    path: str = "vault_id"
    keys: tuple[str, ...] = ()


_PARTS = (
    _Part(KitToken, path="kit__slot__vault_id"),
    _Part(Session, "sessions"),
    _Part(KitCredential, "kits", path="slot__vault_id"),
    _Part(Slot, "slots", keys=("object_key",)),
    _Part(SlotListVersion, "slot_lists", keys=("object_key",)),
    _Part(IndexPack),
    _Part(Snapshot, "snapshots", keys=("head_key", "packs_key")),
    _Part(Pack, "packs", keys=("object_key",)),
    _Part(Run, "runs"),
    _Part(Confirmation, "confirmations"),
    _Part(Event, "events"),
    _Part(Grant, "grants"),
)
"""Slots first: from then on nobody could read what is still there."""


def close_vault(deployment: Deployment, ref: UUID, *, holds: Holds) -> Deleted:
    """Delete the vault; returns what was deleted. A repeat goes on, or answers the same.

    Raises NoSuchVault; VaultHeld; StorageFailed, after which it is to be repeated.
    """
    _check_holds(ref, holds)
    vault = _begin(deployment, ref)
    if vault is not None:
        for part in _PARTS:
            while _delete_batch(deployment, vault, part, holds=holds):
                pass
        _check_holds(ref, holds)
        deployment.objects.remove_all(ref.hex)
        _finish(deployment, vault)
    return Deleted(**ClosedVault.objects.get(ref=ref).deleted)


def clear_closed_vaults(deployment: Deployment) -> int:
    """Objects that requests under way stored when their vault was gone already; returns how many."""
    lately = ClosedVault.objects.filter(done_at__gt=deployment.now() - _ECHO)
    return sum(deployment.objects.remove_all(ref.hex) for ref in lately.values_list("ref", flat=True))


def _check_holds(ref: UUID, holds: Holds) -> None:
    reason = holds(ref)
    if reason is not None:
        raise VaultHeld(ref, reason=reason)


def _begin(deployment: Deployment, ref: UUID) -> Vault | None:
    """Shut the door; None where the vault is gone already."""
    now = deployment.now()
    with writing():
        vault = Vault.objects.select_for_update().filter(ref=ref).first()
        if vault is None:
            if not ClosedVault.objects.filter(ref=ref).exists():
                raise NoSuchVault
            return None
        Vault.objects.filter(pk=vault.pk, closing_at=None).update(closing_at=now)
        ClosedVault.objects.get_or_create(ref=ref, defaults={"owner_id": vault.owner_id, "begun_at": now})
    return vault


def _delete_batch(deployment: Deployment, vault: Vault, part: _Part, *, holds: Holds) -> bool:
    """Objects first, then the rows, which alone know their names; False where there were none."""
    _check_holds(vault.ref, holds)
    rows = part.model._default_manager.filter(**{part.path: vault.pk})
    batch = list(rows.order_by("-pk")[:_AT_ONCE])
    if not batch:
        return False
    deployment.objects.delete_all(getattr(row, column) for row in batch for column in part.keys)
    with writing():
        closed = ClosedVault.objects.select_for_update().get(ref=vault.ref)
        # Counted as they go: another closing of the same vault may have been quicker.
        going = part.model._default_manager.filter(pk__in=[row.pk for row in batch])
        _count(closed, part, going)
        if part.model is Snapshot:
            going.update(parent=None)  # what came later is gone, what is left may refer to each other
        going.delete()
    return True


def _count(closed: ClosedVault, part: _Part, going: QuerySet[Any]) -> None:
    def add(name: str, amount: int) -> None:
        closed.deleted[name] = closed.deleted.get(name, 0) + amount

    if part.model is Pack:
        held = list(going.filter(state__in=PRESENT).values_list("size", flat=True))
        add("packs", len(held))
        add("bytes", sum(held))
    elif part.counted:
        add(part.counted, going.count())
    if part.model is Snapshot:
        add("bytes", sum(going.values_list("metered", flat=True)))
    closed.save(update_fields=["deleted"])


def _finish(deployment: Deployment, vault: Vault) -> None:
    with writing():
        ClosedVault.objects.filter(ref=vault.ref).update(done_at=deployment.now())
        Vault.objects.filter(pk=vault.pk).delete()
