"""`muniment connect`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from muniment.client.cli.invocation import Invocation
from muniment.client.enrol.connect import (
    Connected,
    Holder,
    Vaults,
    connect_existing,
    connect_new,
    device_name_of_host,
)
from muniment.client.enrol.enrolment import Enrolment
from muniment.client.enrol.kit_page import refuse_unwritable, write_kit_page
from muniment.client.enrol.passphrases import ask_new_passphrase, ask_passphrase
from muniment.client.telling.output import human_time
from muniment.client.transport.address import PlainHttp
from muniment.client.transport.reach import greet
from muniment.client.transport.server import clock_warning
from muniment.model.codes import EnrolmentCode
from muniment.model.errors import UsageError
from muniment.model.ids import VaultId


def connect(
    ctx: typer.Context,
    url: Annotated[str, typer.Argument(help="Address of the server.", metavar="URL")],
    code: Annotated[
        str, typer.Option("--code", help="One-time code from whoever runs the server.", metavar="CODE")
    ],
    name: Annotated[str, typer.Option("--name", help="What to call this machine.", metavar="NAME")] = "",
    new: Annotated[bool, typer.Option("--new", help="Make a new vault.")] = False,
    existing: Annotated[bool, typer.Option("--existing", help="Open the vault that is there.")] = False,
    kit_file: Annotated[
        Path | None,
        typer.Option("--kit-file", help="Write the recovery kit here, as a page to print.", metavar="FILE"),
    ] = None,
) -> None:
    """Connect this machine to a vault.

    A code from `create-account` makes a new vault, one from `enrol` opens an existing one, with its
    passphrase or its recovery kit (--kit).
    """
    invocation: Invocation = ctx.obj
    enrolment_code = EnrolmentCode.parse(code)
    vaults = _which(enrolment_code, new=new, existing=existing)
    enrolment = Enrolment(
        enrolment_code,
        (name or device_name_of_host())[:100],
        invocation.reach.server or url,
        ca_file=str(Path(invocation.reach.ca_file).absolute()) if invocation.reach.ca_file else "",
        insecure=invocation.reach.plain is PlainHttp.ANYWHERE,
    )
    if kit_file is not None and vaults is Vaults.EXISTING:
        raise UsageError(
            "--kit-file goes with a new vault", advice="`muniment keys recovery-kit` makes a further kit."
        )
    if kit_file is not None:
        refuse_unwritable(kit_file)
    holder = _holder(invocation) if vaults is Vaults.EXISTING else None
    passphrase = ask_new_passphrase() if vaults is Vaults.NEW else ""
    server = invocation.reach.open(url, key_hash=enrolment_code.server_key_hash, pinned=enrolment_code.pinned)
    try:
        info = greet(server, key_hash=enrolment_code.server_key_hash)
        if warning := clock_warning(info.time, now=time.time()):
            invocation.output.warn(warning)
        if holder is None:
            connected = connect_new(
                server, enrolment, config=invocation.config, passphrase=passphrase, now=time.time
            )
        else:
            wanted = VaultId.parse(invocation.vault) if invocation.vault else None
            connected = connect_existing(
                server, enrolment, config=invocation.config, holder=holder, vault=wanted, now=time.time
            )
    finally:
        server.close()
    if kit_file is not None and connected.kit is not None:
        wanted_file, kit_file = kit_file, write_kit_page(kit_file, connected.kit, made_at=time.time())
        if kit_file is None:
            invocation.output.warn(f"the kit could not be written to {wanted_file}; it is shown here only")
    _show(invocation, connected, kit_file)


def _which(code: EnrolmentCode, *, new: bool, existing: bool) -> Vaults:
    if new and existing:
        raise UsageError("--new and --existing exclude each other")
    if new or existing:
        return Vaults.NEW if new else Vaults.EXISTING
    return Vaults.NEW if code.new_vault else Vaults.EXISTING


def _holder(invocation: Invocation) -> Holder:
    kit = invocation.asked_kit()
    return Holder(kit=kit) if kit is not None else Holder(passphrase=ask_passphrase())


def _show(invocation: Invocation, connected: Connected, kit_file: Path | None) -> None:
    connection = connected.connection
    kit = connected.kit.text() if connected.kit else None
    document = {
        "vault": connection.vault.hex,
        "device": connection.device.hex,
        "name": connection.device_name,
        "recovery_kit": kit,
        "kit_file": str(kit_file.absolute()) if kit_file and kit else None,
        "newest_snapshot": connected.newest.snapshot.hex if connected.newest else None,
    }
    lines = [f"This machine is connected as {connection.device_name!r}."]
    if kit is not None:
        lines += [
            "",
            "This is the recovery kit. With it alone, everything can be restored on any machine.",
            "Keep it away from this machine. Whoever has it can read the vault.",
            "",
            *_groups(kit),
            "",
            f"It is also in {kit_file}, to print."
            if kit_file
            else "`muniment keys recovery-kit` prints a page.",
            "Without passphrase and kit, nobody can open the vault: not the operator, not us.",
        ]
    elif connected.newest is not None:
        seen = human_time(connected.newest.head.started_ns / 1e9)
        lines += [
            f"The vault's newest snapshot is of {seen}, code {connected.newest.snapshot.hex[:12]}.",
            "A machine that is new here cannot tell whether the server hides a newer one.",
            "Compare with `muniment snapshots` on another machine.",
        ]
    else:
        lines.append("The vault has no snapshot yet.")
    lines += ["", "Next: `muniment backup PATH`, then `muniment schedule on`."]
    invocation.output.result(document, lines)


def _groups(kit: str, *, per_line: int = 8) -> list[str]:
    groups = kit.split("-")
    return ["  " + "-".join(groups[at : at + per_line]) for at in range(0, len(groups), per_line)]
