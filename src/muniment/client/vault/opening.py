"""Opening a vault: from what the server gives, and a secret it never sees, to keys that can be believed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from muniment.client.home.keychain import DeviceSecrets
from muniment.client.state.database import Database
from muniment.client.state.known_heads import KnownHeads, OpenedHead, check_testimony
from muniment.client.transport.refusals import NotOnServer
from muniment.client.transport.server import Server
from muniment.client.vault.set_aside import SetAside, ShownHeads
from muniment.client.vault.slots import (
    SeenList,
    SlotListState,
    check_wrapped_slots,
    read_slot_list,
    withheld_ways_in,
)
from muniment.crypto.codes import RecoveryKit
from muniment.crypto.keys import VaultKeys
from muniment.crypto.slots import check_pin, slot_kind, unwrap_device, unwrap_kit, unwrap_passphrase
from muniment.format.head import open_head
from muniment.model.errors import (
    DamagedObject,
    MunimentError,
    NewerFormat,
    NotGranted,
    RollbackDetected,
    WrongSecret,
)
from muniment.model.ids import DeviceId, SetId, SlotId, SnapshotId, VaultId
from muniment.wire import messages as wire

_SEEN_LIST = "slot list"


@dataclass(frozen=True, slots=True)
class Seen:
    """What this machine had seen of a vault at one moment."""

    slot_list: SeenList | None
    heads: Mapping[tuple[DeviceId, SetId], tuple[int, SnapshotId]]

    @classmethod
    def by(cls, database: Database) -> Seen:
        return cls(_seen_list(database), KnownHeads(database).all())


@dataclass(frozen=True, slots=True)
class OpenVault:
    """A vault whose keys, slot list and newest heads have been verified. `device` is None with a kit."""

    server: Server
    keys: VaultKeys
    info: wire.VaultInfo
    slots: SlotListState
    heads: tuple[OpenedHead, ...]
    """The newest of each (device, set) that can be believed."""
    device: DeviceId | None = None
    database: Database | None = field(default=None, repr=False)
    due_removals: tuple[wire.SignedRemoval, ...] = ()
    """Removals of slots that the owner confirmed and whose delay is over, not yet folded into the list."""
    withheld: tuple[wire.SlotInfo, ...] = ()
    """Passphrases and kits that the list names and the server keeps back."""
    set_aside: tuple[SetAside, ...] = ()
    """What the server shows as newest heads of other devices and does not open."""

    @property
    def vault(self) -> VaultId:
        return self.keys.vault

    def newest_of(self, device: DeviceId, set_id: SetId) -> OpenedHead | None:
        for opened in self.heads:
            if opened.head.device == device and opened.head.set_id == set_id:
                return opened
        return None

    def newest_of_device(self, device: DeviceId) -> OpenedHead | None:
        own = [opened for opened in self.heads if opened.head.device == device]
        return max(own, key=lambda opened: opened.head.counter, default=None)


def open_as_device(
    server: Server, vault: VaultId, *, device: DeviceId, secrets: DeviceSecrets, database: Database
) -> OpenVault:
    """Open with this device's own slot. Whatever contradicts what was seen before stops here."""
    # Before the server is asked: a run beside this one may commit what the answer cannot show.
    seen = Seen.by(database)
    reply = _ask_for_keys(server, vault)
    keys = _open_own_slot(reply, vault, device=device, secrets=secrets)
    check_pin(keys, secrets.pin)
    slots, shown = examine(server, keys, reply, device=device, database=database, seen=seen)
    withheld = withheld_ways_in(keys, slots, reply)
    return OpenVault(
        server, keys, reply.vault, slots, shown.opened, device, database, tuple(reply.removals), withheld,
        shown.set_aside,
    )  # fmt: skip


