"""Receiving a pack: row, bytes, sync, row, acknowledgement, in that order.

    incoming row (with a random object key) → bytes → size and hash → object published → row live → answer

A crash anywhere leaves an incoming row, which names the object to remove (`leftovers`), or a live one whose
object is whole.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.db.models import F

from muniment.model.packs import PackKind, is_permitted_size
from muniment.server.deployment import Deployment
from muniment.server.refusals import Refusal, malformed
from muniment.server.store.port import ObjectWriter, fresh_key
from muniment.server.transactions import writing
from muniment.server.vaults.access import Access
from muniment.server.vaults.events import EventKind, record_event
from muniment.server.vaults.models import PRESENT, Grant, Pack, PackState, Session, Vault
from muniment.server.vaults.sessions import has_ended, live_backup_session
from muniment.wire import messages as m
from muniment.wire.errors import ErrorCode


@dataclass(frozen=True, slots=True)
class PackOffer:
    """What the sender says of the pack before its first byte."""

    pack: UUID
    session: UUID
    kind: int
    epoch: int
    size: int
    sha256: bytes


@dataclass(slots=True)
class Receipt:
    """A pack on its way in. `append` may run in another thread than the rest, one at a time."""

    deployment: Deployment
    access: Access
    offer: PackOffer
    row: Pack
    writer: ObjectWriter
    received: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    _busy: threading.Lock = field(default_factory=threading.Lock)

    def append(self, pieces: Sequence[bytes]) -> None:
        """Write and hash the next bytes; refuses the first byte past the announced size."""
        with self._busy:
            self.received += sum(len(piece) for piece in pieces)
            if self.received > self.offer.size:
                raise Refusal(ErrorCode.PACK_SIZE, "more bytes than announced")
            self.writer.write(pieces)
            for piece in pieces:
                self.digest.update(piece)

    def finish(self) -> m.PackStored:
        """Check, publish, make the row live. On return the pack survives a power cut."""
        with self._busy:
            if self.received != self.offer.size:
                raise Refusal(ErrorCode.HASH_MISMATCH, "fewer bytes than announced")
            if self.digest.digest() != self.offer.sha256:
                raise Refusal(ErrorCode.HASH_MISMATCH, "the bytes do not have the announced hash")
            self.writer.publish()
            created = _make_live(self)
        if not created:
            self.abandon()
        return m.PackStored(pack=self.offer.pack.hex, created=created)

    def abandon(self) -> None:
        """Forget the bytes and the row. The object first: only the row knows its name."""
        with self._busy:
            self.writer.discard()
            self.deployment.objects.delete(self.row.object_key)
            with writing():
                Pack.objects.filter(pk=self.row.pk, state=PackState.INCOMING).delete()


def begin_receipt(deployment: Deployment, access: Access, offer: PackOffer) -> Receipt | m.PackStored:
    """Check everything that can be checked before the first byte. PackStored when it is held already."""
    now = deployment.now()
    session = live_backup_session(deployment, access, offer.session, now=now)
    if offer.kind not in set(PackKind):
        raise malformed("no such kind of pack")
    if not is_permitted_size(offer.size):
        raise Refusal(ErrorCode.PACK_SIZE, "not a permitted size of a pack")
    if _is_held(access.vault, offer):
        return m.PackStored(pack=offer.pack.hex, created=False)
    _check_room(access.vault, offer.size, pending=access.pending, cap=deployment.config.pending_cap)
    with writing():
        row = Pack.objects.create(
            vault=access.vault,
            ref=offer.pack,
            kind=offer.kind,
            epoch=offer.epoch,
            size=offer.size,
            sha256=offer.sha256,
            state=PackState.INCOMING,
            object_key=fresh_key(access.vault.ref.hex, "packs"),
            sender=access.writer,
            session=session,
            received_at=now,
        )
    try:
        writer = deployment.objects.begin(row.object_key, size=offer.size)
    except BaseException:
        with writing():
            row.delete()
        raise
    return Receipt(deployment, access, offer, row, writer)


def _is_held(vault: Vault, offer: PackOffer) -> bool:
    present = Pack.objects.filter(vault=vault, ref=offer.pack, state__in=PRESENT).first()
    if present is None:
        return False
    same = (bytes(present.sha256), present.kind, present.epoch) == (offer.sha256, offer.kind, offer.epoch)
    if not same:
        raise Refusal(ErrorCode.PACK_CONFLICT, "the pack id is taken by another pack")
    # The very bytes that were lost or damaged, sent again, are as good as they ever were.
    return present.state != PackState.QUARANTINED


def _check_room(vault: Vault, size: int, *, pending: int, cap: int) -> None:
    short_by = vault.used + size - vault.allowance
    if short_by > 0:
        raise Refusal(
            ErrorCode.VAULT_FULL,
            "the vault's allowance does not hold this pack",
            short_by=short_by,
            advice="Ask for a larger allowance, or exclude something; what is stored stays.",
        )
    if pending + size > cap:
        raise Refusal(
            ErrorCode.PENDING_CAP,
            "too many bytes of this device wait for a commit",
            short_by=pending + size - cap,
            advice="Commit what was sent, then go on.",
        )


def _make_live(receipt: Receipt) -> bool:
    """One transaction: metering and the live row, after checking again what may have changed meanwhile."""
    offer, access, deployment = receipt.offer, receipt.access, receipt.deployment
    now = deployment.now()
    with writing():
        grant = (
            Grant.objects.select_for_update(of=("self",))
            .select_related("vault", "device")
            .get(vault=access.vault, device=access.writer)
        )
        if grant.device.revoked_at is not None:
            raise Refusal(ErrorCode.NOT_GRANTED, "this device was revoked")
        session = Session.objects.get(ref=offer.session)
        if has_ended(deployment, session, now=now):
            raise Refusal(ErrorCode.SESSION_EXPIRED, "the session is over")
        if _is_held(grant.vault, offer):
            return False  # sent twice at once: the other one was first
        _check_room(grant.vault, offer.size, pending=grant.pending, cap=deployment.config.pending_cap)
        replaced = Pack.objects.filter(vault=grant.vault, ref=offer.pack, state=PackState.QUARANTINED).update(
            state=PackState.DELETING
        )
        if replaced:
            record_event(
                grant.vault, EventKind.PACK_REPLACED, now=now, device=grant.device, pack=offer.pack.hex
            )
        metered = 0 if replaced else offer.size
        became_live = Pack.objects.filter(pk=receipt.row.pk, state=PackState.INCOMING).update(
            state=PackState.LIVE, received_at=now
        )
        if not became_live:
            raise Refusal(ErrorCode.SESSION_EXPIRED, "the upload was given up")
        Vault.objects.filter(pk=grant.vault.pk).update(used=F("used") + metered)
        Grant.objects.filter(pk=grant.pk).update(pending=F("pending") + offer.size)
        Session.objects.filter(pk=session.pk).update(alive_at=now)
    return True


def known_packs(deployment: Deployment, access: Access, request: m.KnownPacksRequest) -> m.KnownPacks:
    """Those of the packs asked about that need not be sent."""
    live_backup_session(deployment, access, UUID(hex=request.session), now=deployment.now())
    held: dict[str, bytes] = {}
    asked = [UUID(hex=pack) for pack in request.packs]
    for start in range(0, len(asked), 500):
        found = Pack.objects.filter(
            vault=access.vault,
            ref__in=asked[start : start + 500],
            state__in=(PackState.LIVE, PackState.CONDEMNED),
        )
        held.update((ref.hex, bytes(sha256)) for ref, sha256 in found.values_list("ref", "sha256"))
    return m.KnownPacks(held=held)
