"""`muniment verify`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from muniment.client.cli.invocation import Invocation
from muniment.client.state.known_heads import OpenedHead
from muniment.client.telling.display import LiveDisplay
from muniment.client.telling.output import (
    human_seconds,
    human_size,
    json_path,
    plural,
    printable_path,
    rooted,
)
from muniment.client.telling.progress import RunProgress
from muniment.client.vault.opening import OpenVault
from muniment.client.vault.set_aside import SetAside
from muniment.client.vault.snapshots import SnapshotName, choose_snapshot
from muniment.engine.verify import Depth, VerifyReport
from muniment.engine.verify import verify as verify_trees
from muniment.model.errors import Outcome
from muniment.model.ids import PackId
from muniment.model.packs import PackKind, SealedPack


def verify(
    ctx: typer.Context,
    snapshot: Annotated[
        str, typer.Argument(help="latest, a date, or an id. Without it: all.", metavar="[SNAPSHOT]")
    ] = "",
    read_data: Annotated[
        bool, typer.Option("--read-data", help="Read and open every pack, check every chunk.")
    ] = False,
) -> None:
    """Prove that snapshots can be read: all their pages, and that all they need is held.

    With --read-data every byte is fetched and checked too. Exits 5 when something is damaged; the packs and
    the files that need them are named.
    """
    invocation: Invocation = ctx.obj
    invocation.stoppable = True
    progress = RunProgress()
    with invocation.open_for_reading() as vault, invocation.reading_session(vault):
        listing = invocation.list_snapshots(vault, anew=True)
        chosen: Sequence[OpenedHead] = listing.snapshots
        unreadable = listing.set_aside
        if snapshot:
            unreadable = ()
            name = SnapshotName.parse(snapshot)
            chosen = [choose_snapshot(listing, name, device=vault.device)]
        with LiveDisplay(invocation.output, progress, verb="Verifying"):
            report = verify_trees(
                [opened.head.root for opened in chosen],
                stored=_stored(vault, chosen),
                depth=Depth.DATA if read_data else Depth.PAGES,
                keys=vault.keys,
                source=invocation.packs_of(vault, progress=progress),
                progress=progress,
                stop=invocation.stop.is_set,
            )
    _show(invocation, report, progress, unreadable, read_data=read_data)
    outcome = Outcome.INTEGRITY if unreadable else report.outcome
    if outcome is not Outcome.DONE:
        raise typer.Exit(int(outcome))


def _stored(vault: OpenVault, chosen: Sequence[OpenedHead]) -> dict[PackId, SealedPack]:
    """What the vault says it holds for these snapshots."""
    stored: dict[PackId, SealedPack] = {}
    for opened in chosen:
        for info in vault.server.snapshot_packs(vault.vault, opened.snapshot):
            pack = PackId.parse(info.pack)
            stored[pack] = SealedPack(pack, PackKind(info.kind), info.epoch, info.size, info.sha256)
    return stored


def _show(
    invocation: Invocation,
    report: VerifyReport,
    progress: RunProgress,
    unreadable: Sequence[SetAside],
    *,
    read_data: bool,
) -> None:
    damages = sorted(report.damages.values(), key=lambda damage: damage.pack)
    document = {
        "snapshots": report.snapshots,
        "pages": report.pages,
        "files": report.files,
        "extents": report.extents,
        "packs": report.packs,
        "read_bytes": report.read_bytes,
        "read_data": read_data,
        "errors": len(damages),
        "damaged": [
            {
                "pack": str(damage.pack),
                "why": damage.why,
                "files": damage.files,
                "entries": damage.entries,
                "paths": [json_path(rooted(path)) for path in damage.paths],
            }
            for damage in damages
        ],
        "unreadable": [one.snapshot.hex for one in unreadable],
        "seconds": round(progress.seconds, 3),
    }
    if not report.snapshots and not unreadable:
        invocation.output.result(document, ["The vault has no snapshot yet."])
        return
    lines = []
    if damages:
        lines.append(f"{plural(len(damages), 'pack is', 'packs are')} damaged or missing:")
        for damage in damages:
            lines.append(
                f"  pack {damage.pack}: {damage.why}; {damage.files + damage.entries:,} entries need it"
            )
            lines += [f"    {printable_path(rooted(path))}" for path in damage.paths]
        lines.append("Tell the operator. What is not named here can be restored.")
    elif not unreadable:
        lines.append("All is well." if read_data else "All pages are well, and all they need is held.")
    lines += [f"Snapshot {one.snapshot.hex} cannot be read: {one.why}" for one in unreadable]
    read = f", {human_size(report.read_bytes)} read and checked" if read_data else ""
    files = f"{plural(report.files, 'file')}{read}, {human_seconds(progress.seconds)}"
    lines.append(f"{plural(report.snapshots, 'snapshot')}, {plural(report.pages, 'page')}, {files}.")
    if not read_data and not damages:
        lines.append("--read-data reads every byte too.")
    invocation.output.result(document, lines)
