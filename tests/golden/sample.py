"""A small vault, the same in every bit each time it is made: what the golden files hold.

Nothing here is random: keys, ids and the randomness of nonces come from seeded generators. Blocks are stored
raw, because the bytes that zstd writes may change with its version; `compressed_pack` is the exception, made
once and only read since.
"""

from __future__ import annotations

import hashlib
import json
import random
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import msgspec

from muniment.crypto.codes import EnrolmentCode, RecoveryKit
from muniment.crypto.digests import chunk_id
from muniment.crypto.keys import VaultKeys
from muniment.crypto.slots import device_public_key, wrap_device, wrap_kit, wrap_passphrase
from muniment.format.block import Buffer, Compressor
from muniment.format.head import seal_head, snapshot_id
from muniment.format.pack import PackBuilder, encode_index_copy, read_index
from muniment.format.tree import TreeBuilder, build_extent_tree
from muniment.model.entry import Entry, EntryFlag, Extent, Owner, PageRef, PageType
from muniment.model.ids import DeviceId, InstallationId, PackId, PageId, SlotId, SnapshotId, VaultId
from muniment.model.packs import BlockAddress, ChunkAddress, PackKind
from muniment.model.snapshot import Counts, FileSystemNote, Head, SeenHead
from muniment.wire.messages import SignedSlotList, SlotInfo, SlotList

VAULT = VaultId(bytes.fromhex("6d756e696d656e742d676f6c64656e21"))
DEVICE = DeviceId(b"golden-device-01")
INSTALLATION = InstallationId(b"installation-001")
PASSPHRASE = "a golden passphrase is no secret: naïve café"
SERVER = "https://backup.example.org"
SERVER_KEY_HASH = hashlib.sha256(b"the server's public key").digest()[:16]
DEVICE_PRIVATE = hashlib.sha256(b"the device's private key").digest()
TEXT = "".join(
    f"{number:05d} The quick brown fox jumps over the lazy dog.\n" for number in range(400)
).encode()
SET_NAME = "home"


def stream(name: str) -> random.Random:
    """A generator of its own for each purpose, so that one more draw here moves nothing there."""
    return random.Random(f"muniment golden {name}")


KEYS = VaultKeys(VAULT, {0: stream("vault key 0").randbytes(32), 3: stream("vault key 3").randbytes(32)})
KIT = RecoveryKit(SERVER, VAULT, stream("kit").randbytes(32), KEYS.fingerprint, SERVER_KEY_HASH, pinned=True)
ENROLMENT = EnrolmentCode(stream("enrolment").randbytes(16), SERVER_KEY_HASH, new_vault=True, pinned=True)


class Stored(Compressor):
    """Stores everything raw."""

    def encode(self, parts: Sequence[Buffer], *, out: bytearray | None = None) -> Buffer:
        return b"\0" + b"".join(parts)


@dataclass
class Packer:
    """Puts chunks and pages into packs as the engine would, on one thread."""

    name: str
    compressor: Compressor
    packs: dict[PackId, bytes] = field(default_factory=dict)
    chunks: dict[bytes, ChunkAddress] = field(default_factory=dict)
    pages: dict[PageId, BlockAddress] = field(default_factory=dict)

    def open(self, kind: PackKind) -> PackBuilder:
        number = len(self.packs)
        source = stream(f"{self.name} pack {number}")
        # The first pack of the sample is of epoch 0: a vault whose key was rotated in between.
        epoch = 0 if number == 0 else None
        return PackBuilder(KEYS, kind, PackId(source.randbytes(16)), epoch=epoch, randomness=source.randbytes)

    def close(self, builder: PackBuilder) -> None:
        self.packs[builder.pack_id] = bytes(builder.seal(compressor=self.compressor)[1])

    def add(self, builder: PackBuilder, chunks: Sequence[bytes]) -> None:
        ids = [chunk_id(KEYS, chunk) for chunk in chunks]
        builder.add_data(self.compressor.encode(chunks), ids, [len(chunk) for chunk in chunks])
        self.chunks |= {chunk: builder.chunks[name] for chunk, name in zip(chunks, ids, strict=True)}

    def extent(self, content: bytes) -> Extent:
        return Extent(len(content), chunk_id(KEYS, content), self.chunks[content])

    def store_pages(self, builder: PackBuilder) -> StoreInto:
        return StoreInto(self, builder)


@dataclass
class StoreInto:
    packer: Packer
    builder: PackBuilder

    def __call__(self, page_type: PageType, page: bytes, name: PageId) -> BlockAddress:
        known = self.packer.pages.get(name)
        if known is None:
            encoded = self.packer.compressor.encode([page])
            known = self.packer.pages[name] = self.builder.add_page(encoded, name, len(page))
        return known


