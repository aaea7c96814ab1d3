"""Commands that look around: snapshots, ls, find, stats, status."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from muniment.client.invocation import Invocation
from muniment.client.output import human_size, iso_time, table
from muniment.client.snapshots import describe_time, device_label, list_snapshots
from muniment.client.state.known_heads import OpenedHead
from muniment.client.vault import OpenVault


def snapshots(
    ctx: typer.Context,
    set_name: Annotated[str, typer.Option("--set", help="Only this set.")] = "",
    device: Annotated[str, typer.Option("--device", help="Only this machine, by its name.")] = "",
) -> None:
    """List the snapshots of the vault, oldest first."""
    invocation: Invocation = ctx.obj
    with invocation.open_for_reading() as vault:
        listed = [
            opened
            for opened in list_snapshots(vault)
            if set_name in ("", opened.head.set_name)
            and device in ("", device_label(vault, opened.head.device))
        ]
        rows = [
            (
                opened.snapshot.hex[:12],
                describe_time(opened),
                device_label(vault, opened.head.device),
                opened.head.set_name + (" (partial)" if opened.head.partial else ""),
                f"{opened.head.counts.files:,}",
                human_size(opened.head.counts.bytes),
            )
            for opened in listed
        ]
        documents = [snapshot_document(vault, opened) for opened in listed]
    lines = table(rows, heads=("id", "time", "device", "set", "files", "size"), right=(4, 5))
    invocation.output.result(documents, lines if rows else ["The vault has no snapshot yet."])


def snapshot_document(vault: OpenVault, opened: OpenedHead) -> dict[str, Any]:
    """The documented object of a snapshot."""
    head = opened.head
    return {
        "id": opened.snapshot.hex,
        "device": device_label(vault, head.device),
        "set": head.set_name,
        "time": iso_time(head.started_ns / 1e9),
        "files": head.counts.files,
        "bytes": head.counts.bytes,
        "errors": head.counts.errors,
        "partial": head.partial,
        "device_id": head.device.hex,
        "parent": head.parent.hex if head.parent else None,
        "received": iso_time(opened.received_at),
        "seconds": round((head.ended_ns - head.started_ns) / 1e9, 3),
    }
