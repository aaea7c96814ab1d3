"""Heads as the wire shows them."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Max

from muniment.server.accounts.models import Device
from muniment.server.deployment import Deployment
from muniment.server.vaults.models import Snapshot, Vault
from muniment.server.vaults.objects import read_small
from muniment.server.vaults.refs import seconds
from muniment.wire import messages as m


def head_record(deployment: Deployment, snapshot: Snapshot) -> m.HeadRecord:
    return m.HeadRecord(
        snapshot=snapshot.name,
        device=snapshot.device.ref.hex,
        set_id=snapshot.set_ref.hex,
        counter=snapshot.counter,
        parent=None if snapshot.parent is None else snapshot.parent.name,
        received_at=seconds(snapshot.received_at),
        partial=snapshot.partial,
        head=read_small(deployment, snapshot.head_key),
    )


def head_records(deployment: Deployment, snapshots: Iterable[Snapshot]) -> list[m.HeadRecord]:
    return [head_record(deployment, snapshot) for snapshot in snapshots]


def newest_heads(deployment: Deployment, vault: Vault) -> list[m.HeadRecord]:
    """The newest head of each (device, set)."""
    newest = (
        Snapshot.objects.filter(vault=vault)
        .values("device", "set_ref")
        .annotate(newest=Max("id"))
        .values_list("newest", flat=True)
    )
    found = Snapshot.objects.select_related("device", "parent").filter(id__in=list(newest)).order_by("id")
    return head_records(deployment, found)


def newest_of_device(vault: Vault, device: Device) -> Snapshot | None:
    return (
        Snapshot.objects.select_related("device", "parent")
        .filter(vault=vault, device=device)
        .order_by("-counter")
        .first()
    )
