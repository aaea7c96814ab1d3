"""Receiving a pack: row, bytes, sync, row, acknowledgement, in that order.

    incoming row (with a random object key) → bytes → size and hash → object published → row live → answer

A crash anywhere leaves an incoming row, which names the object to remove (`leftovers`), or a live one whose
object is whole.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from uuid import UUID

from muniment.model.packs import PackKind, is_permitted_size
from muniment.server.deployment import Deployment
from muniment.server.refusals import Refusal, malformed, not_granted
from muniment.server.store.port import ObjectWriter, fresh_key
from muniment.server.transactions import writing
from muniment.server.vaults.access import Access
from muniment.server.vaults.events import record_event
from muniment.server.vaults.hot_rows import change_rows, fetch_row
from muniment.server.vaults.kinds import EventKind
from muniment.server.vaults.metering import Use, check_room, lock_room, room_seen, take_room
from muniment.server.vaults.models import HELD, Pack, PackState, Session, Vault
from muniment.server.vaults.sessions import live_backup_session, session_over
from muniment.wire import messages as m
from muniment.wire.errors import ErrorCode

_KINDS = frozenset(PackKind)


@dataclass(frozen=True, slots=True)
class PackOffer:
    """What the sender says of the pack before its first byte."""

    pack: UUID
    session: UUID
    kind: int
    epoch: int
    size: int
    sha256: bytes


class _Underway:
    """How many packs each device is sending to this process. Bounds the room that unpaid bytes can hold."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._lock = threading.Lock()

    def enter(self, device: int, *, most: int) -> None:
        with self._lock:
            if self._counts[device] >= most:
                raise Refusal(ErrorCode.TOO_MANY, "the device sends too many packs at once", retry_after=5)
            self._counts[device] += 1

    def leave(self, device: int) -> None:
        with self._lock:
            self._counts[device] -= 1
            if not self._counts[device]:
                del self._counts[device]


_UNDERWAY = _Underway()


class _Stage(Enum):
    OPEN = "open"
    GIVEN_UP = "given up"
    LIVE = "live"


@dataclass(slots=True)
class Receipt:
    """A pack on its way in. `append` may run in another thread than the rest, one at a time."""

    deployment: Deployment
    access: Access
    offer: PackOffer
    row: int
    object_key: str
    writer: ObjectWriter
    received: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    _stage: _Stage = _Stage.OPEN
    _busy: threading.Lock = field(default_factory=threading.Lock)

    def append(self, pieces: Sequence[bytes]) -> None:
        """Write and hash the next bytes; refuses the first byte past the announced size."""
        with self._busy:
            self._check_open()
            self.received += sum(map(len, pieces))
            if self.received > self.offer.size:
                raise Refusal(ErrorCode.PACK_SIZE, "more bytes than announced")
            self.writer.write(pieces)
            for piece in pieces:
                self.digest.update(piece)

    def finish(self) -> m.PackStored:
        """Check, publish, make the row live. On return the pack survives a power cut."""
        with self._busy:
            self._check_open()
            if self.received != self.offer.size:
                raise Refusal(ErrorCode.HASH_MISMATCH, "fewer bytes than announced")
            if self.digest.digest() != self.offer.sha256:
                raise Refusal(ErrorCode.HASH_MISMATCH, "the bytes do not have the announced hash")
            self.writer.publish()
            created = _make_live(self)
            if created:
                self._stage = _Stage.LIVE
                _UNDERWAY.leave(self.access.writer.pk)
        if not created:
            self.abandon()
        return m.PackStored(pack=self.offer.pack.hex, created=created)

    def abandon(self) -> None:
        """Forget bytes and row, unless the pack is live: its sender may leave while `finish` is at work."""
        with self._busy:
            if self._stage is _Stage.OPEN:
                self._stage = _Stage.GIVEN_UP
                _UNDERWAY.leave(self.access.writer.pk)
                self.writer.discard()
                give_up_upload(self.deployment, self.row, self.object_key)

    def _check_open(self) -> None:
        if self._stage is not _Stage.OPEN:
            raise Refusal(ErrorCode.SESSION_EXPIRED, "the upload was given up")


def begin_receipt(deployment: Deployment, access: Access, offer: PackOffer) -> Receipt | m.PackStored:
    """Check everything that can be checked before the first byte. PackStored when it is held already."""
    now, vault, sender = deployment.now(), access.vault, access.writer
    session = _live_session(deployment, access, offer, now=now)
    if offer.kind not in _KINDS:
        raise malformed("no such kind of pack")
    if not is_permitted_size(offer.size):
        raise Refusal(ErrorCode.PACK_SIZE, "not a permitted size of a pack")
    if _is_held(vault, offer):
        return m.PackStored(pack=offer.pack.hex, created=False)
    check_room(deployment.config, room_seen(access), offer.size, use=Use.PACK)
    _check_pending(offer.size, pending=access.pending, cap=deployment.config.pending_cap)
    _UNDERWAY.enter(sender.pk, most=deployment.config.uploads)
    try:
        return _open_receipt(deployment, access, offer, session, now=now)
    except BaseException:
        _UNDERWAY.leave(sender.pk)
        raise


