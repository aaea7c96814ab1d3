"""Commit: compare-and-swap on the device's counter; the snapshot exists from the row on, never before."""

from __future__ import annotations

import hashlib
from datetime import datetime
from uuid import UUID

from django.db.models import F, Sum

from muniment.model.packs import PackKind
from muniment.server.accounts.models import Device
from muniment.server.deployment import Deployment
from muniment.server.refusals import Refusal, malformed
from muniment.server.transactions import writing
from muniment.server.vaults.access import Access, lock_vault
from muniment.server.vaults.events import record_event
from muniment.server.vaults.heads import head_record, newest_of_device
from muniment.server.vaults.kinds import EventKind
from muniment.server.vaults.metering import Use, check_room, lock_room, room_seen, take_room, weight_of
from muniment.server.vaults.models import (
    HELD,
    UNSETTLED_SQL,
    Grant,
    IndexPack,
    Pack,
    PackState,
    Session,
    Snapshot,
    Vault,
)
from muniment.server.vaults.objects import staging
from muniment.server.vaults.reference_sets import (
    EncodedSet,
    encode_reference_set,
    joined,
    load_reference_set,
    remember,
)
from muniment.server.vaults.refs import parse_ref, seconds
from muniment.server.vaults.sessions import has_ended, live_backup_session, session_over
from muniment.server.vaults.slots import newest_list
from muniment.wire import messages as m
from muniment.wire.errors import ErrorCode

_AT_ONCE = 500
_MOST_NAMED = 1000


def commit_snapshot(deployment: Deployment, access: Access, request: m.Commit) -> m.Committed:
    """Make the snapshot exist. A repeat answers the same; see docs/design/protocol.md for the conflicts."""
    now, vault, device = deployment.now(), access.vault, access.writer
    name = hashlib.sha256(request.head).hexdigest()
    repeat = _committed_before(vault, device, name)
    if repeat is not None:
        return repeat
    session = live_backup_session(deployment, access, parse_ref(request.session), now=now)
    base = _base(vault, request)
    packs = _reference_set(deployment, base, request)
    _check_line(deployment, vault, device, request)
    _check_packs(vault, packs, request)
    encoded = encode_reference_set(deployment, vault, snapshot=bytes.fromhex(name), packs=packs, base=base)
    check_room(deployment.config, room_seen(access), _weight(request, encoded), use=Use.COMMIT)
    # Objects before the row: what a row names is always there. A crash in between leaves objects that the
    # repeated commit finds again, because their keys say their content.
    with staging(deployment, vault) as stage:
        keys = stage.store("heads", request.head), stage.store("sets", encoded.content)
        with writing():
            repeat = _committed_before(lock_vault(vault), device, name)
            if repeat is not None:
                return repeat
            if has_ended(deployment, Session.objects.get(pk=session.pk), now=now):
                raise session_over()
            _check_line(deployment, vault, device, request)
            _check_packs(vault, packs, request)
            _meter(deployment, access, _weight(request, encoded))
            _add_snapshot(vault, device, request, name=name, base=base, encoded=encoded, keys=keys, now=now)
            index_packs = _add_index_packs(vault, request)
            _settle_pending(vault, device, [*map(bytes.fromhex, request.add), *index_packs])
            _touch(device, session, now=now)
            record_event(vault, EventKind.SNAPSHOT_COMMITTED, now=now, device=device, snapshot=name)
            stage.keep()
    remember(encoded)
    return m.Committed(snapshot=name, created=True, received_at=seconds(now))


def _weight(request: m.Commit, encoded: EncodedSet) -> int:
    """What the commit takes of the allowance besides its packs."""
    covers = sum(16 * len(info.covers) for info in request.index_packs)
    return weight_of(len(request.head)) + weight_of(len(encoded.content)) + weight_of(covers)


def _meter(deployment: Deployment, access: Access, size: int) -> None:
    room = lock_room(access)
    check_room(deployment.config, room, size, use=Use.COMMIT)
    take_room(access.vault, access.writer, room, size, pending=0)


def _add_snapshot(
    vault: Vault,
    device: Device,
    request: m.Commit,
    *,
    name: str,
    base: Snapshot | None,
    encoded: EncodedSet,
    keys: tuple[str, str],
    now: datetime,
) -> None:
    Snapshot.objects.create(
        vault=vault,
        name=name,
        device=device,
        installation=parse_ref(request.installation),
        set_ref=parse_ref(request.set_id),
        counter=request.counter,
        parent=base,
        partial=request.partial,
        slot_list_number=request.slot_list_number,
        received_at=now,
        head_key=keys[0],
        packs_key=keys[1],
        packs_sha256=request.packs_hash,
        packs_count=encoded.count,
        packs_depth=encoded.depth,
        metered=_weight(request, encoded),
    )


def _committed_before(vault: Vault, device: Device, name: str) -> m.Committed | None:
    found = Snapshot.objects.filter(vault=vault, device=device, name=name).first()
    if found is None:
        return None
    return m.Committed(snapshot=name, created=False, received_at=seconds(found.received_at))


def _base(vault: Vault, request: m.Commit) -> Snapshot | None:
    if request.parent is None:
        return None
    base = Snapshot.objects.filter(vault=vault, name=request.parent, forgotten_at=None).first()
    if base is None:
        raise Refusal(ErrorCode.COMMIT_CONFLICT, "the parent is unknown or forgotten", reason="parent")
    return base


