"""Key slots and the numbered, chained list of them. Slots are written once and never replaced."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import msgspec
from django.db.models import QuerySet

from muniment.server.accounts.models import Device
from muniment.server.deployment import Deployment
from muniment.server.refusals import Refusal, malformed, not_granted
from muniment.server.transactions import writing
from muniment.server.vaults.access import Access, check_still_welcome, lock_vault
from muniment.server.vaults.confirmations import settle_confirmations
from muniment.server.vaults.enrolment import vault_info
from muniment.server.vaults.events import record_event
from muniment.server.vaults.heads import newest_heads
from muniment.server.vaults.kinds import EventKind
from muniment.server.vaults.models import Slot, SlotListVersion, Vault
from muniment.server.vaults.objects import read_small, staging
from muniment.server.vaults.refs import parse_ref
from muniment.wire import messages as m
from muniment.wire.errors import ErrorCode

_MOST_PER_LINE = 2048
"""Bytes of a list, per line, removal record and list; names and labels in it are bounded."""
_LONGEST_MAC = 64


def read_keys(deployment: Deployment, access: Access) -> m.VaultKeys:
    """The signed list, the wrapped keys it names (as far as they may be handed out), newest heads.

    Withheld: removed slots, slots of revoked devices. A recovery kit gets the wrapped keys of kits only.
    """
    settle_confirmations(deployment, access.vault)
    vault = Vault.objects.get(pk=access.vault.pk)
    newest = newest_list(vault)
    slots = Slot.objects.filter(vault=vault, withheld_at=None).exclude(kind="")
    slots = slots.exclude(holder__revoked_at__isnull=False)
    if access.kit is not None:
        slots = slots.filter(kind="kit")
    return m.VaultKeys(
        vault=vault_info(vault),
        signed=None if newest is None else _read_list(deployment, newest),
        slots=[
            m.WrappedSlot(slot=slot.ref.hex, wrapped=read_small(deployment, slot.object_key))
            for slot in slots.order_by("id")
        ],
        heads=newest_heads(deployment, vault),
        removals=[
            msgspec.msgpack.decode(bytes(removal), type=m.SignedRemoval)
            for removal in _removed(vault).values_list("removal", flat=True)
            if removal is not None
        ],
    )


def put_slot(deployment: Deployment, access: Access, ref: UUID, request: m.WrappedSlot) -> m.Stored:
    """Store a wrapped key under a slot id. The same again is fine; another under the same id is refused."""
    if request.slot != ref.hex:
        raise malformed("the slot in the path is not the one in the message")
    digest = hashlib.sha256(request.wrapped).digest()
    if _slot_exists(access.vault, ref, digest):
        return m.Stored(created=False)
    _check_count(deployment, access)
    with staging(deployment, access.vault) as stage:
        key = stage.store("slots", request.wrapped, label=f"{ref.hex}/")
        with writing():
            check_still_welcome(access)
            if _slot_exists(access.vault, ref, digest):
                return m.Stored(created=False)
            _check_count(deployment, access)
            Slot.objects.create(
                ref=ref,
                vault=access.vault,
                sha256=digest,
                object_key=key,
                added_by=access.writer,
                added_at=deployment.now(),
            )
            stage.keep()
    return m.Stored(created=True)


def _check_count(deployment: Deployment, access: Access) -> None:
    """Of each device by itself: none may keep the others from adding theirs."""
    added = Slot.objects.filter(vault=access.vault, added_by=access.writer, withheld_at=None)
    if added.count() >= deployment.config.slots:
        raise Refusal(
            ErrorCode.SLOT_CONFLICT,
            "this device has added as many slots as it may",
            reason="too_many",
            advice="Have slots that nobody needs removed: `muniment keys revoke`.",
        )


def _slot_exists(vault: Vault, ref: UUID, digest: bytes) -> bool:
    slot = Slot.objects.filter(vault=vault, ref=ref).first()
    if slot is not None and bytes(slot.sha256) != digest:
        raise Refusal(ErrorCode.SLOT_CONFLICT, "the slot is written already", reason="written")
    return slot is not None


def put_slot_list(deployment: Deployment, access: Access, request: m.PutSlotList) -> m.Stored:
    """Compare-and-swap the list. It may only grow, but for slots whose removal the owner confirmed."""
    settle_confirmations(deployment, access.vault)
    body = request.signed.body
    digest = hashlib.sha256(body).digest()
    content = _parse_list(access.vault, request)
    now = deployment.now()
    with staging(deployment, access.vault) as stage:
        key = stage.store("slotlists", msgspec.msgpack.encode(request.signed))
        with writing():
            vault = check_still_welcome(access)
            newest = newest_list(vault)
            if newest is not None and bytes(newest.sha256) == digest:
                return m.Stored(created=False)
            state = (0, b"") if newest is None else (newest.number, bytes(newest.sha256))
            if state != (request.expected_number, request.expected_hash):
                raise Refusal(ErrorCode.SLOT_CONFLICT, "another list came first", reason="not_newest")
            before = None if newest is None else _decode_list(_read_list(deployment, newest).body)
            _check_grown(vault, before, content)
            added = _check_new_slots(vault, before, content)
            SlotListVersion.objects.create(
                vault=vault,
                number=content.number,
                sha256=digest,
                object_key=key,
                written_by=access.writer,
                received_at=now,
            )
            _enter_slots(vault, access.writer, added, now=now)
            record_event(
                vault, EventKind.SLOT_LIST_CHANGED, now=now, device=access.device, number=str(content.number)
            )
            stage.keep()
    return m.Stored(created=True)


def _enter_slots(
    vault: Vault, writer: Device, added: list[tuple[Slot, m.SlotInfo]], *, now: datetime
) -> None:
    for slot, line in added:
        holder = None if line.device is None else Device.objects.get(ref=parse_ref(line.device))
        Slot.objects.filter(pk=slot.pk).update(kind=line.kind, holder=holder)
        record_event(vault, EventKind.SLOT_ADDED, now=now, device=writer, slot=line.slot, slot_kind=line.kind)


def withdraw_newest_list(deployment: Deployment, ref: UUID) -> SlotListVersion:
    """Take back a list that no machine can read, whose writer's device is revoked; returns the one before.

    The server cannot tell a false list from a true one, and need not be believed: machines saw the lists
    before it. Of a true one that is taken back they say RollbackDetected. The wrapped keys stay.
    """
    now = deployment.now()
    vault = Vault.objects.filter(ref=ref).first()
    if vault is None:
        raise not_granted("there is no such vault")
    with writing():
        locked = lock_vault(vault)
        newest = newest_list(locked)
        if newest is None or newest.written_by is None or newest.written_by.revoked_at is None:
            raise Refusal(
                ErrorCode.SLOT_CONFLICT,
                "the newest list of keys is not by a revoked device",
                advice="Have the owner revoke the device that wrote it first.",
            )
        before = SlotListVersion.objects.filter(vault=locked, number=newest.number - 1, withdrawn_at=None)
        earlier = before.first()
        if earlier is None:
            raise Refusal(ErrorCode.SLOT_CONFLICT, "the vault has no list of keys before this one")
        content, kept = (_decode_list(_read_list(deployment, one).body) for one in (newest, earlier))
        only = {line.slot for line in content.slots} - {line.slot for line in kept.slots}
        Slot.objects.filter(vault=locked, ref__in=map(parse_ref, only)).update(kind="", holder=None)
        newest.withdrawn_at = now
        newest.save(update_fields=["withdrawn_at"])
        record_event(locked, EventKind.SLOT_LIST_WITHDRAWN, now=now, device=None, number=str(newest.number))
    return earlier


def newest_list(vault: Vault) -> SlotListVersion | None:
    return SlotListVersion.objects.filter(vault=vault, withdrawn_at=None).order_by("-number").first()


def _read_list(deployment: Deployment, version: SlotListVersion) -> m.SignedSlotList:
    return msgspec.msgpack.decode(read_small(deployment, version.object_key), type=m.SignedSlotList)


def _decode_list(body: bytes) -> m.SlotList:
    try:
        return msgspec.msgpack.decode(body, type=m.SlotList)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise malformed("the slot list does not parse") from error


def _parse_list(vault: Vault, request: m.PutSlotList) -> m.SlotList:
    content = _decode_list(request.signed.body)
    if content.vault != vault.ref.hex:
        raise malformed("the slot list is of another vault")
    if (content.number, content.previous) != (request.expected_number + 1, request.expected_hash):
        raise malformed("the slot list does not follow the one it expects")
    names = [line.slot for line in content.slots]
    if len(set(names)) != len(names):
        raise malformed("the slot list names a slot twice")
    macs = [request.signed.mac, *(removal.mac for removal in content.removals)]
    most = _MOST_PER_LINE * (len(names) + len(content.removals) + 1)
    if len(request.signed.body) > most or max(map(len, macs)) > _LONGEST_MAC:
        raise malformed("the slot list is longer than what it says")
    return content


def _removed(vault: Vault) -> QuerySet[Slot]:
    return Slot.objects.filter(vault=vault, withheld_at__isnull=False).order_by("id")


def _check_grown(vault: Vault, before: m.SlotList | None, content: m.SlotList) -> None:
    """Every old line stays as it was; one may go only with its removal, confirmed and due, in the list."""
    removed = {slot.ref.hex: slot for slot in _removed(vault)}
    folded = {_removal_subject(removal) for removal in content.removals}
    if len(folded) != len(content.removals):
        raise malformed("the list carries a removal twice")
    lines = {line.slot: line for line in content.slots}
    known = ([], []) if before is None else (before.slots, before.removals)
    if (content.slots, content.removals) == known:
        # Each list stays stored, so each must say something new: then slots bound how many there are.
        raise Refusal(ErrorCode.SLOT_CONFLICT, "the list says nothing new", reason="unchanged")
    if before is not None:
        if not _contains(content.removals, before.removals):
            raise Refusal(ErrorCode.SLOT_REMOVAL, "a removal record vanished from the list")
        for line in before.slots:
            kept = lines.get(line.slot)
            if kept is None and (line.slot not in removed or line.slot not in folded):
                raise Refusal(
                    ErrorCode.SLOT_REMOVAL,
                    "a slot may only go once its owner confirmed and the delay is over",
                    advice="Ask for its removal: `muniment keys revoke`.",
                )
            if kept is not None and kept != line:
                raise Refusal(ErrorCode.SLOT_REMOVAL, "a line of the slot list was altered")
    if folded - set(removed):
        raise Refusal(ErrorCode.SLOT_REMOVAL, "the list carries a removal that was not confirmed")
    if folded & set(lines):
        raise malformed("a slot is both listed and removed")


def _contains(longer: list[m.SignedRemoval], shorter: list[m.SignedRemoval]) -> bool:
    return all(removal in longer for removal in shorter)


def _removal_subject(removal: m.SignedRemoval) -> str:
    try:
        return msgspec.msgpack.decode(removal.record, type=m.RemovalRecord).slot
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise malformed("a removal record does not parse") from error


def _check_new_slots(
    vault: Vault, before: m.SlotList | None, content: m.SlotList
) -> list[tuple[Slot, m.SlotInfo]]:
    """New lines name wrapped keys that are stored, with their digest, for devices of this vault."""
    known = set() if before is None else {line.slot for line in before.slots}
    stored: Mapping[str, Slot] = {
        slot.ref.hex: slot for slot in Slot.objects.filter(vault=vault, withheld_at=None)
    }
    added = []
    for line in content.slots:
        if line.slot in known:
            continue
        slot = stored.get(line.slot)
        if slot is None or bytes(slot.sha256) != line.digest:
            raise Refusal(
                ErrorCode.SLOT_CONFLICT, "a new slot's wrapped key is not stored", reason="not_stored"
            )
        if (line.kind == "device") != (line.device is not None):
            raise malformed("device slots, and only they, name a device")
        if line.device is not None:
            holder = Device.objects.filter(ref=parse_ref(line.device), grants__vault=vault, revoked_at=None)
            if not holder.exists():
                raise Refusal(
                    ErrorCode.SLOT_CONFLICT, "a new slot is for a device without a grant", reason="device"
                )
        added.append((slot, line))
    return added