IMAGE = [stream("image").randbytes(300 + number) for number in range(70)]
"""Pieces of a file with an extent tree; a hole of 4096 bytes lies after each tenth."""

SMALL = {
    b"readme.txt": b"Golden files hold the format still.\n",
    b"notes": TEXT,
    b"\xff\xfe not UTF-8": b"\x00\x01\x02",
    b"attribute value": b"an attribute over four KiB has its value in chunks; this one only acts as if",
}
ME = Owner(1000, 1000, b"ada", b"users")
ROOT_OWNER = Owner(0, 0, b"root", b"root")
NANOSECOND = 1_700_000_000_123_456_789


def sample_entries(packer: Packer, image: PageRef) -> list[Entry]:
    """Every kind of entry, of names in key order."""

    def entry(directory: bytes, name: bytes, mode: int, **more: object) -> Entry:
        extents: tuple[Extent, ...] = more.pop("extents", ())  # type: ignore[assignment]
        fields: dict[str, object] = {
            "size": sum(extent.length for extent in extents),
            "mtime_ns": NANOSECOND,
            "ctime_ns": NANOSECOND + 1,
            "inode": 42,
            "owner": ME,
        }
        return Entry(directory, name, mode, extents=extents, **(fields | more))  # type: ignore[arg-type]

    def file(directory: bytes, name: bytes, content: bytes, **more: object) -> Entry:
        return entry(directory, name, stat.S_IFREG | 0o640, extents=(packer.extent(content),), **more)

    home = b"home\0ada\0"
    rare = home + b"rare\0"
    notes = packer.extent(TEXT)
    value = packer.extent(SMALL[b"attribute value"])
    many = [
        file(home + b"many\0", b"file-%04d" % number, b"content of file %d" % number, inode=number + 1)
        for number in range(300)
    ]
    entries = [
        entry(b"", b"home", stat.S_IFDIR | 0o755, owner=ROOT_OWNER),
        entry(b"home\0", b"ada", stat.S_IFDIR | 0o700, mtime_ns=-1),
        entry(home, b"empty", stat.S_IFREG | 0o600, flags=EntryFlag.RACY),
        entry(home, b"image", stat.S_IFREG | 0o600, size=image.content, extent_tree=image),
        entry(home, b"many", stat.S_IFDIR | 0o755),
        file(home, b"notes", TEXT, xattrs=((b"user.origin", b"https://example.org"),), link_group=1),
        file(home, b"notes again", TEXT, xattrs=((b"user.origin", b"https://example.org"),), link_group=1),
        entry(home, b"rare", stat.S_IFDIR | 0o1777, file_system=1),
        file(home, b"readme.txt", SMALL[b"readme.txt"], large_xattrs=((b"user.large", (value,)),)),
        file(home, b"\xff\xfe not UTF-8", SMALL[b"\xff\xfe not UTF-8"]),
        *many,
        entry(rare, b"block", stat.S_IFBLK | 0o660, device=(8, 1), owner=ROOT_OWNER, file_system=1),
        entry(rare, b"character", stat.S_IFCHR | 0o666, device=(1, 3), owner=ROOT_OWNER, file_system=1),
        entry(rare, b"link", stat.S_IFLNK | 0o777, link_target=b"../notes", size=8),
        entry(rare, b"pipe", stat.S_IFIFO | 0o600),
        entry(rare, b"socket", stat.S_IFSOCK | 0o600),
        entry(rare, b"sparse", stat.S_IFREG | 0o600, extents=(Extent(1 << 20), notes, Extent(4096))),
        entry(rare, b"unread", stat.S_IFREG, size=77, flags=EntryFlag.UNREADABLE | EntryFlag.KEPT),
    ]  # fmt: skip
    return sorted(entries, key=lambda one: one.key)


def image_extents(packer: Packer) -> list[Extent]:
    extents: list[Extent] = []
    for number, piece in enumerate(IMAGE):
        extents.append(packer.extent(piece))
        if number % 10 == 9:
            extents.append(Extent(4096))
    return extents


@dataclass(frozen=True)
class Sample:
    """One snapshot and its packs."""

    packs: dict[PackId, bytes]
    head: Head
    sealed_head: bytes
    entries: list[Entry]
    pages: dict[PageId, BlockAddress]

    @property
    def snapshot(self) -> SnapshotId:
        return snapshot_id(self.sealed_head)