def _reference_set(deployment: Deployment, base: Snapshot | None, request: m.Commit) -> set[bytes]:
    packs = set() if base is None else load_reference_set(deployment, base)
    packs = (packs - set(map(bytes.fromhex, request.remove))) | set(map(bytes.fromhex, request.add))
    if hashlib.sha256(joined(packs)).digest() != request.packs_hash:
        raise Refusal(
            ErrorCode.COMMIT_CONFLICT, "the reference set does not have the given hash", reason="packs_hash"
        )
    return packs


def _check_line(deployment: Deployment, vault: Vault, device: Device, request: m.Commit) -> None:
    """One line of commits per device. A new installation may take it up once, from its newest head."""
    listed = newest_list(vault)
    if request.slot_list_number > (0 if listed is None else listed.number):
        raise Refusal(ErrorCode.COMMIT_CONFLICT, "the head names a slot list to come", reason="slot_list")
    newest = newest_of_device(vault, device)
    installation = parse_ref(request.installation)
    if newest is not None and newest.installation != installation:
        took_part = Snapshot.objects.filter(vault=vault, device=device, installation=installation).exists()
        if took_part or request.continues is None:
            raise Refusal(
                ErrorCode.DEVICE_CLONED,
                "another installation commits as this device",
                advice="Enrol this machine anew with a code of its own.",
                newest=head_record(deployment, newest),
            )
        if request.continues != newest.name:
            raise _counter_conflict(deployment, newest)
    if request.counter != (1 if newest is None else newest.counter + 1):
        raise _counter_conflict(deployment, newest)
    _check_sets(deployment, vault, device, parse_ref(request.set_id))


def _check_sets(deployment: Deployment, vault: Vault, device: Device, set_ref: UUID) -> None:
    """Of each device by itself: none may make the answer to those who open the vault ever longer."""
    mine = Snapshot.objects.filter(vault=vault, device=device)
    if mine.filter(set_ref=set_ref).exists():
        return
    if mine.values("set_ref").distinct().count() >= deployment.config.sets:
        raise Refusal(
            ErrorCode.COMMIT_CONFLICT,
            f"a machine backs up {deployment.config.sets} sets at most, and this one has: use one of them",
            reason="sets",
        )


def _counter_conflict(deployment: Deployment, newest: Snapshot | None) -> Refusal:
    return Refusal(
        ErrorCode.COMMIT_CONFLICT,
        "the device's newest head is another",
        reason="counter",
        newest=None if newest is None else head_record(deployment, newest),
    )


def _check_packs(vault: Vault, packs: set[bytes], request: m.Commit) -> None:
    """All packs held. Those of the base were held when it was committed, so only what left that state since,
    and what is new, has to be looked up."""
    added = packs if request.parent is None else packs & set(map(bytes.fromhex, request.add))
    missing = added - _held(vault, added)
    lost = {
        ref.bytes
        for ref in Pack.objects.filter(vault=vault)
        .exclude(state=PackState.INCOMING)
        .extra(where=[UNSETTLED_SQL])
        .values_list("ref", flat=True)
    }
    suspects = (lost & packs) - added
    missing |= suspects - _held(vault, suspects)
    if request.parent is not None:
        missing -= set(map(bytes.fromhex, request.damaged)) - added
    index_packs = {bytes.fromhex(info.pack) for info in request.index_packs}
    missing |= index_packs - _held(vault, index_packs, kind=PackKind.INDEX)
    if missing:
        names = tuple(sorted(raw.hex() for raw in missing))
        raise Refusal(
            ErrorCode.COMMIT_CONFLICT,
            f"{len(names)} packs are not held",
            reason="missing",
            missing=names[:_MOST_NAMED],
        )


def _held(vault: Vault, packs: set[bytes], *, kind: PackKind | None = None) -> set[bytes]:
    found: set[bytes] = set()
    asked = [UUID(bytes=raw) for raw in packs]
    for start in range(0, len(asked), _AT_ONCE):
        rows = Pack.objects.filter(vault=vault, ref__in=asked[start : start + _AT_ONCE], state__in=HELD)
        if kind is not None:
            rows = rows.filter(kind=kind)
        found.update(ref.bytes for ref in rows.values_list("ref", flat=True))
    return found


def _add_index_packs(vault: Vault, request: m.Commit) -> list[bytes]:
    """Into the feed, in the order given; each pack once."""
    added = []
    for info in request.index_packs:
        pack = Pack.objects.get(vault=vault, ref=parse_ref(info.pack), state__in=HELD)
        named = set(map(bytes.fromhex, info.covers))
        if not named or len(named) != len(info.covers) or _held(vault, named) != named:
            raise malformed("an index pack covers packs that are not held, or one of them twice")
        covers = b"".join(map(bytes.fromhex, info.covers))
        IndexPack.objects.get_or_create(pack=pack, defaults={"vault": vault, "covers": covers})
        added.append(pack.ref.bytes)
    return added


def _settle_pending(vault: Vault, device: Device, packs: list[bytes]) -> None:
    """What the device sent and now refers to no longer counts as pending."""
    for start in range(0, len(packs), _AT_ONCE):
        refs = [UUID(bytes=raw) for raw in packs[start : start + _AT_ONCE]]
        mine = Pack.objects.filter(vault=vault, ref__in=refs, sender=device, pending=True, state__in=HELD)
        total = mine.aggregate(total=Sum("size"))["total"] or 0
        if total:
            mine.update(pending=False)
            Grant.objects.filter(vault=vault, device=device).update(pending=F("pending") - total)


def _touch(device: Device, session: Session, *, now: datetime) -> None:
    Device.objects.filter(pk=device.pk).update(last_seen_at=now)
    Session.objects.filter(pk=session.pk).update(alive_at=now)
