"""Who is calling, and what of a vault is open to them. Only hashes of tokens are kept."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from muniment.server.accounts.models import Device
from muniment.server.refusals import Refusal, not_granted
from muniment.server.vaults.hot_rows import as_ref, fetch_row
from muniment.server.vaults.models import KitCredential, KitToken, Vault
from muniment.wire.errors import ErrorCode
from muniment.wire.routes import Auth

_DEVICE_PREFIX = "mdt_"
_KIT_PREFIX = "mkt_"


@dataclass(frozen=True, slots=True)
class Access:
    """A caller at a vault: a device with a grant, or a recovery kit, which may only read."""

    vault: Vault
    device: Device | None
    kit: KitCredential | None
    pending: int = 0
    kept: int = 0
    """Free bytes of the allowance that are kept for other devices."""

    @property
    def writer(self) -> Device:
        """The device; a kit may not write."""
        if self.device is None:
            raise not_granted("a recovery kit may only read")
        return self.device


def new_device_token() -> str:
    return _DEVICE_PREFIX + secrets.token_urlsafe(32)


def new_kit_token() -> str:
    return _KIT_PREFIX + secrets.token_urlsafe(32)


def token_hash(token: str) -> bytes:
    """Tokens are 256 random bits, so a plain hash cannot be searched."""
    return hashlib.sha256(token.encode()).digest()


def authenticate_device(token: str | None) -> Device:
    """The device behind the token, whatever vault it is about."""
    device = None if token is None else Device.objects.filter(token_sha256=token_hash(token)).first()
    if device is None:
        raise _unauthenticated()
    if device.revoked_at is not None or not device.account.is_active:
        raise not_granted("this device was revoked")
    return device


def open_vault(token: str | None, vault: UUID, *, auth: Auth, now: datetime) -> Access:
    """The caller's access to `vault`. Raises UNAUTHENTICATED or NOT_GRANTED.

    A vault that does not exist and one of somebody else are refused alike.
    """
    if token is None:
        raise _unauthenticated()
    if token.startswith(_KIT_PREFIX):
        if auth is not Auth.READER:
            raise not_granted("a recovery kit may only read")
        return _open_by_kit(token, vault, now=now)
    row = fetch_row("grant_of_token", token_hash(token), vault)
    if row is None:
        authenticate_device(token)
        raise not_granted("the device has no grant on this vault")
    vault_id, _, allowance, used, device_id, device_ref, pending, kept, welcome = row
    if not welcome:
        raise not_granted("this device was revoked")
    found = Vault.from_db(None, ["id", "ref", "allowance", "used"], [vault_id, vault, allowance, used])
    device = Device.from_db(None, ["id", "ref"], [device_id, as_ref(device_ref)])
    return Access(found, device, None, pending, kept)


def check_still_welcome(access: Access) -> None:
    """NOT_GRANTED where the device was revoked since its access was opened. Call it inside `writing()`.

    A caller is let in before its body is read, and a body may be held back until long after.
    """
    standing = fetch_row("standing_of_grant", access.vault.pk, access.writer.pk)
    if standing is None or not standing[3]:
        raise not_granted("this device was revoked")


def _open_by_kit(token: str, vault: UUID, *, now: datetime) -> Access:
    found = KitToken.objects.select_related("kit__slot__vault").filter(token_sha256=token_hash(token)).first()
    if found is None or found.expires_at <= now:
        raise _unauthenticated()
    slot = found.kit.slot
    if slot.vault.ref != vault or slot.withheld_at is not None:
        raise not_granted("the kit does not open this vault")
    return Access(slot.vault, None, found.kit)


def _unauthenticated() -> Refusal:
    return Refusal(
        ErrorCode.UNAUTHENTICATED,
        "the token is missing, unknown or expired",
        advice="Run `muniment connect` with a new code.",
    )
