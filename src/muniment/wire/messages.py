"""Messages of the data plane, protocol 1. JSON; bytes travel as base64, ids as lower-case hexadecimal.

Unknown fields are refused on both sides (``forbid_unknown_fields``): a message that means more than we
understand is not acted on. Times are seconds since the epoch, from the server's clock.
`docs/design/protocol.md` says which request carries which message.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

PROTOCOL = 1
PREFIX = "/dp/v1"

Id = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$", min_length=32, max_length=32)]
"""An identifier of 16 bytes."""
SnapshotName = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$", min_length=64, max_length=64)]
"""The SHA-256 of a sealed head."""
Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Label = Annotated[str, msgspec.Meta(max_length=100, pattern="^[^\\x00]*$")]
"""Short text that a person wrote. Without NUL, which not every database can hold."""
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Number = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=253_402_000_000)]
"""A moment, in seconds since the epoch; at most what a calendar can show (the year 9999)."""


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all messages."""


class ServerInfo(Message):
    version: str
    protocols: list[int]
    identity: bytes
    """The server's public key, SubjectPublicKeyInfo DER; kept for life."""
    time: Seconds


class ErrorReply(Message):
    error: str
    """A code of `wire.errors`."""
    message: str
    advice: str = ""
    short_by: Count | None = None
    request: str | None = None
    missing: list[Id] = []
    reason: str | None = None
    newest: HeadRecord | None = None
    """With commit_conflict over a counter: the device's newest head."""


# --- enrolment and vaults


class EnrolRequest(Message):
    secret: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
    """The secret of a one-time enrolment code, 16 bytes."""
    device_name: Label
    public_key: Digest
    """X25519, 32 bytes: the device's slot is wrapped for it."""


class VaultInfo(Message):
    vault: Id
    name: str
    created_at: Seconds
    allowance: Count
    used: Count


class Enrolled(Message):
    device: Id
    token: str
    account: str
    vaults: list[VaultInfo]


class CreateVault(Message):
    vault: Id
    name: Label = ""


class SlotInfo(Message):
    """A line of the slot list. `kind`: passphrase, kit or device; `digest`: SHA-256 of the wrapped key."""

    slot: Id
    kind: Literal["passphrase", "kit", "device"]
    label: Label
    device: Id | None
    added_by: Label
    added_at: Seconds
    digest: Digest
    epoch: Number = 0


class RemovalRecord(Message):
    """Takes a slot out of the list once its owner confirmed and the delay passed. MACed under the vault."""

    vault: Id
    slot: Id
    list_number: Number
    made_at: Seconds


class SignedRemoval(Message):
    record: bytes
    """MessagePack of a RemovalRecord."""
    mac: bytes


class SlotList(Message):
    """The numbered, chained list of slots. `previous`: SHA-256 of the list before (empty for number 1)."""

    vault: Id
    number: Number
    previous: bytes
    slots: list[SlotInfo]
    removals: list[SignedRemoval] = []


class SignedSlotList(Message):
    body: bytes
    """MessagePack of a SlotList."""
    mac: bytes
    """HMAC-SHA256 under the `slot-list` sub-key, which the server cannot make or check."""


class PutSlotList(Message):
    """Compare-and-swap: applied when the newest list has this number and hash (0 and empty: none)."""

    expected_number: Number
    expected_hash: bytes
    signed: SignedSlotList


class WrappedSlot(Message):
    slot: Id
    wrapped: Annotated[bytes, msgspec.Meta(min_length=1, max_length=16384)]


class HeadRecord(Message):
    """A committed snapshot as the server knows it; `head` is its sealed record."""

    snapshot: SnapshotName
    device: Id
    set_id: Id
    counter: Number
    parent: SnapshotName | None
    received_at: Seconds
    partial: bool
    head: bytes


class VaultKeys(Message):
    """Everything a key holder needs at start, in one reply. `heads`: the newest of each (device, set)."""

    vault: VaultInfo
    signed: SignedSlotList | None
    slots: list[WrappedSlot]
    heads: list[HeadRecord]
    removals: list[SignedRemoval] = []
    """Removals that are confirmed and due: the next holder of the key folds them into the list."""


class RegisterKit(Message):
    slot: Id
    credential_hash: Digest
    """SHA-256 of the kit's credential."""


class KitLogin(Message):
    vault: Id
    credential: Digest


