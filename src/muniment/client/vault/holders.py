"""Changing who can open the vault: further kits, another passphrase, removals that the owner must confirm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from muniment.client.home.config import Connection
from muniment.client.transport.server import Server
from muniment.client.vault.opening import OpenVault, remember_slots
from muniment.client.vault.slots import (
    SlotListState,
    add_slots,
    fold_removal,
    read_removal,
    sign_removal,
    slot_info,
)
from muniment.crypto.codes import RecoveryKit
from muniment.crypto.slots import wrap_kit, wrap_passphrase
from muniment.model.errors import NeedsOwnerConfirmation, UsageError
from muniment.model.ids import SlotId
from muniment.wire import messages as wire


@dataclass(frozen=True, slots=True)
class RemovalAsked:
    """A slot that goes once the owner confirms `request`. `before`: an earlier call had asked for it."""

    request: str
    slot: wire.SlotInfo
    before: bool


@dataclass(frozen=True, slots=True)
class Holders:
    """The slots of an open vault, changed on behalf of this device. `now`: seconds since the epoch."""

    vault: OpenVault
    connection: Connection
    now: Callable[[], float]

    def add_kit(self) -> RecoveryKit:
        """Make a further recovery kit. Older ones keep working until they are revoked."""
        kit = RecoveryKit.make(
            self.vault.keys,
            server=self.connection.server,
            server_key_hash=self.connection.server_key_hash,
            pinned=self.connection.pinned,
        )
        slot = SlotId.random()
        self._add(slot, wrap_kit(self.vault.keys, slot, kit.code), kind="kit", label="recovery kit")
        register_kit(self.vault.server, kit, slot)
        return kit

    def change_passphrase(self, passphrase: str) -> list[RemovalAsked]:
        """Add the new passphrase now; ask for removal of the old ones. Returns what is to be confirmed."""
        old = [info for info in self.vault.slots.slots if info.kind == "passphrase"]
        slot = SlotId.random()
        wrapped = wrap_passphrase(self.vault.keys, slot, passphrase)
        state = self._add(slot, wrapped, kind="passphrase", label="passphrase")
        before = {request.request for request in self.vault.server.confirmations(self.vault.vault).requests}
        asked = [(self._ask_removal(SlotId.parse(info.slot), state), info) for info in old]
        return [RemovalAsked(request, info, request in before) for request, info in asked]

    def revoke(self, slot_text: str) -> str:
        """Ask for a slot's removal; returns the request that the owner must confirm."""
        fitting = [info for info in self.vault.slots.slots if info.slot.startswith(slot_text.lower())]
        if len(fitting) != 1:
            which = "no key slot has" if not fitting else "more than one key slot has"
            raise UsageError(
                f"{which} an id that begins with {slot_text}", advice="See `muniment keys list`."
            )
        return self._ask_removal(SlotId.parse(fitting[0].slot), self.vault.slots)

    # --- inside

    def _add(self, slot: SlotId, wrapped: bytes, *, kind: str, label: str) -> SlotListState:
        info = slot_info(
            slot,
            wrapped,
            kind=kind,
            label=label,
            added_by=self.connection.device.hex,
            added_at=self.now(),
        )
        state = add_slots(self.vault.server, self.vault.keys, self.vault.slots, {slot: (wrapped, info)})
        if self.vault.database is not None:
            remember_slots(self.vault.database, state)
        return state

    def _ask_removal(self, slot: SlotId, state: SlotListState) -> str:
        removal = sign_removal(self.vault.keys, slot, list_number=state.number, made_at=self.now())
        request = wire.AskConfirmation(action="remove_slot", subject=slot.hex, removal=removal)
        try:
            self.vault.server.ask_confirmation(self.vault.vault, request)
        except NeedsOwnerConfirmation as pending:
            return pending.request
        raise AssertionError("the server always answers that the owner must confirm")


def register_kit(server: Server, kit: RecoveryKit, slot: SlotId) -> None:
    """Let the kit's credential read the vault; the server keeps only its hash."""
    server.register_kit(kit.vault, wire.RegisterKit(slot=slot.hex, credential_hash=kit.credential_hash()))


def fold_due_removals(vault: OpenVault) -> OpenVault:
    """Take slots out of the list whose removal was confirmed and is due: whoever holds the key does it."""
    state = vault.slots
    for removal in vault.due_removals:
        slot = SlotId.parse(read_removal(vault.keys, removal).slot)
        if state.slot(slot) is not None:
            state = fold_removal(vault.server, vault.keys, state, removal, gone=slot)
    if vault.database is not None and state is not vault.slots:
        remember_slots(vault.database, state)
    return replace(vault, slots=state, due_removals=())
