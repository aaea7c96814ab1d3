"""Commands that look into snapshots: ls and find."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from muniment.client.cli.invocation import Invocation
from muniment.client.telling.output import (
    human_size,
    human_time,
    iso_time,
    json_path,
    plural,
    printable_path,
    table,
)
from muniment.client.vault.snapshots import SnapshotName, choose_snapshot, describe_time, narrow_down
from muniment.engine.listing import open_listing
from muniment.model.entry import Entry, EntryFlag
from muniment.model.errors import UsageError

_TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


def ls(
    ctx: typer.Context,
    snapshot: Annotated[
        str,
        typer.Argument(help="latest, a date, or an id; then :PATH if wanted.", metavar="[SNAPSHOT[:PATH]]"),
    ] = "latest",
    set_name: Annotated[str, typer.Option("--set", help="Only snapshots of this set.", metavar="NAME")] = "",
    device: Annotated[
        str, typer.Option("--device", help="Only of this machine, by name or id.", metavar="NAME")
    ] = "",
    recursive: Annotated[bool, typer.Option("--recursive", "-R", help="Everything below, too.")] = False,
) -> None:
    """List what a snapshot holds at PATH."""
    invocation: Invocation = ctx.obj
    name = SnapshotName.parse(snapshot)
    path = name.path or b""
    with invocation.open_for_reading() as vault, invocation.reading_session(vault):
        listed = narrow_down(vault, invocation.list_snapshots(vault), set_name=set_name, device=device)
        chosen = choose_snapshot(listed, name, device=vault.device)
        with open_listing(
            chosen.head.root,
            keys=vault.keys,
            source=invocation.packs_of(vault),
            pages=invocation.pages_of(vault),
        ) as listing:
            found = listing.find("*", under=path) if recursive else listing.directory(path)
            documents: list[dict[str, Any]] = []
            rows: list[tuple[str, ...]] = []
            for entry in found:
                if invocation.output.as_json:
                    documents.append(entry_document(entry))
                else:
                    rows.append(_row(entry, b"/" + entry.path if recursive else entry.name))
            totals = listing.totals(path)
    document = {
        "snapshot": chosen.snapshot.hex,
        "path": json_path(path),
        "entries": documents,
        "total_entries": totals.entries,
        "total_bytes": totals.content,
    }
    lines = table(rows, heads=("mode", "owner", "size", "modified", "name"), right=(2,))
    entries = plural(totals.entries, "entry", "entries")
    lines.append(f"{entries} in all, {human_size(totals.content)}. {describe_time(chosen)}.")
    invocation.output.result(document, lines)


def find(
    ctx: typer.Context,
    pattern: Annotated[
        str, typer.Argument(help="A name or part of one; with * ? [ a shell pattern.", metavar="PATTERN")
    ],
    snapshot: Annotated[
        str,
        typer.Option(
            "--snapshot",
            help="Where to look: latest, a date, or an id; then :PATH if wanted.",
            metavar="SNAPSHOT",
        ),
    ] = "latest",
    set_name: Annotated[str, typer.Option("--set", help="Only snapshots of this set.", metavar="NAME")] = "",
    device: Annotated[
        str, typer.Option("--device", help="Only of this machine, by name or id.", metavar="NAME")
    ] = "",
    everywhere: Annotated[bool, typer.Option("--all", help="Look into every snapshot.")] = False,
) -> None:
    """Find names in a snapshot, or in all. A pattern with a slash is matched against whole paths."""
    invocation: Invocation = ctx.obj
    name = SnapshotName.parse(snapshot)
    matches: list[dict[str, Any]] = []
    lines: list[str] = []
    with invocation.open_for_reading() as vault, invocation.reading_session(vault):
        listed = narrow_down(vault, invocation.list_snapshots(vault), set_name=set_name, device=device)
        chosen = listed.snapshots if everywhere else [choose_snapshot(listed, name, device=vault.device)]
        seen: set[tuple[bytes, int, int]] = set()
        for opened in chosen:
            with open_listing(
                opened.head.root,
                keys=vault.keys,
                source=invocation.packs_of(vault),
                pages=invocation.pages_of(vault),
            ) as listing:
                for entry in _found(listing.find(pattern, under=name.path or b""), everywhere=everywhere):
                    version = (entry.path, entry.mtime_ns, entry.size)
                    if everywhere and version in seen:
                        continue  # the same version in a later snapshot tells nothing new
                    seen.add(version)
                    matches.append({"snapshot": opened.snapshot.hex} | entry_document(entry))
                    lines.append(
                        f"{opened.snapshot.hex[:12]}  {'  '.join(_row(entry, b'/' + entry.path)[2:])}"
                    )
    document = {"pattern": pattern, "matches": matches}
    invocation.output.result(document, lines or [f"Nothing is called {pattern}."])


def _found(entries: Iterable[Entry], *, everywhere: bool) -> Iterable[Entry]:
    """With --all, snapshots that lack the directory asked for are passed over."""
    try:
        yield from entries
    except UsageError:
        if not everywhere:
            raise


def entry_document(entry: Entry) -> dict[str, Any]:
    """The documented object of an entry. `os.fsencode(path)` gives the exact name back."""
    document: dict[str, Any] = {
        "path": "/" + json_path(entry.path),
        "type": _TYPES.get(stat.S_IFMT(entry.mode), "unknown"),
        "mode": f"{stat.S_IMODE(entry.mode):04o}",
        "size": entry.size if entry.is_file else 0,
        "uid": entry.owner.uid,
        "gid": entry.owner.gid,
        "user": json_path(entry.owner.user),
        "group": json_path(entry.owner.group),
        "modified": iso_time(entry.mtime_ns / 1e9),
        "mtime_ns": entry.mtime_ns,
    }
    if entry.link_target:
        document["target"] = json_path(entry.link_target)
    flags = [flag.name.lower() for flag in EntryFlag if flag in entry.flags and flag.name and flag.value]
    if flags:
        document["flags"] = flags
    return document


def _row(entry: Entry, name: bytes) -> tuple[str, ...]:
    shown = printable_path(name)
    if entry.link_target:
        shown += f" -> {printable_path(entry.link_target)}"
    elif entry.is_directory:
        shown += "/"
    return (
        stat.filemode(entry.mode),
        printable_path(entry.owner.user) or str(entry.owner.uid),
        human_size(entry.size) if entry.is_file else "",
        human_time(entry.mtime_ns / 1e9),
        shown,
    )