class KitToken(Message):
    token: str
    expires_at: Seconds


# --- sessions, packs, commits


class OpenSession(Message):
    purpose: Literal["backup", "restore"]
    client_version: Label
    cursor: Count = 0
    """Feed position of the local index: only newer index packs are listed."""


class IndexPackInfo(Message):
    pack: Id
    epoch: Number
    size: Count
    covers: list[Id]


class SessionOpened(Message):
    session: Id
    expires_at: Seconds
    heartbeat_seconds: Number
    server_time: Seconds
    allowance: Count
    used: Count
    pending_cap: Count
    """Most bytes a device may hold here that no commit of its own refers to."""
    cursor: Count
    index_packs: list[IndexPackInfo]
    quarantined: list[Id]
    tombstones: list[Id]
    heads: list[HeadRecord]


class KnownPacksRequest(Message):
    session: Id
    packs: Annotated[list[Id], msgspec.Meta(max_length=10_000)]


class KnownPacks(Message):
    held: dict[Id, Digest]
    """Of the packs asked about, those durably held, with their SHA-256."""


class SessionAlive(Message):
    expires_at: Seconds
    server_time: Seconds


class Stored(Message):
    """Answer to requests that put something in place: `created` is False for a repeat."""

    created: bool


class PackStored(Message):
    pack: Id
    created: bool


class Commit(Message):
    session: Id
    installation: Id
    counter: Number
    set_id: Id
    parent: SnapshotName | None
    """The snapshot whose reference set `add` and `remove` start from; need not be the run's parent."""
    head: Annotated[bytes, msgspec.Meta(min_length=64, max_length=128 << 10)]
    """At most `model.packs.HEAD_CEILING`."""
    add: list[Id]
    remove: list[Id]
    packs_hash: Digest
    """SHA-256 of the full sorted list of pack ids (16 bytes each, concatenated)."""
    partial: bool
    slot_list_number: Number
    index_packs: list[IndexPackInfo] = []
    continues: SnapshotName | None = None
    """After lost state: the newest head of this device that the new installation goes on from."""
    damaged: list[Id] = []
    """Packs in quarantine that the parent holds and this snapshot carries on knowingly."""


class Committed(Message):
    snapshot: SnapshotName
    created: bool
    received_at: Seconds


class Coverage(Message):
    """Counts by reason, never names."""

    read: Count = 0
    unchanged: Count = 0
    excluded: Count = 0
    unreadable: Count = 0
    changed: Count = 0
    unsupported: Count = 0


class RunReport(Message):
    session: Id | None
    set_id: Id
    outcome: Literal["done", "incomplete", "failed", "interrupted"]
    coverage: Coverage
    bytes_bound: Count
    """Bytes read, rounded up to a power of two of at least 1 MiB."""
    seconds: Annotated[float, msgspec.Meta(ge=0, le=1e9)]
    client_version: Label


class SnapshotPage(Message):
    snapshots: list[HeadRecord]
    next: SnapshotName | None


class SnapshotPacks(Message):
    snapshot: SnapshotName
    packs: list[PackInfo]
    """A page of the reference set, by pack id; without those that were lost."""
    next: Id | None = None


class PackInfo(Message):
    pack: Id
    kind: Annotated[int, msgspec.Meta(ge=1, le=4)]
    epoch: Number
    size: Count
    sha256: Digest


# --- devices, confirmations, events


class DeviceInfo(Message):
    device: Id
    name: str
    enrolled_at: Seconds
    last_seen_at: Seconds | None
    revoked_at: Seconds | None
    this: bool


class DeviceList(Message):
    devices: list[DeviceInfo]


class AskConfirmation(Message):
    """Ask the owner to confirm. `removal` goes with remove_slot."""

    action: Literal["revoke_device", "remove_slot"]
    subject: Id
    removal: SignedRemoval | None = None


class Confirmation(Message):
    request: str
    action: str
    subject: str
    state: Literal["pending", "confirmed", "undone", "done", "lapsed"]
    asked_at: Seconds
    asked_by: str
    effective_at: Seconds | None


class ConfirmationList(Message):
    requests: list[Confirmation]


class EventInfo(Message):
    number: Count
    at: Seconds
    kind: str
    device: Id | None
    detail: dict[str, str]


class EventPage(Message):
    events: list[EventInfo]
    next: Count | None
