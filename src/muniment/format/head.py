"""Heads: the sealed record of a snapshot. `docs/design/format.md`, "Head"."""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import Any

import msgspec

from muniment.crypto.keys import VaultKeys
from muniment.crypto.sealing import FORMAT_VERSION, SEAL_OVERHEAD, Randomness
from muniment.format.tables import MAX_KEY, MAX_LEVEL, MAX_SIZE, MAX_U32, check_place
from muniment.model.entry import PageRef, PageType
from muniment.model.errors import DamagedObject, NewerFormat, UsageError
from muniment.model.ids import DeviceId, InstallationId, PackId, PageId, SetId, SnapshotId
from muniment.model.packs import HEAD_CEILING, BlockAddress, PackKind
from muniment.model.snapshot import Counts, FileSystemNote, Head, SeenHead

MAGIC = b"MUNIHEAD"
CLEAR = 32
STEP = 1024
"""The padded plaintext is a multiple of this, so that a head's size tells little."""

MAX_HEAD = HEAD_CEILING
"""No sealed head is larger: a reader refuses it before it opens it."""


class _Counts(msgspec.Struct, forbid_unknown_fields=True, array_like=True):
    files: int
    directories: int
    others: int
    bytes: int
    new_bytes: int
    errors: int


class _Root(msgspec.Struct, forbid_unknown_fields=True, array_like=True):
    pack: bytes
    kind: int
    epoch: int
    ordinal: int
    offset: int
    length: int
    page_id: bytes
    page_type: int
    level: int
    last_key: bytes
    entries: int
    content: int


class _Head(msgspec.Struct, forbid_unknown_fields=True):
    """The MessagePack map, field by field; names here are the format."""

    device: bytes
    installation: bytes
    counter: int
    set_id: bytes
    set_name: str
    started_ns: int
    ended_ns: int
    roots: list[bytes]
    root: _Root | None
    counts: _Counts
    parent: bytes | None
    slot_list_number: int
    slot_list_hash: bytes
    partial: bool
    seen: list[tuple[bytes, int, bytes]]
    file_systems: list[tuple[int, bytes, str, bool]]
    excluded: list[str]
    host: str
    client_version: str
    extra: dict[str, str]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Head)


def snapshot_id(sealed: bytes) -> SnapshotId:
    return SnapshotId(hashlib.sha256(sealed).digest())


def seal_head(keys: VaultKeys, head: Head, *, randomness: Randomness = os.urandom) -> bytes:
    """The head as it is stored and sent: sealed under the newest epoch, padded."""
    body = encode_head(head)
    plain = len(body).to_bytes(4) + body
    plain += bytes(-len(plain) % STEP)
    salt = randomness(16)
    epoch = keys.newest_epoch
    clear = MAGIC + bytes([FORMAT_VERSION, 0, 0, 0]) + epoch.to_bytes(4) + salt
    sealer = keys.head_keys(salt, epoch=epoch).with_randomness(randomness)
    sealed = clear + sealer.seal(plain, aad=clear + keys.vault.raw)
    if len(sealed) > MAX_HEAD:
        raise UsageError(
            "the paths and exclude rules of this set are too many to be recorded with its snapshots",
            advice="Back up a directory that holds the paths, or make several sets of them.",
        )
    return sealed


def open_head(keys: VaultKeys, sealed: bytes, expected: SnapshotId | None = None) -> Head:
    """The head, authenticated; DamagedObject when it is not the snapshot `expected`, or altered at all."""
    if expected is not None and not hmac.compare_digest(snapshot_id(sealed).raw, expected.raw):
        raise _damaged("it is not the snapshot that was asked for")
    clear = sealed[:CLEAR]
    if len(sealed) > MAX_HEAD or len(clear) < CLEAR or clear[:8] != MAGIC:
        raise _damaged("it does not begin as heads do")
    if clear[8] > FORMAT_VERSION:
        raise NewerFormat("a snapshot's head", version=clear[8], known=FORMAT_VERSION)
    plain_length = len(sealed) - CLEAR - SEAL_OVERHEAD
    if clear[8] != FORMAT_VERSION or clear[9:12] != bytes(3) or plain_length <= 0 or plain_length % STEP:
        raise _damaged("its frame is impossible")
    sealer = keys.head_keys(clear[16:], epoch=int.from_bytes(clear[12:16]))
    try:
        plain = sealer.open(memoryview(sealed)[CLEAR:], aad=clear + keys.vault.raw)
    except DamagedObject as error:
        raise _damaged(error.why) from None
    end = 4 + int.from_bytes(plain[:4])
    if end > len(plain) or len(plain) - end >= STEP or any(plain[end:]):
        raise _damaged("its padding is impossible")
    return decode_head(plain[4:end])


