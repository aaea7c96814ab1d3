"""Messages of the data plane, protocol 1. JSON; bytes travel as base64, ids as lower-case hexadecimal.

Unknown fields are refused on both sides (``forbid_unknown_fields``): a message that means more than we
understand is not acted on. Times are seconds since the epoch, from the server's clock.
`docs/design/protocol.md` says which request carries which message.
"""

from __future__ import annotations

from typing import Literal

import msgspec

PROTOCOL = 1
PREFIX = "/dp/v1"


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all messages."""


class ServerInfo(Message):
    version: str
    protocols: list[int]
    identity: bytes
    """The server's public key, SubjectPublicKeyInfo DER; kept for life."""
    time: float


class ErrorReply(Message):
    error: str
    """A code of `wire.errors`."""
    message: str
    advice: str = ""
    short_by: int | None = None
    request: str | None = None
    missing: list[str] = []
    reason: str | None = None


# --- enrolment and vaults


class EnrolRequest(Message):
    secret: bytes
    """The secret of a one-time enrolment code, 16 bytes."""
    device_name: str
    public_key: bytes
    """X25519, 32 bytes: the device's slot is wrapped for it."""


class VaultInfo(Message):
    vault: str
    name: str
    created_at: float
    allowance: int
    used: int


class Enrolled(Message):
    device: str
    token: str
    account: str
    vaults: list[VaultInfo]


class CreateVault(Message):
    vault: str
    name: str = ""


class SlotInfo(Message):
    """A line of the slot list. `kind`: passphrase, kit or device; `digest`: SHA-256 of the wrapped key."""

    slot: str
    kind: Literal["passphrase", "kit", "device"]
    label: str
    device: str | None
    added_by: str
    added_at: float
    digest: bytes
    epoch: int = 0


class RemovalRecord(Message):
    """Takes a slot out of the list once its owner confirmed and the delay passed; MACed under the vault key."""

    vault: str
    slot: str
    list_number: int
    made_at: float


class SignedRemoval(Message):
    record: bytes
    """MessagePack of a RemovalRecord."""
    mac: bytes


class SlotList(Message):
    """The numbered, chained list of slots. `previous` is the SHA-256 of the list before (empty for number 1)."""

    vault: str
    number: int
    previous: bytes
    slots: list[SlotInfo]
    removals: list[SignedRemoval] = []


class SignedSlotList(Message):
    body: bytes
    """MessagePack of a SlotList."""
    mac: bytes
    """HMAC-SHA256 under the `slot-list` sub-key, which the server cannot make or check."""


class PutSlotList(Message):
    """Compare-and-swap: applied when the server's newest list has this number and hash (0 and empty: none)."""

    expected_number: int
    expected_hash: bytes
    signed: SignedSlotList


class WrappedSlot(Message):
    slot: str
    wrapped: bytes


class HeadRecord(Message):
    """A committed snapshot as the server knows it; `head` is its sealed record."""

    snapshot: str
    device: str
    set_id: str
    counter: int
    parent: str | None
    received_at: float
    partial: bool
    head: bytes


class VaultKeys(Message):
    """Everything a key holder needs at start, in one reply. `heads`: the newest of each (device, set)."""

    vault: VaultInfo
    signed: SignedSlotList | None
    slots: list[WrappedSlot]
    heads: list[HeadRecord]


class RegisterKit(Message):
    slot: str
    credential_hash: bytes
    """SHA-256 of the kit's credential."""


class KitLogin(Message):
    vault: str
    credential: bytes


class KitToken(Message):
    token: str
    expires_at: float


# --- sessions, packs, commits


class OpenSession(Message):
    purpose: Literal["backup", "restore"]
    client_version: str
    cursor: int = 0
    """Feed position of the local index: only newer index packs are listed."""


class IndexPackInfo(Message):
    pack: str
    epoch: int
    size: int
    covers: list[str]


class SessionOpened(Message):
    session: str
    expires_at: float
    heartbeat_seconds: int
    server_time: float
    allowance: int
    used: int
    pending_cap: int
    """Most bytes a device may hold here that no commit of its own refers to."""
    cursor: int
    index_packs: list[IndexPackInfo]
    quarantined: list[str]
    tombstones: list[str]
    heads: list[HeadRecord]


class KnownPacksRequest(Message):
    session: str
    packs: list[str]


class KnownPacks(Message):
    held: dict[str, bytes]
    """Of the packs asked about, those durably held, with their SHA-256."""


class PackStored(Message):
    pack: str
    created: bool


class Commit(Message):
    session: str
    installation: str
    counter: int
    set_id: str
    parent: str | None
    """The snapshot whose reference set `add` and `remove` start from; not necessarily the parent of the run."""
    head: bytes
    add: list[str]
    remove: list[str]
    packs_hash: bytes
    """SHA-256 of the full sorted list of pack ids (16 bytes each, concatenated)."""
    partial: bool
    slot_list_number: int
    index_packs: list[IndexPackInfo] = []
    continues: str | None = None
    """After lost state: the newest head of this device that the new installation goes on from."""


class Committed(Message):
    snapshot: str
    created: bool
    received_at: float


class Coverage(Message):
    """Counts by reason, never names."""

    read: int = 0
    unchanged: int = 0
    excluded: int = 0
    unreadable: int = 0
    changed: int = 0
    unsupported: int = 0


class RunReport(Message):
    session: str | None
    set_id: str
    outcome: Literal["done", "incomplete", "failed", "interrupted"]
    coverage: Coverage
    bytes_bound: int
    """Bytes read, rounded up to a power of two of at least 1 MiB."""
    seconds: float
    client_version: str


class SnapshotPage(Message):
    snapshots: list[HeadRecord]
    next: str | None


class SnapshotPacks(Message):
    snapshot: str
    packs: list[PackInfo]


class PackInfo(Message):
    pack: str
    kind: int
    epoch: int
    size: int
    sha256: bytes


# --- devices, confirmations, events


class DeviceInfo(Message):
    device: str
    name: str
    enrolled_at: float
    last_seen_at: float | None
    revoked_at: float | None
    this: bool


class DeviceList(Message):
    devices: list[DeviceInfo]


class AskConfirmation(Message):
    """Ask the owner to confirm. `removal` goes with remove_slot."""

    action: Literal["revoke_device", "remove_slot"]
    subject: str
    removal: SignedRemoval | None = None


class Confirmation(Message):
    request: str
    action: str
    subject: str
    state: Literal["pending", "confirmed", "undone", "done", "lapsed"]
    asked_at: float
    asked_by: str
    effective_at: float | None


class ConfirmationList(Message):
    requests: list[Confirmation]


class EventInfo(Message):
    number: int
    at: float
    kind: str
    device: str | None
    detail: dict[str, str]


class EventPage(Message):
    events: list[EventInfo]
    next: int | None