def examine(
    server: Server,
    keys: VaultKeys,
    reply: wire.VaultKeys,
    *,
    device: DeviceId,
    database: Database,
    seen: Seen | None = None,
) -> tuple[SlotListState, ShownHeads]:
    """Slot list and newest heads, verified against themselves and what this machine has seen before.

    `seen`: what it had seen when `reply` was asked for; else what it has seen by now.
    """
    seen = seen or Seen.by(database)
    slots = read_slot_list(keys, reply.signed, seen=seen.slot_list)
    check_wrapped_slots(slots, reply.slots)
    shown = newest_that_open(server, keys, reply, own=device)
    check_first_sight(shown.opened, slots)
    known = KnownHeads(database)
    known.check(
        shown.opened,
        history=lambda after: heads_after(server, keys, after, own=device).opened,
        seen=seen.heads,
    )
    known.remember(shown.opened)
    remember_slots(database, slots)
    return slots, shown


def open_with_kit(server: Server, kit: RecoveryKit) -> OpenVault:
    """Open with nothing but a kit; `server` must carry the token of a kit session."""
    reply = server.keys(kit.vault)
    keys = unwrap_any(reply, kit.vault, kit=kit)
    check_pin(keys, kit.pin)
    slots = read_slot_list(keys, reply.signed, seen=None)
    check_wrapped_slots(slots, reply.slots)
    shown = newest_that_open(server, keys, reply, own=None)
    check_first_sight(shown.opened, slots)
    return OpenVault(server, keys, reply.vault, slots, shown.opened, set_aside=shown.set_aside)


def unwrap_any(
    reply: wire.VaultKeys, vault: VaultId, *, kit: RecoveryKit | None = None, passphrase: str | None = None
) -> VaultKeys:
    """The keys that a kit or a passphrase opens, whichever of the slots of that kind it fits."""
    wanted = "kit" if kit is not None else "passphrase"
    tried = False
    for slot in reply.slots:
        if slot_kind(slot.wrapped) != wanted:
            continue
        tried = True
        slot_id = SlotId.parse(slot.slot)
        try:
            if kit is not None:
                return unwrap_kit(slot.wrapped, vault=vault, slot=slot_id, code=kit.code)
            return unwrap_passphrase(slot.wrapped, vault=vault, slot=slot_id, passphrase=passphrase or "")
        except WrongSecret:
            continue
    if not tried:
        raise WrongSecret(
            f"the vault has no {'recovery kit' if kit else 'passphrase'} that the server would give out",
            advice="It may have been removed. `muniment keys list` on a connected machine tells.",
        )
    if kit is not None:
        raise WrongSecret(
            "this recovery kit does not open the vault", advice="It may have been replaced by a newer one."
        )
    raise WrongSecret("wrong passphrase", advice="Check capital letters and the keyboard, then try again.")


def open_heads(keys: VaultKeys, records: Iterable[wire.HeadRecord], *, own: DeviceId | None) -> ShownHeads:
    """Open each head. One that does not open, or that says other things than its record, is set aside where
    it came from another device: else whoever has one device's token could stop all others.

    Of `own` device it is a DamagedObject, or what else is wrong with it; None: no head is one's own.
    """
    opened: list[OpenedHead] = []
    aside: list[SetAside] = []
    for record in records:
        snapshot, device = _ids_of(record)
        try:
            opened.append(_open_record(keys, record, snapshot, device))
        except (DamagedObject, NewerFormat) as error:
            if device == own:
                raise
            aside.append(SetAside(snapshot, device, record.counter, record.received_at, error.message))
    return ShownHeads(tuple(opened), tuple(aside))


def newest_that_open(
    server: Server, keys: VaultKeys, reply: wire.VaultKeys, *, own: DeviceId | None
) -> ShownHeads:
    """The newest heads of `reply`; in the place of one that is set aside, the newest before it that opens.

    So the checks lose nothing: a head that was believed once, or that another head speaks of, has to be shown
    and to open for ever. Only what nobody has vouched for can be set aside.
    """
    shown = open_heads(keys, reply.heads, own=own)
    if not shown.set_aside:
        return shown
    doubted = {aside.device for aside in shown.set_aside}
    newest = {(opened.head.device, opened.head.set_id): opened for opened in shown.opened}
    before: dict[tuple[DeviceId, SetId], OpenedHead] = {}
    for opened in heads_after(server, keys, None, own=own).opened:
        place = (opened.head.device, opened.head.set_id)
        best = before.get(place)
        if place[0] in doubted and (best is None or best.head.counter < opened.head.counter):
            before[place] = opened
    return ShownHeads(tuple((before | newest).values()), shown.set_aside)


