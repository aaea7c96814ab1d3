"""`muniment restore`."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from muniment.client.cli.invocation import Invocation
from muniment.client.cli.look import snapshot_document
from muniment.client.cli.options import named
from muniment.client.cli.problems import SHOWN, problem_documents, problem_lines
from muniment.client.disk.target import PosixTarget, free_bytes
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
from muniment.client.vault.snapshots import (
    Listing,
    SnapshotName,
    choose_snapshot,
    describe_time,
    device_label,
    narrow_down,
    passed_over,
)
from muniment.engine.listing import open_listing
from muniment.engine.plan_restore import RestorePlan, RestoreRequest, plan_restore
from muniment.engine.ports import Overwrite, Problem, Special
from muniment.engine.restore import restore as restore_tree
from muniment.engine.restore_report import RestoreReport
from muniment.model.errors import Outcome

FEW_SHOWN = 10
"""Of what is there, if not in all respects, this many are named; of what is missing, more."""

_SKIPPED = {Problem.SKIPPED, Problem.UNSUPPORTED}
_MISSING = set(Problem) - _SKIPPED - {Problem.METADATA, Problem.EXISTS}


class _Chosen:
    """The snapshot that is restored, and what of other sets and devices the same name could have meant."""

    def __init__(self, vault: OpenVault, snapshots: Listing, name: SnapshotName) -> None:
        self._vault = vault
        self.opened = choose_snapshot(snapshots, name, device=vault.device)
        self.others = passed_over(snapshots, name, self.opened, device=vault.device)

    def __str__(self) -> str:
        return f"{describe_time(self.opened)}, {self._line(self.opened)}"

    def document(self) -> dict[str, Any]:
        mine = snapshot_document(self._vault, self.opened)
        return {
            "snapshot": mine["id"],
            "set": mine["set"],
            "device": mine["device"],
            "passed_over": [snapshot_document(self._vault, one) for one in self.others],
        }

    def lines_about_others(self) -> list[str]:
        if not self.others:
            return []
        rows = [
            f"  {one.snapshot.hex[:12]}  {self._line(one)}, {describe_time(one)}, "
            f"{plural(one.head.counts.files, 'file')}, {human_size(one.head.counts.bytes)}"
            for one in self.others
        ]
        return ["This is one set of one machine. The vault also holds, to be restored by id:", *rows]

    def _line(self, opened: OpenedHead) -> str:
        return f"set {opened.head.set_name} of {device_label(self._vault, opened.head.device)}"


def restore(
    ctx: typer.Context,
    snapshot: Annotated[
        str, typer.Argument(help="latest, a date, or an id; then :PATH if wanted.", metavar="SNAPSHOT[:PATH]")
    ],
    target: Annotated[str, typer.Option("--target", help="Directory to restore into.", metavar="DIR")],
    overwrite: Annotated[
        Overwrite, typer.Option("--overwrite", help="What to do with files that exist already.")
    ] = Overwrite.NEVER,
    set_name: Annotated[str, typer.Option("--set", help="Only snapshots of this set.", metavar="NAME")] = "",
    device: Annotated[
        str, typer.Option("--device", help="Only of this machine, by name or id.", metavar="NAME")
    ] = "",
    special: Annotated[
        bool, typer.Option("--special", help="Also device nodes, set-id bits and capabilities.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
) -> None:
    """Restore a snapshot, or the part of it at PATH.

    Paths keep their full length under DIR, unless PATH names one, whose last component then lands in DIR.
    Exits 3 when something could not be written, 5 when something stored is damaged; everything else is
    restored.
    """
    invocation: Invocation = ctx.obj
    invocation.stoppable = True
    target = os.path.abspath(named(target))
    name = SnapshotName.parse(snapshot)
    with invocation.open_for_reading() as vault, invocation.reading_session(vault):
        listed = narrow_down(vault, invocation.list_snapshots(vault), set_name=set_name, device=device)
        chosen = _Chosen(vault, listed, name)
        request = RestoreRequest(
            root=chosen.opened.head.root,
            under=name.path,
            overwrite=overwrite,
            special=Special.RESTORE if special else Special.SKIP,
        )
        if dry_run:
            _show_plan(invocation, vault, chosen, request, target)
            return
        report, progress = _restore(invocation, vault, chosen, request, target)
    _show(invocation, chosen, report, progress, target)
    if report.outcome is not Outcome.DONE:
        raise typer.Exit(int(report.outcome))


def _restore(
    invocation: Invocation, vault: OpenVault, chosen: _Chosen, request: RestoreRequest, target: str
) -> tuple[RestoreReport, RunProgress]:
    progress = RunProgress()
    if request.under is None:
        counts = chosen.opened.head.counts
        progress.total_files = counts.files
        progress.total_bytes = counts.bytes
    else:
        progress.total_bytes = _bytes_under(invocation, vault, chosen, request.under)
    invocation.keep_buffers()
    disk = PosixTarget(os.fsencode(target))
    try:
        free = free_bytes(os.fsencode(target))
        if free < progress.total_bytes:
            invocation.output.warn(_too_little(free, progress.total_bytes))
        with LiveDisplay(invocation.output, progress, verb="Restoring"):
            report = restore_tree(
                request,
                keys=vault.keys,
                source=invocation.packs_of(vault, progress=progress),
                pages=invocation.pages_of(vault),
                target=disk,
                progress=progress,
                stop=invocation.stop.is_set,
            )
    finally:
        disk.close()
    return report, progress


def _bytes_under(invocation: Invocation, vault: OpenVault, chosen: _Chosen, path: bytes) -> int:
    with open_listing(
        chosen.opened.head.root,
        keys=vault.keys,
        source=invocation.packs_of(vault),
        pages=invocation.pages_of(vault),
    ) as listing:
        return listing.totals(path).content


def _too_little(free: int, content: int) -> str:
    return (
        f"the target has room for {human_size(free)}, and this may need {human_size(content)}; "
        "should it fill up, what is complete stays and the same command goes on from there"
    )


def _show(
    invocation: Invocation, chosen: _Chosen, report: RestoreReport, progress: RunProgress, target: str
) -> None:
    document = {
        **chosen.document(),
        "target": target,
        "files": report.files,
        "directories": report.directories,
        "others": report.others,
        "bytes": report.bytes,
        "errors": report.errors,
        "kept": report.kept,
        "skipped": report.skipped,
        "metadata": report.metadata,
        "damaged_packs": sorted(str(pack) for pack in report.damaged_packs),
        "problems": problem_documents(progress.troubles),
        "seconds": round(progress.seconds, 3),
    }
    lines = [_headline(chosen, report, progress)]
    for about in (_MISSING, _SKIPPED, {Problem.METADATA}, {Problem.EXISTS}):
        found = [trouble for trouble in progress.troubles if trouble.problem in about]
        lines += problem_lines(found, shown=SHOWN if about is _MISSING else FEW_SHOWN)
    lines.append(
        f"{plural(report.files, 'file')}, {human_size(report.bytes)} of {chosen} in "
        f"{target}, {human_seconds(progress.seconds)}."
    )
    if report.kept:
        were = plural(report.kept, "existing file was", "existing files were")
        lines.append(f"{were} left alone; --overwrite says otherwise.")
    if report.metadata:
        only_root = " Only root can set owners." if os.geteuid() else ""
        lines.append(
            f"{plural(report.metadata, 'entry is', 'entries are')} there without all metadata.{only_root}"
        )
    if any(trouble.problem is Problem.SKIPPED for trouble in progress.troubles):
        lines.append("--special makes devices, and gives back set-id bits and capabilities.")
    if report.damaged_packs:
        lines.append("Damaged packs: " + ", ".join(sorted(str(pack) for pack in report.damaged_packs)))
        lines.append("Tell the operator; an older snapshot may still hold these files.")
    lines += chosen.lines_about_others()
    invocation.output.result(document, lines)


def _headline(chosen: _Chosen, report: RestoreReport, progress: RunProgress) -> str:
    if report.errors:
        return f"Restored, but {plural(report.errors, 'entry is', 'entries are')} missing:"
    if report.kept:
        return (
            "Everything else is restored." if report.files else "Nothing was restored: it is there already."
        )
    everything = "Everything of it is restored" if chosen.others else "Everything is restored"
    return f"{everything}, except:" if progress.troubles else f"{everything}."


def _show_plan(
    invocation: Invocation, vault: OpenVault, chosen: _Chosen, request: RestoreRequest, target: str
) -> None:
    plan = plan_restore(
        request, keys=vault.keys, source=invocation.packs_of(vault), pages=invocation.pages_of(vault)
    )
    lines = [f"Would restore {plural(plan.files, 'file')}, {human_size(plan.content)} of {chosen}"]
    lines.append(
        f"into {target}, reading {human_size(plan.read_bytes)} from {plural(len(plan.packs), 'pack')}."
    )
    free = free_bytes(os.fsencode(target))
    if free < plan.content:
        lines.append(f"Note: {_too_little(free, plan.content)}.")
    for lost in plan.lost:
        lines.append(
            f"A part of the tree is damaged: about {lost.entries:,} entries up to {_path(lost.last)}"
        )
    lines += chosen.lines_about_others()
    invocation.output.result(_plan_document(chosen, plan, target, free=free), lines)
    if plan.lost or plan.damaged:
        raise typer.Exit(int(Outcome.INTEGRITY))


def _plan_document(chosen: _Chosen, plan: RestorePlan, target: str, *, free: int) -> dict[str, Any]:
    return {
        "dry_run": True,
        **chosen.document(),
        "target": target,
        "free_bytes": free,
        "files": plan.files,
        "directories": plan.directories,
        "others": plan.others,
        "bytes": plan.content,
        "errors": plan.damaged,
        "read_bytes": plan.read_bytes,
        "packs": len(plan.packs),
        "lost": [
            {"up_to": json_path(_path_of_key(lost.last)), "entries": lost.entries} for lost in plan.lost
        ],
    }


def _path_of_key(key: bytes) -> bytes:
    return rooted(key.replace(b"\0\0", b"/").replace(b"\0", b"/"))


def _path(key: bytes) -> str:
    return printable_path(_path_of_key(key))