def encode_head(head: Head) -> bytes:
    """What is inside a sealed head: MessagePack, neither padded nor sealed."""
    return _encoder.encode(_plain(head))


def decode_head(body: bytes) -> Head:
    """The inverse; DamagedObject where it does not parse."""
    try:
        return _head(_decoder.decode(body))
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError, ValueError):
        # ValueError: an id of another length, a kind or type that does not exist.
        raise _damaged("it does not parse") from None


def _plain(head: Head) -> _Head:
    root = head.root
    return _Head(
        device=head.device.raw,
        installation=head.installation.raw,
        counter=head.counter,
        set_id=head.set_id.raw,
        set_name=head.set_name,
        started_ns=head.started_ns,
        ended_ns=head.ended_ns,
        roots=list(head.roots),
        root=None if root is None else _plain_root(root),
        counts=_Counts(
            head.counts.files, head.counts.directories, head.counts.others, head.counts.bytes,
            head.counts.new_bytes, head.counts.errors,
        ),
        parent=None if head.parent is None else head.parent.raw,
        slot_list_number=head.slot_list_number,
        slot_list_hash=head.slot_list_hash,
        partial=head.partial,
        seen=[(seen.device.raw, seen.counter, seen.snapshot.raw) for seen in head.seen],
        file_systems=[
            (note.ordinal, note.mount_point, note.kind, note.trust_inode) for note in head.file_systems
        ],
        excluded=list(head.excluded),
        host=head.host,
        client_version=head.client_version,
        extra=dict(head.extra),
    )  # fmt: skip


def _plain_root(root: PageRef) -> _Root:
    block = root.block
    return _Root(
        block.pack_id.raw, int(block.kind), block.epoch, block.ordinal, block.offset, block.length,
        root.page_id.raw, int(root.page_type), root.level, root.last_key, root.entries, root.content,
    )  # fmt: skip


def _head(plain: _Head) -> Head:
    _check_numbers(plain)
    return Head(
        device=DeviceId(plain.device),
        installation=InstallationId(plain.installation),
        counter=plain.counter,
        set_id=SetId(plain.set_id),
        set_name=plain.set_name,
        started_ns=plain.started_ns,
        ended_ns=plain.ended_ns,
        roots=tuple(plain.roots),
        root=None if plain.root is None else _root(plain.root),
        counts=Counts(*(getattr(plain.counts, name) for name in plain.counts.__struct_fields__)),
        parent=None if plain.parent is None else SnapshotId(plain.parent),
        slot_list_number=plain.slot_list_number,
        slot_list_hash=plain.slot_list_hash,
        partial=plain.partial,
        seen=tuple(SeenHead(DeviceId(d), counter, SnapshotId(s)) for d, counter, s in plain.seen),
        file_systems=tuple(FileSystemNote(*note) for note in plain.file_systems),
        excluded=tuple(plain.excluded),
        host=plain.host,
        client_version=plain.client_version,
        extra=plain.extra,
    )


def _root(plain: _Root) -> PageRef:
    place: list[Any] = [0, plain.ordinal, plain.offset, plain.length]
    check_place(place, 1)
    page_type = PageType(plain.page_type)
    of_entries = PageType.INTERIOR if plain.level else PageType.LEAF
    if page_type is not of_entries or not 0 <= plain.level <= MAX_LEVEL:
        raise _damaged("its root is of a type or level that cannot be there")
    if not 0 < len(plain.last_key) <= MAX_KEY or plain.entries < 1 or plain.content < 0:
        raise _damaged("its root describes an impossible tree")
    if not 0 <= plain.epoch <= MAX_U32:
        raise _damaged("its root names an impossible key epoch")
    address = BlockAddress(
        PackId(plain.pack), PackKind(plain.kind), plain.epoch, plain.ordinal, plain.offset, plain.length
    )
    return PageRef(
        address, PageId(plain.page_id), page_type, plain.level, plain.last_key, plain.entries, plain.content
    )


def _check_numbers(plain: _Head) -> None:
    counts = [getattr(plain.counts, name) for name in plain.counts.__struct_fields__]
    numbers = [plain.counter, plain.slot_list_number, *counts, *(counter for _, counter, _ in plain.seen)]
    numbers += [ordinal for ordinal, _, _, _ in plain.file_systems]
    if min(numbers) < 0 or max(numbers) > MAX_SIZE or len(plain.slot_list_hash) not in {0, 32}:
        raise _damaged("a number in it is impossible")


def _damaged(why: str) -> DamagedObject:
    return DamagedObject("a snapshot's head", why=why)
