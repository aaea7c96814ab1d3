"""Connecting this machine: enrol it, then make a vault or open one that exists.

It never makes a key because a server says there is none: which of the two happens, the code or a flag says.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum

from muniment.client.enrol.enrolment import EnrolledDevice, Enrolment, enrol
from muniment.client.home.config import Config, Connection
from muniment.client.home.keychain import DeviceSecrets, keep
from muniment.client.home.locks import changing_config
from muniment.client.state.database import Database, machine_identity
from muniment.client.state.known_heads import OpenedHead
from muniment.client.transport.server import Server
from muniment.client.vault.holders import register_kit
from muniment.client.vault.opening import examine, remember_slots, unwrap_any
from muniment.client.vault.slots import SlotListState, add_slots, slot_info
from muniment.crypto.codes import RecoveryKit
from muniment.crypto.keys import VaultKeys
from muniment.crypto.slots import check_pin, wrap_device, wrap_kit, wrap_passphrase
from muniment.model.ids import DeviceId, SlotId, VaultId
from muniment.wire import messages as wire


class Vaults(Enum):
    """Whether connecting makes a vault or opens one."""

    NEW = "new"
    EXISTING = "existing"


@dataclass(frozen=True, slots=True)
class Connected:
    """`kit` is there for a new vault only. `newest`: the newest snapshot that an existing vault shows."""

    connection: Connection
    keys: VaultKeys
    kit: RecoveryKit | None
    newest: OpenedHead | None


@dataclass(frozen=True, slots=True)
class Holder:
    """What opens an existing vault: a kit, or a passphrase."""

    passphrase: str | None = None
    kit: RecoveryKit | None = None


def device_name_of_host() -> str:
    return (socket.gethostname().split(".")[0] or "this machine")[:100]


def connect_new(
    server: Server, enrolment: Enrolment, *, config: Config, passphrase: str, now: Callable[[], float]
) -> Connected:
    """Enrol and make a vault with three holders: passphrase, recovery kit, this device."""
    enrolled = enrol(server, enrolment, home=config.home)
    vault, server = enrolled.new_vault, server.with_token(enrolled.token)
    server.create_vault(wire.CreateVault(vault=vault.hex))
    reply = server.keys(vault)
    with _open_state(config, vault) as database:
        if reply.signed is None:
            keys, state = VaultKeys.generate(vault), SlotListState()
        else:
            # An earlier try came this far and was cut short: what it made is ours if our passphrase opens it.
            keys = unwrap_any(reply, vault, passphrase=passphrase)
            state, _ = examine(server, keys, reply, device=enrolled.device, database=database)
        kit = RecoveryKit.make(
            keys,
            server=enrolment.url,
            server_key_hash=enrolment.code.server_key_hash,
            pinned=enrolment.code.pinned,
        )
        kit_slot, own_slot = SlotId.random(), SlotId.random()
        added = _Additions(enrolled.device, now())
        if not state.number:
            slot = SlotId.random()
            added.add(slot, wrap_passphrase(keys, slot, passphrase), kind="passphrase", label="passphrase")
        added.add(kit_slot, wrap_kit(keys, kit_slot, kit.code), kind="kit", label="recovery kit")
        added.add_device(own_slot, wrap_device(keys, own_slot, enrolled.public_key), enrolment.device_name)
        state = add_slots(server, keys, state, added.slots)
        register_kit(server, kit, kit_slot)
        remember_slots(database, state)
    connection = _keep(config, enrolment, enrolled, keys)
    return Connected(connection, keys, kit, None)


def connect_existing(
    server: Server,
    enrolment: Enrolment,
    *,
    config: Config,
    holder: Holder,
    vault: VaultId | None,
    now: Callable[[], float],
) -> Connected:
    """Enrol, open the vault with passphrase or kit, and add a slot for this device."""
    enrolled = enrol(server, enrolment, home=config.home)
    wanted = enrolled.choose(holder.kit.vault if holder.kit else vault)
    server = server.with_token(enrolled.token)
    reply = server.keys(wanted)
    keys = unwrap_any(reply, wanted, kit=holder.kit, passphrase=holder.passphrase)
    if holder.kit is not None:
        check_pin(keys, holder.kit.pin)
    with _open_state(config, wanted) as database:
        state, shown = examine(server, keys, reply, device=enrolled.device, database=database)
        slot = SlotId.random()
        added = _Additions(enrolled.device, now())
        added.add_device(slot, wrap_device(keys, slot, enrolled.public_key), enrolment.device_name)
        state = add_slots(server, keys, state, added.slots)
        remember_slots(database, state)
    connection = _keep(config, enrolment, enrolled, keys)
    newest = max(shown.opened, key=lambda opened: opened.received_at, default=None)
    return Connected(connection, keys, None, newest)


# --- inside


@dataclass(slots=True)
class _Additions:
    """Slots that this device adds."""

    device: DeviceId
    at: float
    slots: dict[SlotId, tuple[bytes, wire.SlotInfo]] = field(default_factory=dict)

    def add(self, slot: SlotId, wrapped: bytes, *, kind: str, label: str, device: str | None = None) -> None:
        info = slot_info(
            slot,
            wrapped,
            kind=kind,
            label=label,
            added_by=self.device.hex,
            added_at=self.at,
            device=device,
        )
        self.slots[slot] = (wrapped, info)

    def add_device(self, slot: SlotId, wrapped: bytes, name: str) -> None:
        self.add(slot, wrapped, kind="device", label=name, device=self.device.hex)


def _keep(config: Config, enrolment: Enrolment, enrolled: EnrolledDevice, keys: VaultKeys) -> Connection:
    secrets = DeviceSecrets(enrolled.token, enrolled.private_key, keys.fingerprint)
    where = keep(secrets, home=config.home, vault=keys.vault)
    connection = Connection(
        vault=keys.vault,
        server=enrolment.url,
        device=enrolled.device,
        device_name=enrolment.device_name,
        server_key_hash=enrolment.code.server_key_hash,
        pinned=enrolment.code.pinned,
        insecure=enrolment.insecure,
        ca_file=enrolment.ca_file,
        credentials=where,
    )
    with changing_config(config.home):
        latest = Config.load(config.home)
        known = latest.connections.get(keys.vault)
        if known is not None:
            connection = replace(connection, sets=known.sets, schedule=known.schedule)
        latest.with_connection(connection).save()
    enrolled.settle()
    return connection


@contextmanager
def _open_state(config: Config, vault: VaultId) -> Iterator[Database]:
    database = Database(config.home.database_of(vault), machine=machine_identity())
    try:
        yield database
    finally:
        database.close()
