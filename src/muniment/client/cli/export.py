"""`muniment export`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from muniment.client.display import LiveDisplay
from muniment.client.export import Exporter
from muniment.client.invocation import Invocation
from muniment.client.output import human_size
from muniment.client.progress import RunProgress


def export(
    ctx: typer.Context, directory: Annotated[Path, typer.Argument(help="Where to write.", metavar="DIR")]
) -> None:
    """Write the vault as ordinary files, still sealed. Repeating it fetches only what is new."""
    invocation: Invocation = ctx.obj
    invocation.stoppable = True
    progress = RunProgress()
    with invocation.open_for_reading() as vault, invocation.reading_session(vault):
        with LiveDisplay(invocation.output, progress, verb="Exporting"):
            exporter = Exporter(vault, directory.absolute(), progress, time.time, invocation.stop.is_set)
            report = exporter.export()
    document = {
        "directory": str(directory.absolute()),
        "snapshots": report.snapshots,
        "packs": report.packs,
        "fetched": report.fetched,
        "bytes": report.bytes,
    }
    lines = [f"{report.snapshots:,} snapshots in {report.packs:,} packs are in {directory}, still sealed."]
    lines.append(f"Fetched {report.fetched:,} packs, {human_size(report.bytes)}.")
    invocation.output.result(document, lines)