def _open_receipt(
    deployment: Deployment, access: Access, offer: PackOffer, session: int, *, now: datetime
) -> Receipt:
    """The incoming row, committed; then the object's writer."""
    object_key = fresh_key(access.vault.ref.hex, "packs")
    with writing():
        added = fetch_row(
            "add_incoming", access.vault.pk, offer.pack, offer.kind, offer.epoch, offer.size, offer.sha256,
            object_key, access.writer.pk, session, now, True,
        )  # fmt: skip
        if added is None:
            raise RuntimeError("the database did not say which row it added")
    row = int(added[0])
    try:
        writer = deployment.objects.begin(object_key, size=offer.size)
    except BaseException:
        with writing():
            change_rows("drop_incoming", row)
        raise
    return Receipt(deployment, access, offer, row, object_key, writer)


def give_up_upload(deployment: Deployment, row: int, object_key: str) -> bool:
    """Remove an incoming row and its object; False, and the object stays, where the row became live.

    First the row stops being incoming, so that nothing can make it live; then the object goes, and only then
    the row, which alone knows the object's name. Somebody else may have removed the row already.
    """
    with writing():
        Pack.objects.filter(pk=row, state=PackState.INCOMING).update(state=PackState.DELETING)
    if Pack.objects.filter(pk=row).exclude(state=PackState.DELETING).exists():
        return False
    deployment.objects.delete(object_key)
    with writing():
        Pack.objects.filter(pk=row, state=PackState.DELETING).delete()
    return True


def _live_session(deployment: Deployment, access: Access, offer: PackOffer, *, now: datetime) -> int:
    """The row of the sender's own open backup session."""
    silent_since = now - timedelta(seconds=deployment.config.session_silence)
    found = fetch_row("live_session", offer.session, access.vault.pk, access.writer.pk, now, silent_since)
    if found is None:
        raise session_over()
    row, purpose = found
    if purpose != Session.Purpose.BACKUP:
        raise not_granted("a restore session may only read")
    return int(row)


def _is_held(vault: Vault, offer: PackOffer) -> bool:
    present = fetch_row("present_pack", vault.pk, offer.pack)
    if present is None:
        return False
    _, _, state, _, sha256, kind, epoch = present
    if (bytes(sha256), kind, epoch) != (offer.sha256, offer.kind, offer.epoch):
        raise Refusal(ErrorCode.PACK_CONFLICT, "the pack id is taken by another pack")
    # The very bytes that were lost or damaged, sent again, are as good as they ever were.
    return bool(state != PackState.QUARANTINED)


def _check_pending(size: int, *, pending: int, cap: int) -> None:
    if pending + size > cap:
        raise Refusal(
            ErrorCode.PENDING_CAP,
            "too many bytes of this device wait for a commit",
            short_by=pending + size - cap,
            advice="Commit what was sent, then go on.",
        )


def _make_live(receipt: Receipt) -> bool:
    """One transaction: metering and the live row, after checking again what may have changed meanwhile.

    False where another sender of the same pack was first.
    """
    offer, access, deployment = receipt.offer, receipt.access, receipt.deployment
    now, vault, sender = deployment.now(), access.vault, access.writer
    with writing():
        room = lock_room(access)
        session = _live_session(deployment, access, offer, now=now)
        if _is_held(vault, offer):
            return False
        check_room(deployment.config, room, offer.size, use=Use.PACK)
        _check_pending(offer.size, pending=room.pending, cap=deployment.config.pending_cap)
        replaced = change_rows("retire_quarantined", vault.pk, offer.pack)
        if replaced:
            record_event(vault, EventKind.PACK_REPLACED, now=now, device=sender, pack=offer.pack.hex)
        if not change_rows("make_live", now, receipt.row):
            raise Refusal(ErrorCode.SESSION_EXPIRED, "the upload was given up")
        take_room(vault, sender, room, 0 if replaced else offer.size, pending=offer.size)
        change_rows("keep_session", now, session)
    return True


def known_packs(deployment: Deployment, access: Access, request: m.KnownPacksRequest) -> m.KnownPacks:
    """Those of the packs asked about that need not be sent."""
    live_backup_session(deployment, access, UUID(hex=request.session), now=deployment.now())
    held: dict[str, bytes] = {}
    asked = [UUID(hex=pack) for pack in request.packs]
    for start in range(0, len(asked), 500):
        found = Pack.objects.filter(vault=access.vault, ref__in=asked[start : start + 500], state__in=HELD)
        held.update((ref.hex, bytes(sha256)) for ref, sha256 in found.values_list("ref", "sha256"))
    return m.KnownPacks(held=held)
