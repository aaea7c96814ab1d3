"""The list of key slots: read with distrust, changed by compare-and-swap.

The list is made by holders of the vault key and authenticated under it; the server only keeps it. It is
numbered and chained, so a server that shows an older or another list than this device has seen is found out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from muniment.client.telling.output import human_time
from muniment.client.transport.refusals import SlotConflict
from muniment.client.transport.server import Server
from muniment.crypto.keys import VaultKeys
from muniment.model.errors import DamagedObject, RollbackDetected
from muniment.model.ids import SlotId
from muniment.wire import messages as wire

WAYS_IN = frozenset({"passphrase", "kit"})
"""Kinds of slots that open the vault without any machine: what remains after a loss."""

_TRIES = 5
_ADVICE = "Ask the operator whether the server was restored from an older backup. Nothing was changed."


@dataclass(frozen=True, slots=True)
class SlotListState:
    """A list that was authenticated, and its hash; number 0 and an empty hash where there is none yet."""

    slots: tuple[wire.SlotInfo, ...] = ()
    removals: tuple[wire.SignedRemoval, ...] = ()
    number: int = 0
    hash: bytes = b""

    def slot(self, slot: SlotId) -> wire.SlotInfo | None:
        return next((info for info in self.slots if info.slot == slot.hex), None)


@dataclass(frozen=True, slots=True)
class SeenList:
    """Number and hash of the newest list this device has seen."""

    number: int
    hash: bytes


def read_slot_list(
    keys: VaultKeys, signed: wire.SignedSlotList | None, *, seen: SeenList | None
) -> SlotListState:
    """The list that the server shows; DamagedObject or RollbackDetected where it cannot be the newest one."""
    if signed is None:
        raise DamagedObject("the list of key slots", why="the server shows none")
    keys.verify_mac(signed.body, signed.mac, epoch=keys.newest_epoch)
    try:
        body = msgspec.msgpack.decode(signed.body, type=wire.SlotList)
    except msgspec.DecodeError as error:
        raise DamagedObject("the list of key slots", why=str(error)) from None
    if body.vault != keys.vault.hex or body.number < 1:
        raise DamagedObject("the list of key slots", why="it is that of another vault")
    for removal in body.removals:
        keys.verify_mac(removal.record, removal.mac, epoch=keys.newest_epoch)
    state = SlotListState(
        tuple(body.slots), tuple(body.removals), body.number, hashlib.sha256(signed.body).digest()
    )
    if seen is not None:
        _check_against_seen(state, previous=body.previous, seen=seen)
    return state


def _check_against_seen(state: SlotListState, *, previous: bytes, seen: SeenList) -> None:
    if state.number < seen.number:
        raise RollbackDetected(
            f"the server shows list {state.number} of the key slots; this device has seen list {seen.number}",
            advice=_ADVICE,
        )
    same = state.number == seen.number and state.hash != seen.hash
    next_one = state.number == seen.number + 1 and previous != seen.hash
    if same or next_one:
        raise RollbackDetected("the server shows another list of the key slots than before", advice=_ADVICE)


def check_wrapped_slots(state: SlotListState, wrapped: Sequence[wire.WrappedSlot]) -> Mapping[SlotId, bytes]:
    """The wrapped keys that the list vouches for; DamagedObject when one was replaced or planted."""
    digests = {info.slot: info.digest for info in state.slots}
    for slot in wrapped:
        if digests.get(slot.slot) != hashlib.sha256(slot.wrapped).digest():
            raise DamagedObject(f"key slot {slot.slot}", why="it is not the one that the list of slots names")
    return {SlotId.parse(slot.slot): slot.wrapped for slot in wrapped}


def withheld_ways_in(
    keys: VaultKeys, state: SlotListState, reply: wire.VaultKeys
) -> tuple[wire.SlotInfo, ...]:
    """Passphrases and kits of the list whose wrapped keys are not in the reply to a device, though no holder
    of the key asked for their removal. Whoever has nothing else left would stand before a locked vault."""
    given = {slot.slot for slot in reply.slots}
    removed = {read_removal(keys, removal).slot for removal in reply.removals}
    return tuple(info for info in state.slots if info.kind in WAYS_IN and info.slot not in given | removed)


def describe_withheld(info: wire.SlotInfo) -> str:
    return (
        f"the server no longer gives out the {info.label} of {human_time(info.added_at)} (key slot "
        f"{info.slot[:12]}), and nobody asked for its removal: it would not open the vault"
    )


def slot_info(
    slot: SlotId,
    wrapped: bytes,
    *,
    kind: str,
    label: str,
    added_by: str,
    added_at: float,
    device: str | None = None,
    epoch: int = 0,
) -> wire.SlotInfo:
    return wire.SlotInfo(
        slot=slot.hex,
        kind=kind,  # type: ignore[arg-type]  # one of the literals, by construction
        label=label,
        device=device,
        added_by=added_by,
        added_at=added_at,
        digest=hashlib.sha256(wrapped).digest(),
        epoch=epoch,
    )


def add_slots(
    server: Server,
    keys: VaultKeys,
    current: SlotListState,
    additions: Mapping[SlotId, tuple[bytes, wire.SlotInfo]],
) -> SlotListState:
    """Store wrapped keys, then list them; repeated on a list that someone else changed meanwhile."""
    for slot, (wrapped, _) in additions.items():
        server.put_slot(keys.vault, slot, wrapped)
    infos = [info for _, info in additions.values()]
    for attempt in range(_TRIES):
        fresh = [info for info in infos if current.slot(SlotId.parse(info.slot)) is None]
        if not fresh:
            return current
        try:
            return _put_list(server, keys, current, slots=[*current.slots, *fresh], removals=current.removals)
        except SlotConflict:
            if attempt == _TRIES - 1:
                raise
            seen = SeenList(current.number, current.hash) if current.number else None
            current = read_slot_list(keys, server.keys(keys.vault).signed, seen=seen)
    raise AssertionError("unreachable")


def fold_removal(
    server: Server, keys: VaultKeys, current: SlotListState, removal: wire.SignedRemoval, *, gone: SlotId
) -> SlotListState:
    """Take a slot out of the list, its removal having been confirmed and become effective."""
    slots = [info for info in current.slots if info.slot != gone.hex]
    return _put_list(server, keys, current, slots=slots, removals=[*current.removals, removal])


def sign_removal(keys: VaultKeys, slot: SlotId, *, list_number: int, made_at: float) -> wire.SignedRemoval:
    record = wire.RemovalRecord(vault=keys.vault.hex, slot=slot.hex, list_number=list_number, made_at=made_at)
    body = msgspec.msgpack.encode(record)
    return wire.SignedRemoval(record=body, mac=keys.mac(body, epoch=keys.newest_epoch))


def read_removal(keys: VaultKeys, removal: wire.SignedRemoval) -> wire.RemovalRecord:
    keys.verify_mac(removal.record, removal.mac, epoch=keys.newest_epoch)
    try:
        record = msgspec.msgpack.decode(removal.record, type=wire.RemovalRecord)
    except msgspec.DecodeError as error:
        raise DamagedObject("a removal record", why=str(error)) from None
    if record.vault != keys.vault.hex:
        raise DamagedObject("a removal record", why="it is that of another vault")
    return record


def _put_list(
    server: Server,
    keys: VaultKeys,
    current: SlotListState,
    *,
    slots: Sequence[wire.SlotInfo],
    removals: Sequence[wire.SignedRemoval],
) -> SlotListState:
    body = msgspec.msgpack.encode(
        wire.SlotList(
            vault=keys.vault.hex,
            number=current.number + 1,
            previous=current.hash,
            slots=list(slots),
            removals=list(removals),
        )
    )
    signed = wire.SignedSlotList(body=body, mac=keys.mac(body, epoch=keys.newest_epoch))
    server.put_slot_list(
        keys.vault,
        wire.PutSlotList(expected_number=current.number, expected_hash=current.hash, signed=signed),
    )
    return SlotListState(tuple(slots), tuple(removals), current.number + 1, hashlib.sha256(body).digest())