def make_snapshot(name: str, *, compressor: Compressor, counter: int, parent: SnapshotId | None) -> Sample:
    """A mixed, a data and a page pack, and the head over them."""
    packer = Packer(name, compressor)
    mixed = packer.open(PackKind.MIXED)
    packer.add(mixed, list(SMALL.values()))
    packer.add(mixed, [b"content of file %d" % number for number in range(150)])
    image_pages = packer.store_pages(mixed)
    packer.packs[mixed.pack_id] = b""  # takes its place first, is sealed later
    data = packer.open(PackKind.DATA)
    packer.add(data, [b"content of file %d" % number for number in range(150, 300)])
    for piece in IMAGE:
        packer.add(data, [piece])
    packer.close(data)
    image = build_extent_tree(KEYS, image_pages, image_extents(packer))
    packer.close(mixed)
    pages = packer.open(PackKind.PAGE)
    builder = TreeBuilder(KEYS, packer.store_pages(pages))
    entries = sample_entries(packer, image)
    for entry in entries:
        builder.add(entry)
    root = builder.finish()
    packer.close(pages)
    head = Head(
        device=DEVICE,
        installation=INSTALLATION,
        counter=counter,
        set_id=KEYS.set_id(DEVICE, SET_NAME),
        set_name=SET_NAME,
        started_ns=NANOSECOND,
        ended_ns=NANOSECOND + counter * 10**9,
        roots=(b"/home/ada",),
        root=root,
        counts=Counts(files=sum(entry.is_file for entry in entries), bytes=root.content if root else 0),
        parent=parent,
        slot_list_number=1,
        slot_list_hash=hashlib.sha256(slot_list_body()).digest(),
        seen=(SeenHead(DeviceId(b"another-device-1"), 9, SnapshotId(b"\x07" * 32)),),
        file_systems=(
            FileSystemNote(0, b"/", "ext4"),
            FileSystemNote(1, b"/home/ada/rare", "nfs4", trust_inode=False),
        ),
        excluded=("*.tmp",),
        host="golden",
        client_version="0",
    )
    sealed = seal_head(KEYS, head, randomness=stream(f"{name} head").randbytes)
    return Sample(packer.packs, head, sealed, entries, packer.pages)


# --- slots


SLOTS = {
    "passphrase": SlotId(b"slot-passphrase!"),
    "kit": SlotId(b"slot-kit-kit-kit"),
    "device": SlotId(b"slot-device-devi"),
}


@cache
def wrapped_slots() -> dict[str, bytes]:
    public = device_public_key(DEVICE_PRIVATE)
    return {
        "passphrase": wrap_passphrase(
            KEYS, SLOTS["passphrase"], PASSPHRASE, randomness=stream("slot passphrase").randbytes
        ),
        "kit": wrap_kit(KEYS, SLOTS["kit"], KIT.code, randomness=stream("slot kit").randbytes),
        "device": wrap_device(KEYS, SLOTS["device"], public, randomness=stream("slot device").randbytes),
    }


def slot_list_body() -> bytes:
    lines = [
        SlotInfo(
            slot=SLOTS[kind].hex,
            kind=kind,  # type: ignore[arg-type]
            label=kind,
            device=DEVICE.hex if kind == "device" else None,
            added_by=DEVICE.hex,
            added_at=1.7e9,
            digest=hashlib.sha256(wrapped).digest(),
            epoch=KEYS.newest_epoch,
        )
        for kind, wrapped in wrapped_slots().items()
    ]
    return msgspec.msgpack.encode(SlotList(vault=VAULT.hex, number=1, previous=b"", slots=lines))


def signed_slot_list() -> bytes:
    body = slot_list_body()
    return msgspec.msgpack.encode(SignedSlotList(body=body, mac=KEYS.mac(body, epoch=KEYS.newest_epoch)))


# --- as an export


def export_files(sample: Sample) -> dict[str, bytes]:
    """The sample laid out as `docs/design/export.md` says: path → bytes."""
    vault = {"format": 1, "vault": VAULT.hex, "server": SERVER, "exported_at": "2023-11-14T22:13:20Z"}
    files = {
        "README.txt": b"Sealed test data of Muniment. See docs/design/export.md.\n",
        "vault.json": json.dumps(vault, indent=1, sort_keys=True).encode() + b"\n",
        "slots/list": signed_slot_list(),
        f"heads/{sample.snapshot}": sample.sealed_head,
        f"sets/{sample.snapshot}": b"".join(sorted(pack.raw for pack in sample.packs)),
    }
    files |= {f"slots/{SLOTS[kind]}": wrapped for kind, wrapped in wrapped_slots().items()}
    files |= {f"packs/{pack.hex[:2]}/{pack}": content for pack, content in sample.packs.items()}
    return files


def index_pack(sample: Sample) -> bytes:
    source = stream("index pack")
    builder = PackBuilder(KEYS, PackKind.INDEX, PackId(source.randbytes(16)), randomness=source.randbytes)
    for pack, content in sample.packs.items():
        copy = encode_index_copy(read_index(KEYS, content, pack_id=pack))
        builder.add_index_copy(Stored().encode([copy]), pack, len(copy))
    return bytes(builder.seal(compressor=Stored())[1])
