"""The owner's record of what happened to a vault, numbered without gaps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from muniment.server.accounts.models import Device
from muniment.server.mail.send import send
from muniment.server.vaults.kinds import EventKind
from muniment.server.vaults.mails import TOLD, Told, moment
from muniment.server.vaults.models import Event, Vault

TOLD_ONCE_IN = timedelta(hours=1)
"""The same again within so long is not written about again: whoever has a device can repeat itself."""


def record_event(
    vault: Vault, kind: EventKind, *, now: datetime, device: Device | None = None, **detail: str
) -> None:
    """Append an event, and queue the mail that tells the owner, if it is one of those.

    Only inside `writing()`: the number is taken under the vault's row lock.
    """
    number = Vault.objects.select_for_update().values_list("last_event", flat=True).get(pk=vault.pk) + 1
    Vault.objects.filter(pk=vault.pk).update(last_event=number)
    told = TOLD.get(kind)
    if told is not None and not _was_told(vault, kind, told, device=device, detail=detail, now=now):
        message = told.message(moment(now), detail)
        if message is not None:
            send(message, to=vault.owner, now=now)
    Event.objects.create(vault=vault, number=number, at=now, kind=kind.value, device=device, detail=detail)


def _was_told(
    vault: Vault,
    kind: EventKind,
    told: Told,
    *,
    device: Device | None,
    detail: Mapping[str, str],
    now: datetime,
) -> bool:
    """Whether the same happened lately, at whichever vault of the owner; of a vault's first keys, too, which
    come with the device that made it."""
    if kind is EventKind.SLOT_ADDED and not _has_keys(vault):
        return True
    lately = Event.objects.filter(vault__owner=vault.owner_id, kind=kind.value, at__gt=now - TOLD_ONCE_IN)
    if told.same:
        return lately.filter(**{f"detail__{told.same}": detail[told.same]}).exists()
    return lately.filter(device=device).exists()


def _has_keys(vault: Vault) -> bool:
    return Event.objects.filter(vault=vault, kind=EventKind.SLOT_LIST_CHANGED.value).exists()


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
