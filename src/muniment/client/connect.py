"""Connecting this machine: enrol it, then make a vault or open one that exists.

It never makes a key because a server says there is none: which of the two happens, the code or a flag says.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from muniment.client.config import Config, Connection
from muniment.client.keychain import DeviceSecrets, keep
from muniment.client.slots import SlotListState, add_slots, check_wrapped_slots, read_slot_list, slot_info
from muniment.client.state.database import Database, machine_identity
from muniment.client.state.known_heads import KnownHeads, OpenedHead
from muniment.client.transport.server import Server
from muniment.client.vault import check_first_sight, open_heads, remember_slots, unwrap_any
from muniment.crypto.codes import RecoveryKit
from muniment.crypto.keys import VaultKeys
from muniment.crypto.slots import check_pin, new_device_key, wrap_device, wrap_kit, wrap_passphrase
from muniment.model.codes import EnrolmentCode
from muniment.model.errors import NotGranted, UsageError
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


@dataclass(frozen=True, slots=True)
class Enrolment:
    """One-time code, the machine's name, and where the server is."""

    code: EnrolmentCode
    device_name: str
    url: str
    ca_file: str = ""
    insecure: bool = False


def device_name_of_host() -> str:
    return (socket.gethostname().split(".")[0] or "this machine")[:100]


def connect_new(
    server: Server, enrolment: Enrolment, *, config: Config, passphrase: str, now: Callable[[], float]
) -> Connected:
    """Enrol and make a vault with three holders: passphrase, recovery kit, this device."""
    device_key, public_key, enrolled = _enrol(server, enrolment)
    vault = VaultId.parse(enrolled.vaults[0].vault) if len(enrolled.vaults) == 1 else VaultId.random()
    keys = VaultKeys.generate(vault)
    device_secrets = DeviceSecrets(enrolled.token, device_key, keys.fingerprint)
    # Kept before anything can fail: the code is spent, and a repeat must find token and key.
    connection = _keep(config, enrolment, enrolled, vault, device_secrets)
    server = server.with_token(enrolled.token)
    server.create_vault(wire.CreateVault(vault=vault.hex))
    kit = RecoveryKit.make(
        keys,
        server=enrolment.url,
        server_key_hash=enrolment.code.server_key_hash,
        pinned=enrolment.code.pinned,
    )
    at, by = now(), enrolled.device
    slots = [SlotId.random() for _ in range(3)]
    wrapped = [
        wrap_passphrase(keys, slots[0], passphrase),
        wrap_kit(keys, slots[1], kit.code),
        wrap_device(keys, slots[2], public_key),
    ]
    name = enrolment.device_name
    infos = [
        slot_info(slots[0], wrapped[0], kind="passphrase", label="passphrase", added_by=by, added_at=at),
        slot_info(slots[1], wrapped[1], kind="kit", label="recovery kit", added_by=by, added_at=at),
        slot_info(slots[2], wrapped[2], kind="device", label=name, added_by=by, added_at=at, device=by),
    ]
    state = add_slots(
        server,
        keys,
        SlotListState(),
        {slot: (content, info) for slot, content, info in zip(slots, wrapped, infos, strict=True)},
    )
    register_kit(server, kit, slots[1])
    _begin_state(config, vault, state, ())
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
    device_key, public_key, enrolled = _enrol(server, enrolment)
    wanted = _choose_vault(enrolled, holder.kit.vault if holder.kit else vault)
    server = server.with_token(enrolled.token)
    # Kept at once, with no pin yet that anything could open: the code is spent now.
    pending = DeviceSecrets(enrolled.token, device_key, holder.kit.pin if holder.kit else bytes(16))
    _keep(config, enrolment, enrolled, wanted, pending)
    reply = server.keys(wanted)
    keys = unwrap_any(reply, wanted, kit=holder.kit, passphrase=holder.passphrase)
    if holder.kit is not None:
        check_pin(keys, holder.kit.pin)
    state = read_slot_list(keys, reply.signed, seen=None)
    check_wrapped_slots(state, reply.slots)
    heads = open_heads(keys, reply.heads)
    check_first_sight(heads, state)
    slot = SlotId.random()
    wrapped = wrap_device(keys, slot, public_key)
    info = slot_info(
        slot,
        wrapped,
        kind="device",
        label=enrolment.device_name,
        added_by=enrolled.device,
        added_at=now(),
        device=enrolled.device,
    )
    state = add_slots(server, keys, state, {slot: (wrapped, info)})
    device_secrets = DeviceSecrets(enrolled.token, device_key, keys.fingerprint)
    connection = _keep(config, enrolment, enrolled, wanted, device_secrets)
    _begin_state(config, wanted, state, heads)
    newest = max(heads, key=lambda opened: opened.received_at, default=None)
    return Connected(connection, keys, None, newest)


def register_kit(server: Server, kit: RecoveryKit, slot: SlotId) -> None:
    """Let the kit's credential read the vault; the server keeps only its hash."""
    server.register_kit(kit.vault, wire.RegisterKit(slot=slot.hex, credential_hash=kit.credential_hash()))


# --- inside


def _enrol(server: Server, enrolment: Enrolment) -> tuple[bytes, bytes, wire.Enrolled]:
    private, public = new_device_key()
    request = wire.EnrolRequest(
        secret=enrolment.code.secret, device_name=enrolment.device_name, public_key=public
    )
    return private, public, server.enrol(request)


def _choose_vault(enrolled: wire.Enrolled, wanted: VaultId | None) -> VaultId:
    offered = [VaultId.parse(info.vault) for info in enrolled.vaults]
    if wanted is not None:
        if wanted not in offered:
            raise NotGranted(f"the code gives no access to vault {wanted}")
        return wanted
    if not offered:
        raise UsageError(
            "the account has no vault yet",
            advice="Use --new to make one, if this is the account's first machine.",
        )
    if len(offered) > 1:
        names = ", ".join(str(vault) for vault in offered)
        raise UsageError("the account has several vaults", advice=f"Name one with --vault: {names}")
    return offered[0]


def _keep(
    config: Config, enrolment: Enrolment, enrolled: wire.Enrolled, vault: VaultId, own: DeviceSecrets
) -> Connection:
    where = keep(own, home=config.home, vault=vault)
    known = config.connections.get(vault)
    connection = Connection(
        vault=vault,
        server=enrolment.url,
        device=DeviceId.parse(enrolled.device),
        device_name=enrolment.device_name,
        server_key_hash=enrolment.code.server_key_hash,
        pinned=enrolment.code.pinned,
        insecure=enrolment.insecure,
        ca_file=enrolment.ca_file,
        credentials=where,
        sets=known.sets if known else {},
        schedule=known.schedule if known else {},
    )
    config.with_connection(connection).save()
    return connection


def _begin_state(config: Config, vault: VaultId, state: SlotListState, heads: tuple[OpenedHead, ...]) -> None:
    database = Database(config.home.database_of(vault), machine=machine_identity())
    try:
        remember_slots(database, state)
        KnownHeads(database).remember(heads)
    finally:
        database.close()