def heads_after(
    server: Server, keys: VaultKeys, after: SnapshotId | None, *, own: DeviceId | None
) -> ShownHeads:
    """Those received after a snapshot that this device has seen; all of them where it is None."""
    try:
        records = server.snapshots(keys.vault, after=after.hex if after else None)
        return open_heads(keys, records, own=own)
    except NotOnServer as error:
        raise RollbackDetected(
            f"the server no longer knows a snapshot that this device has seen ({error.message})",
            advice="Ask the operator whether the server was restored from an older backup.",
        ) from None


def check_first_sight(heads: Sequence[OpenedHead], slots: SlotListState) -> None:
    """Raise RollbackDetected where heads and list contradict one another: all that a machine which has never
    seen the vault can tell."""
    _check_slot_numbers(heads, slots)
    check_testimony(heads)


def remember_slots(database: Database, slots: SlotListState) -> None:
    content = slots.number.to_bytes(4) + slots.hash
    if database.get(_SEEN_LIST) != content:
        database.put(_SEEN_LIST, content)


# --- inside


def _ids_of(record: wire.HeadRecord) -> tuple[SnapshotId, DeviceId]:
    try:
        return SnapshotId.parse(record.snapshot), DeviceId.parse(record.device)
    except ValueError as error:
        raise DamagedObject("a snapshot's record", why=str(error)) from None


def _open_record(
    keys: VaultKeys, record: wire.HeadRecord, snapshot: SnapshotId, device: DeviceId
) -> OpenedHead:
    head = open_head(keys, record.head, expected=snapshot)
    agrees = (
        head.device == device
        and head.set_id.hex == record.set_id
        and head.counter == record.counter
        and head.partial == record.partial
    )
    if not agrees or head.set_id != keys.set_id(head.device, head.set_name):
        raise DamagedObject(f"snapshot {record.snapshot[:12]}", why="the server tells other things of it")
    return OpenedHead(snapshot, head, record.received_at)


def _ask_for_keys(server: Server, vault: VaultId) -> wire.VaultKeys:
    reply = server.keys(vault)
    if reply.signed is None:
        # "You have no vault yet": never believed by a device that holds a pin.
        raise DamagedObject(
            "the list of key slots", why="the server shows none, and this device has seen one"
        )
    return reply


def _open_own_slot(
    reply: wire.VaultKeys, vault: VaultId, *, device: DeviceId, secrets: DeviceSecrets
) -> VaultKeys:
    """Nothing says yet which slot is ours in a way that can be believed, so each device slot is tried."""
    altered: MunimentError | None = None
    for slot in reply.slots:
        try:
            if slot_kind(slot.wrapped) != "device":
                continue
            return unwrap_device(
                slot.wrapped, vault=vault, slot=SlotId.parse(slot.slot), private_key=secrets.private_key
            )
        except WrongSecret:
            continue
        except (DamagedObject, ValueError) as error:
            altered = altered or DamagedObject("a key slot", why=str(error))
    if altered is not None:
        raise altered
    raise NotGranted(
        f"the vault has no key slot for this device ({device.hex[:8]}): it was removed, or is withheld",
        advice="If that is not meant: connect again, with a code and the passphrase or recovery kit.",
    )


def _seen_list(database: Database) -> SeenList | None:
    raw = database.get(_SEEN_LIST)
    if raw is None or len(raw) != 4 + hashlib.sha256().digest_size:
        return None
    return SeenList(int.from_bytes(raw[:4]), raw[4:])


def _check_slot_numbers(heads: Iterable[OpenedHead], slots: SlotListState) -> None:
    """Heads say which slot list their maker saw: an older one, or another of that number, is a rollback."""
    for opened in heads:
        number, digest = opened.head.slot_list_number, opened.head.slot_list_hash
        if number > slots.number or (number == slots.number and digest != slots.hash):
            raise RollbackDetected(
                "the server shows an older list of the key slots than a snapshot was made under",
                advice="Ask the operator whether the server was restored from an older backup.",
            )
