"""`muniment keys …`: who can open the vault."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from muniment.client.cli.invocation import Invocation
from muniment.client.enrol.kit_page import refuse_unwritable, write_kit_page
from muniment.client.enrol.passphrases import ask_kit, ask_new_passphrase
from muniment.client.telling.output import human_time, iso_time, table
from muniment.client.vault.holders import Holders, fold_due_removals
from muniment.client.vault.opening import OpenVault
from muniment.client.vault.snapshots import device_label
from muniment.model.errors import NeedsOwnerConfirmation, UsageError
from muniment.model.ids import DeviceId, SlotId

app = typer.Typer(help="Who can open the vault.", no_args_is_help=True, add_completion=False)

KitFile = Annotated[
    Path | None, typer.Option("--kit-file", help="Write the kit here, as a page to print.", metavar="FILE")
]

_LEAKED = "Changing holders never undoes an earlier leak: whoever copied the key before can still read."


@app.command("list")
def list_slots(ctx: typer.Context) -> None:
    """List the key slots.

    They are passphrases, recovery kits and machines.
    """
    invocation: Invocation = ctx.obj
    with invocation.open_vault() as vault:
        vault = fold_due_removals(vault)
        rows = [
            (
                info.slot[:12],
                info.kind,
                info.label,
                human_time(info.added_at),
                device_label(vault, DeviceId.parse(info.added_by)),
            )
            for info in vault.slots.slots
        ]
        documents = [
            {
                "slot": info.slot,
                "kind": info.kind,
                "label": info.label,
                "device": info.device,
                "added": iso_time(info.added_at),
                "added_by": info.added_by,
            }
            for info in vault.slots.slots
        ]
    lines = table(rows, heads=("slot", "kind", "label", "added", "by"))
    invocation.output.result(documents, lines)


@app.command("change-passphrase")
def change_passphrase(ctx: typer.Context) -> None:
    """Add a new passphrase, retire the old one.

    The new one works at once; removing the old one waits for the owner. The new one comes from
    MUNIMENT_NEW_PASSPHRASE (or the same with _FILE or _COMMAND), else it is asked.
    """
    invocation: Invocation = ctx.obj
    passphrase = ask_new_passphrase("MUNIMENT_NEW_PASSPHRASE")
    with invocation.open_vault() as vault:
        asked = _holders(invocation, vault).change_passphrase(passphrase)
    lines = ["The new passphrase opens the vault from now on."]
    for one in asked:
        since = "was asked for before" if one.before else "now waits for the owner"
        which = f"The one of {human_time(one.slot.added_at)} (slot {one.slot.slot[:12]})"
        lines.append(f"{which} works until it is removed, which {since}: request {one.request}")
    lines += [_LEAKED]
    removals = [{"request": one.request, "slot": one.slot.slot, "asked_before": one.before} for one in asked]
    requests = [one.request for one in asked]
    invocation.output.result({"changed": True, "requests": requests, "removals": removals}, lines)


@app.command("recovery-kit")
def recovery_kit(ctx: typer.Context, kit_file: KitFile = None) -> None:
    """Make a further recovery kit.

    Older ones keep working until they are revoked.
    """
    invocation: Invocation = ctx.obj
    if kit_file is not None:
        refuse_unwritable(kit_file)
    with invocation.open_vault() as vault:
        kit = _holders(invocation, vault).add_kit()
    if kit_file is not None:
        wanted_file, kit_file = kit_file, write_kit_page(kit_file, kit, made_at=time.time())
        if kit_file is None:
            invocation.output.warn(f"the kit could not be written to {wanted_file}; it is shown here only")
    document = {"recovery_kit": kit.text(), "kit_file": str(kit_file.absolute()) if kit_file else None}
    lines = ["A further recovery kit. Keep it away from this machine.", "", f"  {kit.text()}", ""]
    lines.append(
        f"It is also in {kit_file}, to print." if kit_file else "--kit-file F writes a page to print."
    )
    invocation.output.result(document, lines)


@app.command("test-kit")
def test_kit(ctx: typer.Context) -> None:
    """Prove that a recovery kit opens the vault.

    The kit: --kit, or MUNIMENT_RECOVERY_KIT.
    """
    invocation: Invocation = ctx.obj
    if invocation.asked_kit() is None:
        invocation.kit = ask_kit()
    with invocation.open_for_reading() as vault:
        newest = max(vault.heads, key=lambda opened: opened.received_at, default=None)
        document: dict[str, Any] = {
            "opens": True,
            "vault": vault.vault.hex,
            "newest_snapshot": newest.snapshot.hex if newest else None,
        }
        lines = [f"This kit opens vault {vault.vault.hex[:8]}."]
        if newest is not None:
            lines.append(
                f"Its newest snapshot is of {human_time(newest.head.started_ns / 1e9)}, "
                f"code {newest.snapshot.hex[:12]}."
            )
    invocation.output.result(document, lines)


@app.command()
def revoke(
    ctx: typer.Context,
    slot: Annotated[str, typer.Argument(help="Id of the slot, or its beginning.", metavar="SLOT")],
) -> None:
    """Ask for a slot's removal.

    Exits 4: the owner has to confirm it, then a delay passes.
    """
    invocation: Invocation = ctx.obj
    with invocation.open_vault() as vault:
        _refuse_unclear(vault, slot)
        request = _holders(invocation, vault).revoke(slot)
    invocation.output.note(_LEAKED)
    raise NeedsOwnerConfirmation(request)


def _refuse_unclear(vault: OpenVault, text: str) -> None:
    if len(text) < 4:
        raise UsageError("the slot's id is too short to be sure", advice="Give at least four digits.")
    own = next((info for info in vault.slots.slots if vault.device and info.device == vault.device.hex), None)
    if own is not None and own.slot.startswith(text.lower()) and vault.slots.slot(SlotId.parse(own.slot)):
        raise UsageError(
            "that is this machine's own slot", advice="Use `muniment devices revoke` from another machine."
        )


def _holders(invocation: Invocation, vault: OpenVault) -> Holders:
    return Holders(fold_due_removals(vault), invocation.connection(), time.time)
