"""Who is calling, and what of a vault is open to them. Only hashes of tokens are kept."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NoReturn
from uuid import UUID

from muniment.server.accounts.models import Device
from muniment.server.refusals import Refusal, not_granted
from muniment.server.vaults.hot_rows import as_ref, fetch_row
from muniment.server.vaults.models import ClosedVault, KitCredential, KitToken, Vault
from muniment.wire.errors import ErrorCode
from muniment.wire.routes import Auth

_DEVICE_PREFIX = "mdt_"
_KIT_PREFIX = "mkt_"


class _Standing(StrEnum):
    """How a device stands at a vault it has a grant on, in the words of `hot_rows.sql`."""

    WELCOME = "welcome"
    REVOKED = "revoked"
    CLOSED = "closed"


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
        _explain_no_grant(authenticate_device(token), vault)
    vault_id, _, allowance, used, device_id, device_ref, pending, kept, standing = row
    check_standing(standing)
    found = Vault.from_db(None, ["id", "ref", "allowance", "used"], [vault_id, vault, allowance, used])
    device = Device.from_db(None, ["id", "ref"], [device_id, as_ref(device_ref)])
    return Access(found, device, None, pending, kept)


def check_standing(word: str | None) -> None:
    """NOT_GRANTED unless the device is still welcome; None says that even the vault's rows are gone."""
    if word == _Standing.REVOKED:
        raise not_granted("this device was revoked")
    if word != _Standing.WELCOME:
        raise vault_closed()


def lock_vault(vault: Vault) -> Vault:
    """The vault's row, locked until the transaction ends. NOT_GRANTED where the vault is being closed.

    The first thing inside `writing()` wherever more than one row of a vault changes: who takes the vault's
    row first never waits for another who holds it and wants what we have.
    """
    locked = Vault.objects.select_for_update().filter(pk=vault.pk, closing_at=None).first()
    if locked is None:
        raise vault_closed()
    return locked


def check_still_welcome(access: Access) -> Vault:
    """The vault's row, locked. NOT_GRANTED where the device was revoked or the vault closed since access
    was opened. Call it first inside `writing()`.

    A caller is let in before its body is read, and a body may be held back until long after.
    """
    locked = lock_vault(access.vault)
    standing = fetch_row("standing_of_grant", access.vault.pk, access.writer.pk)
    check_standing(None if standing is None else standing[4])
    return locked


def vault_closed() -> Refusal:
    return Refusal(
        ErrorCode.NOT_GRANTED,
        "the vault was closed, and what it held is deleted",
        advice="Run `muniment connect` with a new code to back up into another vault.",
    )


def _explain_no_grant(device: Device, vault: UUID) -> NoReturn:
    """Of a closed vault only its owner's devices hear that it was; to all others it never existed."""
    if ClosedVault.objects.filter(ref=vault, owner=device.account_id).exists():
        raise vault_closed()
    raise not_granted("the device has no grant on this vault")


def _open_by_kit(token: str, vault: UUID, *, now: datetime) -> Access:
    found = KitToken.objects.select_related("kit__slot__vault").filter(token_sha256=token_hash(token)).first()
    if found is None or found.expires_at <= now:
        raise _unauthenticated()
    slot = found.kit.slot
    if slot.vault.ref != vault or slot.withheld_at is not None:
        raise not_granted("the kit does not open this vault")
    if slot.vault.closing_at is not None:
        raise vault_closed()
    return Access(slot.vault, None, found.kit)


def _unauthenticated() -> Refusal:
    return Refusal(
        ErrorCode.UNAUTHENTICATED,
        "the token is missing, unknown or expired",
        advice="Run `muniment connect` with a new code.",
    )
