"""`muniment backup`."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from muniment.client.backup.dry_run import try_out
from muniment.client.backup.last_runs import last_run, seconds_of
from muniment.client.backup.run import BackupOutcome, BackupRequest, BackupRun
from muniment.client.cli.invocation import Invocation
from muniment.client.cli.options import named
from muniment.client.cli.problems import SHOWN, problem_documents, problem_lines
from muniment.client.home.config import BackupSet
from muniment.client.sets.choose import ChosenSet, choose_set, rules_of
from muniment.client.state.database import is_damage
from muniment.client.telling.display import LiveDisplay
from muniment.client.telling.output import (
    human_seconds,
    human_size,
    iso_time,
    json_path,
    plural,
    printable_path,
)
from muniment.client.telling.progress import RunProgress
from muniment.engine.ports import Excludes
from muniment.engine.roots import MountRule
from muniment.model.errors import Interrupted, MunimentError, Outcome


def backup(
    ctx: typer.Context,
    paths: Annotated[list[str] | None, typer.Argument(help="What to back up.", metavar="[PATH]...")] = None,
    set_name: Annotated[str, typer.Option("--set", help="Back up this set.", metavar="NAME")] = "",
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", help="Leave out what this gitignore rule matches.", metavar="RULE"),
    ] = None,
    exclude_from: Annotated[
        list[Path] | None, typer.Option("--exclude-from", help="Read rules from a file.", metavar="FILE")
    ] = None,
    one_file_system: Annotated[
        bool, typer.Option("--one-file-system", help="Stay on the file systems of the paths.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    if_due: Annotated[
        str, typer.Option("--if-due", help="Do nothing unless the last run is this old: 1h, 1d…", hidden=True)
    ] = "",
) -> None:
    """Back up paths, or a set.

    Without PATH, the default set. The first time PATHs are given they become the default set. Exits 3 when a
    snapshot was made but some files could not be read, or changed while being read; each is named.
    """
    invocation: Invocation = ctx.obj
    invocation.stoppable = True
    chosen = choose_set(
        invocation.config,
        invocation.connection(),
        [os.fsencode(named(path)) for path in paths or []],
        name=set_name,
        excludes=exclude or [],
        exclude_files=exclude_from or [],
        one_file_system=one_file_system,
        remember=not dry_run,
    )
    if if_due and not _is_due(invocation, chosen.backup_set.name, every=if_due):
        invocation.output.result({"skipped": True, "set": chosen.backup_set.name}, ["Not due yet."])
        return
    if chosen.remembered and not dry_run:
        invocation.output.note(f"Remembered as the set {chosen.backup_set.name!r}; see `muniment sets`.")
    if dry_run:
        _try_out(invocation, chosen)
        return
    try:
        outcome, progress = _run(invocation, chosen)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        # Damage that only showed at work. The file has been set aside, so once more with a new one.
        outcome, progress = _run(invocation, chosen)
    _show(invocation, outcome, progress)
    if outcome.result.problems:
        raise typer.Exit(int(Outcome.INCOMPLETE))


def _run(invocation: Invocation, chosen: ChosenSet) -> tuple[BackupOutcome, RunProgress]:
    progress = RunProgress()
    backup_set = chosen.backup_set
    excludes, rules = rules_of(backup_set, home=invocation.home)
    with invocation.open_vault() as vault:
        assert vault.device is not None
        assert vault.database is not None
        newest = vault.newest_of(vault.device, vault.keys.set_id(vault.device, backup_set.name))
        if newest is not None:
            counts = newest.head.counts
            progress.total_files = counts.files
            progress.total_bytes = counts.bytes
        with LiveDisplay(invocation.output, progress, verb="Backing up"):
            run = BackupRun(
                vault=vault,
                device=vault.device,
                database=vault.database,
                state=invocation.home.state_of(vault.vault),
                disk=invocation.open_disk(),
                clock=invocation.clock,
                progress=progress,
                stop=invocation.stop.is_set,
                warn=invocation.output.warn,
            )
            request = request_of(backup_set, excludes, rules)
            try:
                return run.back_up(request), progress
            except Interrupted as error:
                raise _interrupted(error, progress) from None


def _try_out(invocation: Invocation, chosen: ChosenSet) -> None:
    """Read everything as a run would, store nothing, and say what would have been new and what left out."""
    progress = RunProgress()
    excludes, _ = rules_of(chosen.backup_set, home=invocation.home)
    with invocation.open_vault() as vault, LiveDisplay(invocation.output, progress, verb="Looking"):
        result = try_out(
            request_of(chosen.backup_set, excludes, ()),
            vault=vault,
            disk=invocation.open_disk(),
            clock=invocation.clock,
            progress=progress,
            stop=invocation.stop.is_set,
        )
    counts, coverage = result.counts, result.coverage
    document = {
        "dry_run": True,
        "set": chosen.backup_set.name,
        "files": counts.files,
        "bytes": counts.bytes,
        "new_bytes": counts.new_bytes,
        "stored_bytes": progress.sealed,
        "read": coverage.read,
        "unchanged": coverage.unchanged,
        "errors": result.problems,
        "problems": problem_documents(progress.troubles),
        "excluded": [{"path": json_path(path), "rule": rule} for path, rule in progress.exclusions],
    }
    new, stored = human_size(counts.new_bytes), human_size(progress.sealed)
    lines = [f"Would back up {plural(counts.files, 'file')}, {human_size(counts.bytes)}; nothing was stored."]
    changed = plural(coverage.read, "entry is", "entries are")
    lines.append(f"{changed} new or changed: {new} of new content, about {stored} stored.")
    lines += problem_lines(progress.troubles)
    lines += [f"Left out: {printable_path(path)} ({rule})" for path, rule in progress.exclusions[:SHOWN]]
    if len(progress.exclusions) > SHOWN:
        lines.append(f"… and {len(progress.exclusions) - SHOWN:,} more; --json names them.")
    invocation.output.result(document, lines)


def _is_due(invocation: Invocation, name: str, *, every: str) -> bool:
    """Whether the last complete run began at least `every` ago; five minutes of grace, as timers waver.

    A run that began in the future began by a wrong clock, so nobody knows how old it is.
    """
    seconds = seconds_of(every)
    with invocation.open_database(invocation.connection()) as database:
        last = last_run(database, name)
    return last is None or not -300 < invocation.clock.now_ns() / 1e9 - last <= seconds - 300


def request_of(backup_set: BackupSet, excludes: Excludes, rules: tuple[str, ...]) -> BackupRequest:
    return BackupRequest(
        set_name=backup_set.name,
        roots=backup_set.roots,
        excludes=excludes,
        excluded_rules=rules,
        mounts=MountRule.STAY if backup_set.one_file_system else MountRule.CROSS,
        network_roots=backup_set.network_roots,
    )


def _interrupted(error: Interrupted, progress: RunProgress) -> MunimentError:
    done = f"{plural(progress.files, 'file')}, {human_size(progress.content)}"
    return Interrupted(
        f"stopped after {done}; what is sealed is kept",
        advice=error.advice or "Run the same command again to go on from here.",
    )


def _show(invocation: Invocation, outcome: BackupOutcome, progress: RunProgress) -> None:
    head, result = outcome.snapshot.head, outcome.result
    document: dict[str, Any] = {
        "snapshot": outcome.snapshot.snapshot.hex,
        "set": head.set_name,
        "time": iso_time(head.started_ns / 1e9),
        "files": head.counts.files,
        "directories": head.counts.directories,
        "others": head.counts.others,
        "bytes": head.counts.bytes,
        "new_bytes": head.counts.new_bytes,
        "stored_bytes": progress.sealed,
        "sent_bytes": progress.sent,
        "errors": result.problems,
        "problems": problem_documents(progress.troubles),
        "excluded": dict(progress.excluded_by),
        "unchanged": result.coverage.unchanged,
        "resumed_packs": outcome.resumed_packs,
        "warnings": list(outcome.warnings),
        "seconds": round(progress.seconds, 3),
    }
    invocation.output.result(document, _summary(outcome, progress))


def _summary(outcome: BackupOutcome, progress: RunProgress) -> Sequence[str]:
    head, result = outcome.snapshot.head, outcome.result
    counts = head.counts
    lines: list[str] = []
    if result.problems:
        what = plural(result.problems, "file is", "files are")
        lines.append(f"Backed up, but {what} not, or not fully, protected:")
        lines += problem_lines(progress.errors)
    else:
        lines.append("Everything is backed up.")
    gone = len(progress.troubles) - len(progress.errors)
    if gone:
        lines.append(f"{plural(gone, 'file')} vanished during the run.")
    saved = max(0, counts.bytes - progress.sealed)
    name = outcome.snapshot.snapshot.hex[:12]
    new, stored = human_size(counts.new_bytes), human_size(progress.sealed)
    lines.append(
        f"Snapshot {name} of {head.set_name!r}: {plural(counts.files, 'file')}, {human_size(counts.bytes)}."
    )
    more = f"Dedup and compression saved {human_size(saved)}." if saved else "Padding hides its exact size."
    lines.append(f"New: {new}, stored as {stored}. {more}")
    lines.append(f"It took {human_seconds(progress.seconds)}.")
    if outcome.resumed_packs:
        lines.append(f"{plural(outcome.resumed_packs, 'sealed pack')} of an earlier run went first.")
    for rule, number in progress.excluded_by.most_common(8):
        lines.append(f"Left out by {rule}: {number:,}")
    if len(progress.excluded_by) > 8:
        lines.append(f"… and by {len(progress.excluded_by) - 8} more rules; --json lists all.")
    return lines
