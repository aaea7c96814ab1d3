"""Commands that look around: snapshots, ls, find, stats, status."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from muniment.client.backup.standing import SetStanding, standing_of
from muniment.client.cli.invocation import Invocation
from muniment.client.state.known_heads import OpenedHead
from muniment.client.telling.output import human_age, human_size, iso_time, plural, table
from muniment.client.vault.opening import OpenVault
from muniment.client.vault.snapshots import describe_time, device_label, narrow_down
from muniment.model.errors import Outcome


def snapshots(
    ctx: typer.Context,
    set_name: Annotated[str, typer.Option("--set", help="Only this set.", metavar="NAME")] = "",
    device: Annotated[
        str, typer.Option("--device", help="Only this machine, by name or id.", metavar="NAME")
    ] = "",
) -> None:
    """List the snapshots of the vault, oldest first."""
    invocation: Invocation = ctx.obj
    with invocation.open_for_reading() as vault:
        listing = narrow_down(vault, invocation.list_snapshots(vault), set_name=set_name, device=device)
        listed = listing.snapshots
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


def stats(ctx: typer.Context) -> None:
    """How much the vault holds, and how much its allowance leaves."""
    invocation: Invocation = ctx.obj
    with invocation.open_for_reading() as vault:
        listed = invocation.list_snapshots(vault).snapshots
        newest = [opened for opened in vault.heads if not opened.head.partial]
        protected = sum(opened.head.counts.bytes for opened in newest)
        packs = {
            info.pack: info.size
            for opened in newest
            for info in vault.server.snapshot_packs(vault.vault, opened.snapshot)
        }
        info = vault.info
    files = sum(opened.head.counts.files for opened in newest)
    document = {
        "vault": info.vault,
        "snapshots": len(listed),
        "sets": len(newest),
        "files": files,
        "bytes": protected,
        "packs": len(packs),
        "newest_stored_bytes": sum(packs.values()),
        "stored_bytes": info.used,
        "allowance": info.allowance,
    }
    held = f"{plural(len(packs), 'pack')} of {human_size(sum(packs.values()))}"
    lines = [f"{plural(len(listed), 'snapshot')} of {plural(len(newest), 'set')}."]
    lines.append(f"The newest protect {plural(files, 'file')}, {human_size(protected)}, in {held}.")
    lines.append(f"The vault holds {human_size(info.used)} of an allowance of {human_size(info.allowance)}.")
    invocation.output.result(document, lines)


def status(
    ctx: typer.Context,
    check: Annotated[bool, typer.Option("--check", help="Exit 3 when something needs you.")] = False,
) -> None:
    """Is everything of this machine backed up?"""
    invocation: Invocation = ctx.obj
    connection = invocation.connection()
    with invocation.open_vault() as vault:
        pending = [
            request
            for request in vault.server.confirmations(vault.vault).requests
            if request.state in ("pending", "confirmed")
        ]
        standing = standing_of(vault, connection, requests=pending, now=invocation.clock.now_ns() / 1e9)
        info = vault.info
    document = {
        "verdict": standing.verdict.value,
        "message": standing.headline,
        "vault": info.vault,
        "device": connection.device_name,
        "server": connection.server,
        "sets": [_set_document(one) for one in standing.sets],
        "withheld": [info.slot for info in vault.withheld],
        "set_aside": [one.snapshot.hex for one in vault.set_aside],
        "pending": [request.request for request in pending],
        "stored_bytes": info.used,
        "allowance": info.allowance,
    }
    lines = [standing.headline]
    for one in standing.sets:
        when = "never" if one.newest is None else "nobody knows when"
        if one.age is not None:
            when = f"{human_age(one.age)} ago"
        lines.append(f"  {one.name}: {when}; {one.reason}")
    lines += standing.notes
    lines.append(f"{human_size(info.used)} of {human_size(info.allowance)} used, on {connection.server}.")
    invocation.output.result(document, lines)
    if check and standing.needs_you:
        raise typer.Exit(int(Outcome.INCOMPLETE))


def _set_document(one: SetStanding) -> dict[str, Any]:
    return {
        "name": one.name,
        "verdict": one.verdict.value,
        "reason": one.reason,
        "newest_snapshot": one.newest.snapshot.hex if one.newest else None,
        "time": iso_time(one.newest.head.started_ns / 1e9) if one.newest else None,
        "age_seconds": None if one.age is None else round(one.age),
        "every": one.every,
        "errors": one.problems,
    }
