"""Giving back: packs and ranges of them, heads, reference sets, devices, events."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from uuid import UUID

from muniment.server.deployment import Deployment
from muniment.server.refusals import not_found
from muniment.server.store.port import ObjectMissing, ObjectReader
from muniment.server.transactions import writing
from muniment.server.vaults.access import Access, lock_vault
from muniment.server.vaults.events import record_event
from muniment.server.vaults.heads import head_records
from muniment.server.vaults.hot_rows import fetch_row
from muniment.server.vaults.kinds import EventKind
from muniment.server.vaults.models import HELD, PRESENT, Event, Grant, Pack, PackState, Snapshot, Vault
from muniment.server.vaults.reference_sets import load_reference_set
from muniment.server.vaults.refs import seconds, seconds_or_none
from muniment.wire import messages as m


@dataclass(frozen=True, slots=True)
class OpenPack:
    """A pack's bytes, ready to be read; `sha256` is what they had when they came."""

    size: int
    sha256: bytes
    reader: ObjectReader


def open_pack(deployment: Deployment, access: Access, ref: UUID) -> OpenPack:
    """The pack, opened. One whose file is missing or of another size goes into quarantine."""
    row = fetch_row("present_pack", access.vault.pk, ref)
    if row is None:
        raise not_found("pack")
    row_id, object_key, _, size, sha256, _, _ = row
    try:
        reader = deployment.objects.open(object_key)
    except ObjectMissing:
        quarantine_pack(deployment, access.vault, row_id, ref)
        raise not_found("pack", reason="quarantined") from None
    if reader.size != size:
        reader.close()
        quarantine_pack(deployment, access.vault, row_id, ref)
        raise not_found("pack", reason="quarantined")
    return OpenPack(size, bytes(sha256), reader)


def quarantine_pack(deployment: Deployment, vault: Vault, row: int, ref: UUID) -> None:
    """Set the pack apart: no new snapshot may need it until it is sent again."""
    with writing():
        lock_vault(vault)
        changed = Pack.objects.filter(pk=row, state__in=HELD).update(state=PackState.QUARANTINED)
        if changed:
            record_event(vault, EventKind.PACK_QUARANTINED, now=deployment.now(), pack=ref.hex)


def list_snapshots(
    deployment: Deployment, access: Access, *, after: str | None, limit: int
) -> m.SnapshotPage:
    rows = Snapshot.objects.select_related("device", "parent").filter(vault=access.vault).order_by("id")
    if after is not None:
        last = Snapshot.objects.filter(vault=access.vault, name=after).first()
        if last is None:
            raise not_found("snapshot")
        rows = rows.filter(id__gt=last.id)
    found = list(rows[: limit + 1])
    more = len(found) > limit
    return m.SnapshotPage(
        snapshots=head_records(deployment, found[:limit]), next=found[limit - 1].name if more else None
    )


def list_snapshot_packs(
    deployment: Deployment, access: Access, *, snapshot: str, after: UUID | None = None
) -> m.SnapshotPacks:
    row = Snapshot.objects.filter(vault=access.vault, name=snapshot, forgotten_at=None).first()
    if row is None:
        raise not_found("snapshot")
    needed = sorted(load_reference_set(deployment, row))
    start = 0 if after is None else bisect_right(needed, after.bytes)
    end = start + deployment.config.pack_page
    more = end < len(needed)
    needed = needed[start:end]
    infos: list[m.PackInfo] = []
    for start in range(0, len(needed), 500):
        refs = [UUID(bytes=raw) for raw in needed[start : start + 500]]
        rows = Pack.objects.filter(vault=access.vault, ref__in=refs, state__in=PRESENT).order_by("ref")
        infos.extend(
            m.PackInfo(pack=ref.hex, kind=kind, epoch=epoch, size=size, sha256=bytes(sha256))
            for ref, kind, epoch, size, sha256 in rows.values_list("ref", "kind", "epoch", "size", "sha256")
        )
    # Named even if it is lost: the next page begins after it, not after the last that is there.
    return m.SnapshotPacks(snapshot=row.name, packs=infos, next=needed[-1].hex() if more else None)


def list_devices(access: Access) -> m.DeviceList:
    grants = Grant.objects.select_related("device").filter(vault=access.vault).order_by("id")
    return m.DeviceList(
        devices=[
            m.DeviceInfo(
                device=grant.device.ref.hex,
                name=grant.device.name,
                enrolled_at=seconds(grant.device.enrolled_at),
                last_seen_at=seconds_or_none(grant.device.last_seen_at),
                revoked_at=seconds_or_none(grant.device.revoked_at),
                this=grant.device == access.device,
            )
            for grant in grants
        ]
    )


def list_events(access: Access, *, after: int, limit: int) -> m.EventPage:
    rows = Event.objects.select_related("device").filter(vault=access.vault, number__gt=after)
    found = list(rows.order_by("number")[: limit + 1])
    return m.EventPage(
        events=[
            m.EventInfo(
                number=event.number,
                at=seconds(event.at),
                kind=event.kind,
                device=None if event.device is None else event.device.ref.hex,
                detail=event.detail,
            )
            for event in found[:limit]
        ],
        next=found[limit - 1].number if len(found) > limit else None,
    )
