"""`muniment sets …`: named roots and rules."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from muniment.client.cli.invocation import Invocation
from muniment.client.cli.options import named
from muniment.client.cli.schedule import unschedule
from muniment.client.home.config import DEFAULT_SET, BackupSet, change_set
from muniment.client.home.locks import changing_config
from muniment.client.sets.choose import resolve_roots, rules_of
from muniment.client.telling.output import json_path, printable_path
from muniment.model.errors import UsageError

app = typer.Typer(help="Backup sets: named roots and rules.", add_completion=False)

Name = Annotated[str, typer.Argument(help="Name of the set.", metavar="NAME")]
Paths = Annotated[list[str], typer.Argument(help="Files or directories.", metavar="PATH")]
Rules = Annotated[list[str], typer.Argument(help="Rules in gitignore syntax.", metavar="RULE")]


@app.callback(invoke_without_command=True)
def _default(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        list_sets(ctx)


@app.command("list")
def list_sets(ctx: typer.Context) -> None:
    """List the sets of this machine."""
    invocation: Invocation = ctx.obj
    sets = invocation.connection().sets
    lines = []
    for backup_set in sets.values():
        lines.append(f"{backup_set.name}: " + ", ".join(printable_path(root) for root in backup_set.roots))
    invocation.output.result(
        [_document(backup_set) for backup_set in sets.values()],
        lines or ["No set yet. `muniment backup PATH` makes the default one."],
    )


@app.command()
def show(ctx: typer.Context, name: Name = DEFAULT_SET) -> None:
    """Show a set with all its rules, the built-in ones too."""
    invocation: Invocation = ctx.obj
    _show(invocation, _known(invocation, name))


@app.command()
def add(
    ctx: typer.Context,
    name: Name,
    paths: Paths,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", help="A gitignore rule.", metavar="RULE")
    ] = None,
    exclude_from: Annotated[
        list[Path] | None, typer.Option("--exclude-from", help="A file of rules.", metavar="FILE")
    ] = None,
    one_file_system: Annotated[bool, typer.Option("--one-file-system", help="Enter no mounts.")] = False,
    network: Annotated[
        bool,
        typer.Option("--network", help="The paths are on a network file system: trust size and mtime only."),
    ] = False,
    no_default_excludes: Annotated[
        bool, typer.Option("--no-default-excludes", help="Without the built-in rules.")
    ] = False,
) -> None:
    """Make a set, or add roots and rules to one."""
    invocation: Invocation = ctx.obj
    roots = resolve_roots([os.fsencode(named(path)) for path in paths])
    with changing_config(invocation.home):
        known = invocation.connection().sets.get(name) or BackupSet(name, ())
        changed = replace(
            known,
            roots=_joined(known.roots, roots),
            excludes=_joined(known.excludes, exclude or []),
            exclude_files=_joined(known.exclude_files, [str(path.absolute()) for path in exclude_from or []]),
            one_file_system=known.one_file_system or one_file_system,
            network_roots=_joined(known.network_roots, roots if network else ()),
            default_excludes=known.default_excludes and not no_default_excludes,
        )
        _save(invocation, changed)


@app.command()
def exclude(ctx: typer.Context, name: Name, rules: Rules) -> None:
    """Add exclusion rules to a set."""
    invocation: Invocation = ctx.obj
    with changing_config(invocation.home):
        known = _known(invocation, name)
        _save(invocation, replace(known, excludes=_joined(known.excludes, rules)))


@app.command()
def include(ctx: typer.Context, name: Name, rules: Rules) -> None:
    """Take exclusion rules out of a set again."""
    invocation: Invocation = ctx.obj
    with changing_config(invocation.home):
        known = _known(invocation, name)
        if unknown := [rule for rule in rules if rule not in known.excludes]:
            raise UsageError(
                f"the set {name!r} has no rule {unknown[0]!r}", advice=f"See `muniment sets show {name}`."
            )
        kept = tuple(rule for rule in known.excludes if rule not in rules)
        _save(invocation, replace(known, excludes=kept))


@app.command()
def remove(
    ctx: typer.Context,
    name: Name,
    paths: Annotated[list[str] | None, typer.Argument(help="Only these roots.", metavar="PATH")] = None,
) -> None:
    """Remove roots from a set, or the set. Its snapshots stay."""
    invocation: Invocation = ctx.obj
    with changing_config(invocation.home):
        known = _known(invocation, name)
        gone = {os.path.abspath(os.fsencode(named(path))) for path in paths or []}
        if unknown := gone.difference(known.roots):
            raise UsageError(f"the set {name!r} has no root {printable_path(min(unknown))}")
        rest = tuple(root for root in known.roots if root not in gone)
        if gone and rest:
            network = tuple(root for root in known.network_roots if root in rest)
            _save(invocation, replace(known, roots=rest, network_roots=network))
            return
        # First, so that no timer is left that asks every hour for a set that is gone.
        was_scheduled = unschedule(invocation, name)
        connection = invocation.connection()
        sets = {key: value for key, value in connection.sets.items() if key != name}
        schedule = {key: value for key, value in connection.schedule.items() if key != name}
        invocation.config.with_connection(replace(connection, sets=sets, schedule=schedule)).save()
    lines = [f"The set {name!r} is removed; its snapshots stay."]
    if was_scheduled:
        lines.append("It is no longer scheduled.")
    invocation.output.result({"removed": name}, lines)


def _known(invocation: Invocation, name: str) -> BackupSet:
    sets = invocation.connection().sets
    if name not in sets:
        raise UsageError(f"there is no set {name!r}", advice=f"Known: {', '.join(sets) or 'none yet'}.")
    return sets[name]


def _save(invocation: Invocation, changed: BackupSet) -> None:
    rules_of(changed, home=invocation.home)  # a rule that cannot be understood is refused now, not at night
    connection = invocation.connection()
    invocation.config.with_connection(change_set(connection, changed)).save()
    _show(invocation, changed)


def _show(invocation: Invocation, backup_set: BackupSet) -> None:
    _, rules = rules_of(backup_set, home=invocation.home)
    lines = [f"Set {backup_set.name!r}"]
    lines += [f"  {printable_path(root)}" for root in backup_set.roots]
    if backup_set.one_file_system:
        lines.append("  Mounted file systems are not entered.")
    if backup_set.network_roots:
        roots = ", ".join(printable_path(root) for root in backup_set.network_roots)
        lines.append(f"  On a network, so size and mtime decide: {roots}")
    lines.append("Left out:" if rules else "Nothing is left out by rule.")
    lines += [f"  {rule}" for rule in rules]
    lines.append(
        "Directories with a CACHEDIR.TAG or a .nobackup file are left out and named in each run's result, but"
        " none of the roots above."
    )
    invocation.output.result(_document(backup_set) | {"rules": list(rules)}, lines)


def _document(backup_set: BackupSet) -> dict[str, Any]:
    return {
        "name": backup_set.name,
        "roots": [json_path(root) for root in backup_set.roots],
        "exclude": list(backup_set.excludes),
        "exclude_from": list(backup_set.exclude_files),
        "one_file_system": backup_set.one_file_system,
        "network_roots": [json_path(root) for root in backup_set.network_roots],
        "default_excludes": backup_set.default_excludes,
    }


def _joined(known: tuple[Any, ...], more: Any) -> tuple[Any, ...]:
    return (*known, *(item for item in more if item not in known))
