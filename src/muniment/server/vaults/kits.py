"""Recovery kits: a credential derived from the kit opens a read-only door, and the owner sees it used."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections import OrderedDict
from datetime import datetime, timedelta
from uuid import UUID

from muniment.server.deployment import Deployment
from muniment.server.refusals import Refusal, not_found, not_granted
from muniment.server.transactions import writing
from muniment.server.vaults.access import (
    Access,
    check_still_welcome,
    lock_vault,
    new_kit_token,
    token_hash,
)
from muniment.server.vaults.confirmations import settle_confirmations
from muniment.server.vaults.events import record_event
from muniment.server.vaults.kinds import EventKind
from muniment.server.vaults.models import KitCredential, KitToken, Slot, Vault
from muniment.server.vaults.refs import parse_ref, seconds
from muniment.wire import messages as m
from muniment.wire.errors import ErrorCode


class _Attempts:
    """Failed attempts per vault in a sliding window. In memory: a code of 256 bits needs no more."""

    MOST_VAULTS = 10_000

    def __init__(self) -> None:
        self._failed: OrderedDict[UUID, list[datetime]] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, vault: UUID, *, now: datetime, most: int, window: float) -> float:
        """Seconds until another attempt is allowed; 0 for now."""
        with self._lock:
            recent = [at for at in self._failed.get(vault, []) if at > now - timedelta(seconds=window)]
            if len(recent) < most:
                return 0.0
            return max(1.0, (recent[-most] + timedelta(seconds=window) - now).total_seconds())

    def note(self, vault: UUID, *, now: datetime, most: int) -> int:
        """Count a failure; returns how many there are."""
        with self._lock:
            failed = self._failed.setdefault(vault, [])
            failed.append(now)
            del failed[:-most]
            self._failed.move_to_end(vault)
            while len(self._failed) > self.MOST_VAULTS:
                self._failed.popitem(last=False)
            return len(failed)


_ATTEMPTS = _Attempts()


def register_kit(deployment: Deployment, access: Access, request: m.RegisterKit) -> m.Stored:
    """Tie a kit's credential to its slot. Written once, like the slot."""
    now = deployment.now()
    with writing():
        check_still_welcome(access)
        slot = Slot.objects.filter(vault=access.vault, ref=parse_ref(request.slot), withheld_at=None).first()
        if slot is None:
            raise not_found("slot")
        existing = KitCredential.objects.filter(slot=slot).first()
        if existing is not None:
            if bytes(existing.credential_sha256) != request.credential_hash:
                raise Refusal(ErrorCode.SLOT_CONFLICT, "the slot has another kit's credential", reason="kit")
            return m.Stored(created=False)
        KitCredential.objects.create(slot=slot, credential_sha256=request.credential_hash, registered_at=now)
        record_event(access.vault, EventKind.KIT_REGISTERED, now=now, device=access.writer, slot=request.slot)
    return m.Stored(created=True)


def open_kit_session(deployment: Deployment, request: m.KitLogin) -> m.KitToken:
    """Trade the credential for a read-only token. Every use is an event; guessing is slowed down.

    Only failures are: whoever knows a vault's id could otherwise lock its owner out on the day it matters.
    """
    config, now, ref = deployment.config, deployment.now(), parse_ref(request.vault)
    vault = Vault.objects.filter(ref=ref, closing_at=None).first()
    kit = None if vault is None else _matching_kit(deployment, vault, request.credential)
    if vault is None or kit is None:
        wait = _ATTEMPTS.wait(ref, now=now, most=config.kit_attempts, window=config.kit_window)
        if wait:
            raise Refusal(ErrorCode.TOO_MANY, "too many attempts with a kit", retry_after=wait)
        if _ATTEMPTS.note(ref, now=now, most=config.kit_attempts) == 1 and vault is not None:
            with writing():
                record_event(vault, EventKind.KIT_REFUSED, now=now)
        raise not_granted("no kit of this vault has that credential")
    token, expires_at = new_kit_token(), now + timedelta(seconds=config.kit_token_life)
    with writing():
        lock_vault(vault)
        _end_oldest_tokens(kit, keep=config.kit_tokens - 1)
        KitToken.objects.create(kit=kit, token_sha256=token_hash(token), expires_at=expires_at)
        record_event(vault, EventKind.KIT_USED, now=now, slot=kit.slot.ref.hex)
    return m.KitToken(token=token, expires_at=seconds(expires_at))


def _end_oldest_tokens(kit: KitCredential, *, keep: int) -> None:
    """Whoever has the kit may always come in; so what is too many goes, not who comes."""
    kept = KitToken.objects.filter(kit=kit).order_by("-id").values_list("pk", flat=True)[:keep]
    KitToken.objects.filter(kit=kit).exclude(pk__in=list(kept)).delete()


def _matching_kit(deployment: Deployment, vault: Vault, credential: bytes) -> KitCredential | None:
    settle_confirmations(deployment, vault)
    digest = hashlib.sha256(credential).digest()
    kits = KitCredential.objects.select_related("slot").filter(
        slot__vault=vault, slot__kind="kit", slot__withheld_at=None
    )
    matching = [kit for kit in kits if hmac.compare_digest(bytes(kit.credential_sha256), digest)]
    return matching[0] if matching else None
