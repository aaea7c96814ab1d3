"""`muniment devices …` and `muniment events`."""

from __future__ import annotations

from typing import Annotated

import typer

from muniment.client.cli.invocation import Invocation
from muniment.client.telling.output import human_time, iso_time, table
from muniment.model.errors import NeedsOwnerConfirmation, UsageError
from muniment.wire import messages as wire

app = typer.Typer(help="Machines of the vault.", no_args_is_help=True, add_completion=False)


@app.command("list")
def list_devices(ctx: typer.Context) -> None:
    """List the machines of the vault.

    Those that were connected once are there, too.
    """
    invocation: Invocation = ctx.obj
    connection = invocation.connection()
    with invocation.open_server(connection) as server:
        devices = server.devices(connection.vault).devices
    rows = [
        (
            device.device[:12],
            device.name + (" (this machine)" if device.this else ""),
            human_time(device.enrolled_at),
            human_time(device.last_seen_at) if device.last_seen_at else "never",
            f"revoked {human_time(device.revoked_at)}" if device.revoked_at else "",
        )
        for device in devices
    ]
    documents = [
        {
            "device": device.device,
            "name": device.name,
            "enrolled": iso_time(device.enrolled_at),
            "last_seen": iso_time(device.last_seen_at) if device.last_seen_at else None,
            "revoked": iso_time(device.revoked_at) if device.revoked_at else None,
            "this": device.this,
        }
        for device in devices
    ]
    lines = table(rows, heads=("device", "name", "connected", "last seen", ""))
    invocation.output.result(documents, lines)


@app.command()
def revoke(
    ctx: typer.Context,
    device: Annotated[str, typer.Argument(help="Its name, its id, or the id's beginning.", metavar="DEVICE")],
) -> None:
    """Ask for a machine to be shut out.

    Exits 4: the owner has to confirm it; then it acts at once.
    """
    invocation: Invocation = ctx.obj
    connection = invocation.connection()
    with invocation.open_vault() as vault:
        devices = [info for info in vault.server.devices(vault.vault).devices if info.revoked_at is None]
        fitting = [info for info in devices if device in (info.name, info.device)]
        if not fitting and len(device) >= 4:
            fitting = [info for info in devices if info.device.startswith(device.lower())]
        if len(fitting) != 1:
            which = "no machine is" if not fitting else "more than one machine is"
            raise UsageError(f"{which} called {device!r}", advice="See `muniment devices list`.")
        gone = fitting[0]
        added = [
            slot for slot in vault.slots.slots if slot.added_by == gone.device and slot.device != gone.device
        ]
        if gone.this:
            invocation.output.warn("that is this machine: once confirmed, it can neither back up nor restore")
        request = wire.AskConfirmation(action="revoke_device", subject=gone.device)
        try:
            vault.server.ask_confirmation(connection.vault, request)
        except NeedsOwnerConfirmation as pending:
            for slot in added:
                invocation.output.note(f"It added the slot {slot.slot[:12]} ({slot.kind}, {slot.label}).")
            if added:
                invocation.output.note("Revoke those with `muniment keys revoke` if you do not trust them.")
            raise NeedsOwnerConfirmation(pending.request) from None


def events(
    ctx: typer.Context,
    after: Annotated[
        int, typer.Option("--after", help="Only those after this number.", min=0, metavar="N")
    ] = 0,
) -> None:
    """What happened to the vault: enrolments, key slots, kit uses, restores, commits."""
    invocation: Invocation = ctx.obj
    connection = invocation.connection()
    with invocation.open_server(connection) as server:
        names = {info.device: info.name for info in server.devices(connection.vault).devices}
        found = list(server.events(connection.vault, after=after))
    rows = [
        (
            str(event.number),
            human_time(event.at),
            event.kind.replace("_", " "),
            names.get(event.device or "", event.device or ""),
            " ".join(f"{key}={value[:24]}" for key, value in sorted(event.detail.items())),
        )
        for event in found
    ]
    documents = [
        {
            "number": event.number,
            "time": iso_time(event.at),
            "kind": event.kind,
            "device": event.device,
            "name": names.get(event.device or ""),
            "detail": event.detail,
        }
        for event in found
    ]
    lines = table(rows, heads=("no", "time", "what", "machine", ""), right=(0,))
    invocation.output.result(documents, lines if rows else ["Nothing yet."])
