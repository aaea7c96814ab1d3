"""`muniment export`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from muniment.client.cli.invocation import Invocation
from muniment.client.cli.options import named
from muniment.client.telling.display import LiveDisplay
from muniment.client.telling.output import human_size, plural
from muniment.client.telling.progress import RunProgress
from muniment.client.vault.export import Exporter
from muniment.model.errors import Outcome


def export(
    ctx: typer.Context, where: Annotated[str, typer.Argument(help="Where to write.", metavar="DIR")]
) -> None:
    """Write the vault as ordinary files, still sealed. Repeating it fetches only what is new."""
    invocation: Invocation = ctx.obj
    invocation.stoppable = True
    directory = Path(named(where))
    progress = RunProgress()
    with invocation.open_for_reading() as vault, invocation.reading_session(vault):
        with LiveDisplay(invocation.output, progress, verb="Exporting"):
            exporter = Exporter(vault, directory.absolute(), progress, time.time, invocation.stop.is_set)
            report = exporter.export()
        invocation.tell_left_out(vault, report.set_aside)
    document = {
        "directory": str(directory.absolute()),
        "snapshots": report.snapshots,
        "packs": report.packs,
        "fetched": report.fetched,
        "bytes": report.bytes,
        "left_out": [one.snapshot.hex for one in report.set_aside],
        "damaged": [pack.hex for pack in report.damaged],
    }
    snapshots, packs = plural(report.snapshots, "snapshot"), plural(report.packs, "pack")
    lines = [f"The vault is in {directory}, still sealed: {snapshots} in {packs}."]
    lines.append(f"Fetched {plural(report.fetched, 'pack')}, {human_size(report.bytes)}.")
    if report.damaged:
        lines.append("Damaged packs: " + ", ".join(pack.hex for pack in report.damaged))
        lines.append(
            "What needs them cannot be restored whole from here, all else can. Tell the operator; the same"
            " export again fetches only these."
        )
    invocation.output.result(document, lines)
    if report.damaged:
        raise typer.Exit(int(Outcome.INTEGRITY))
    if report.set_aside:
        raise typer.Exit(int(Outcome.INCOMPLETE))
