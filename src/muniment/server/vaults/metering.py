"""What counts against a vault's allowance, and how much of it a device may take.

Packs count as their size. The small objects of a commit (head, reference set, covers of index packs) count as
what they take on a disk. Packs leave a little of the allowance alone, so that what was sent can always be
committed. `reserves` says what is kept for each device.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from muniment.server.accounts.models import Device
from muniment.server.config import ServerConfig
from muniment.server.refusals import Refusal
from muniment.server.vaults.access import Access, check_standing, vault_closed
from muniment.server.vaults.hot_rows import change_rows, fetch_row
from muniment.server.vaults.models import Vault
from muniment.wire.errors import ErrorCode

_DISK_STEP = 4096
_COMMIT_PART = 64
"""At most this part of a small allowance is left for commits."""


class Use(Enum):
    """What room is asked for."""

    PACK = "pack"
    COMMIT = "commit"


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes: the vault's allowance and use, what is kept for other devices and for this one, and what this
    one sent without referring to it."""

    allowance: int
    used: int
    kept: int
    own: int
    pending: int

    @property
    def left(self) -> int:
        return self.allowance - self.used


def weight_of(size: int) -> int:
    """What a small object counts: its bytes rounded up to the step in which disks give room."""
    return -(-size // _DISK_STEP) * _DISK_STEP


def room_seen(access: Access) -> Room:
    """As it was when access was opened: good enough to refuse early, never to grant."""
    vault = access.vault
    return Room(vault.allowance, vault.used, access.kept, own=0, pending=access.pending)


def lock_room(access: Access) -> Room:
    """As it is, under the vault's row until the transaction ends. NOT_GRANTED as `check_standing` says."""
    change_rows("hold_vault", access.vault.pk)
    row = fetch_row("standing_of_grant", access.vault.pk, access.writer.pk)
    if row is None:
        raise vault_closed()
    allowance, used, pending, kept, standing, own = row
    check_standing(standing)
    return Room(allowance, used, kept, own, pending)


def check_room(config: ServerConfig, room: Room, size: int, *, use: Use) -> None:
    """VAULT_FULL where `size` bytes are more than the device may take."""
    aside = min(config.commit_room, room.allowance // _COMMIT_PART) if use is Use.PACK else 0
    if size > room.left - aside:
        raise Refusal(
            ErrorCode.VAULT_FULL,
            f"the vault's allowance does not hold this {use.value}",
            short_by=size - (room.left - aside),
            advice="Ask for a larger allowance, or exclude something; what is stored stays.",
        )
    if size > room.left - aside - room.kept:
        raise Refusal(
            ErrorCode.VAULT_FULL,
            "this device has used up its share of the vault's allowance",
            short_by=size - (room.left - aside - room.kept),
            advice=f"The last {room.kept} bytes are kept for the vault's other devices. Ask for a larger "
            "allowance, exclude something, or revoke devices that are no more; what is stored stays.",
        )


def take_room(vault: Vault, device: Device, room: Room, size: int, *, pending: int) -> None:
    """Count `size` bytes: first of the common room, then of what is kept for the device. `pending` more bytes
    wait for a commit of it. `room` is of the same transaction."""
    common = max(0, room.left - room.kept - room.own)
    change_rows("meter_vault", size, vault.pk)
    change_rows("meter_grant", pending, min(room.own, max(0, size - common)), vault.pk, device.pk)
