"""What a hostile holder of the vault key can make: any tree, any page, any head, any index, well sealed.

Nothing that it makes goes to the server: the proxy (`evil`) serves it, so the real vault stays as it is.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from muniment.crypto.digests import chunk_id, page_id
from muniment.crypto.keys import VaultKeys
from muniment.format.block import Compressor
from muniment.format.head import seal_head, snapshot_id
from muniment.format.pack import PackBuilder
from muniment.format.page import encode_leaf
from muniment.format.tree import TreeBuilder
from muniment.model.entry import Entry, Extent, Owner, PageRef, PageType
from muniment.model.ids import ChunkId, DeviceId, InstallationId, PackId, PageId
from muniment.model.packs import BlockAddress, ChunkAddress, PackKind
from muniment.model.snapshot import Counts, Head
from muniment.wire import messages as wire
from tests.support.evil import Evil, Exchange

OWNER = Owner(0, 0, b"root", b"root")
NOON = 1_700_000_000_000_000_000


@dataclass
class Forger:
    """Packs and heads in memory. `index_packs` are shown by sessions."""

    keys: VaultKeys
    packs: dict[PackId, bytes] = field(default_factory=dict)
    records: list[wire.HeadRecord] = field(default_factory=list)
    index_packs: list[wire.IndexPackInfo] = field(default_factory=list)

    # --- making

    def pack(self, kind: PackKind = PackKind.MIXED) -> ForgedPack:
        return ForgedPack(self, PackBuilder(self.keys, kind))

    def tree(self, entries: Iterable[Entry], *, pack: ForgedPack | None = None) -> PageRef:
        """A tree of these entries, honestly built, in a pack of its own unless one is given."""
        mine = pack or self.pack()
        builder = TreeBuilder(self.keys, mine.store_page)
        for entry in sorted(entries, key=lambda entry: entry.key):
            builder.add(entry)
        root = builder.finish()
        assert root is not None
        if pack is None:
            mine.seal()
        return root

    def leaf(self, content: bytes, *, last_key: bytes, entries: int, size: int = 0) -> PageRef:
        """A tree of one leaf with exactly these bytes."""
        pack = self.pack()
        root = pack.page(PageType.LEAF, content, level=0, last_key=last_key, entries=entries, content=size)
        pack.seal()
        return root

    def snapshot(self, root: PageRef | None, *, name: str = "forged", **fields: Any) -> str:
        """A head over `root`, of a device and set of its own; returns the snapshot's id."""
        device = fields.pop("device", DeviceId.random())
        head = Head(
            device=device,
            installation=fields.pop("installation", InstallationId.random()),
            counter=fields.pop("counter", 1),
            set_id=self.keys.set_id(device, name),
            set_name=name,
            started_ns=NOON,
            ended_ns=NOON,
            roots=(b"/",),
            root=root,
            counts=Counts(files=1),
            parent=None,
            slot_list_number=0,
            slot_list_hash=b"",
        )
        head = replace(head, **fields)
        self.records.append(record_of(self.keys, head, received_at=NOON / 1e9))
        return self.records[-1].snapshot

    # --- serving

    def plant(self, evil: Evil) -> None:
        """Show everything forged beside what the real vault holds."""
        evil.rewrite("keys", wire.VaultKeys, self._with_heads)
        evil.rewrite("snapshots", wire.SnapshotPage, self._with_snapshots)
        evil.rewrite("open_session", wire.SessionOpened, self._with_index)
        evil.usurp("get_pack", self._give_pack)
        evil.usurp("snapshot_packs", self._list_packs)

    def _with_heads(self, said: wire.VaultKeys) -> wire.VaultKeys:
        return msgspec.structs.replace(said, heads=[*said.heads, *self.records])

    def _with_snapshots(self, said: wire.SnapshotPage) -> wire.SnapshotPage:
        if said.next is not None:
            return said
        return msgspec.structs.replace(said, snapshots=[*said.snapshots, *self.records])

    def _with_index(self, said: wire.SessionOpened) -> wire.SessionOpened:
        return msgspec.structs.replace(said, index_packs=[*said.index_packs, *self.index_packs])

    def _give_pack(self, exchange: Exchange) -> None:
        content = self.packs.get(PackId.parse(exchange.ids["pack"]))
        if content is not None:
            offset, length = exchange.range
            exchange.answer(content[offset : offset + length], status=206)

    def _list_packs(self, exchange: Exchange) -> None:
        if any(record.snapshot == exchange.ids["snapshot"] for record in self.records):
            infos = [
                wire.PackInfo(pack=pack.hex, kind=content[9], epoch=0, size=len(content), sha256=bytes(32))
                for pack, content in self.packs.items()
            ]
            exchange.answer(wire.SnapshotPacks(snapshot=exchange.ids["snapshot"], packs=infos))


@dataclass
class ForgedPack:
    """One pack being made."""

    forger: Forger
    builder: PackBuilder
    compressor: Compressor = field(default_factory=Compressor)

    def store_page(self, page_type: PageType, content: bytes, page: PageId) -> BlockAddress:
        return self.builder.add_page(bytes(self.compressor.encode([content])), page, len(content))

    def page(
        self, page_type: PageType, page_bytes: bytes, *, name: PageId | None = None, **described: Any
    ) -> PageRef:
        """A page of exactly these bytes, and a reference that says of it what it is told."""
        page = name or page_id(self.forger.keys, page_type, page_bytes)
        return PageRef(self.store_page(page_type, page_bytes, page), page, page_type, **described)

    def chunk(self, data: bytes, *, claimed: bytes | None = None) -> Extent:
        """A chunk in a block of its own, named after `claimed` where that is given."""
        name = chunk_id(self.forger.keys, data if claimed is None else claimed)
        address = self.builder.add_data(bytes(self.compressor.encode([data])), [name], [len(data)])
        return Extent(len(data), name, ChunkAddress(address, 0, len(data)))

    def block(self, encoded: bytes, ids: Sequence[ChunkId], lengths: Sequence[int]) -> BlockAddress:
        """A data block of exactly these encoded bytes."""
        return self.builder.add_data(encoded, ids, lengths)

    def seal(self) -> PackId:
        _, content = self.builder.seal()
        self.forger.packs[self.builder.pack_id] = bytes(content)
        return self.builder.pack_id


def record_of(keys: VaultKeys, head: Head, *, received_at: float) -> wire.HeadRecord:
    sealed = seal_head(keys, head)
    return wire.HeadRecord(
        snapshot=snapshot_id(sealed).hex,
        device=head.device.hex,
        set_id=head.set_id.hex,
        counter=head.counter,
        parent=head.parent.hex if head.parent else None,
        received_at=received_at,
        partial=head.partial,
        head=sealed,
    )


def entry(path: bytes, *, mode: int = stat.S_IFREG | 0o644, **fields: Any) -> Entry:
    """An entry at `path`, whose last slash parts directory and name; all else is ordinary."""
    directory, _, name = path.rpartition(b"/")
    key = b"".join(part + b"\0" for part in directory.split(b"/") if part)
    known: dict[str, Any] = {
        "directory": key, "name": name, "mode": mode, "size": 0, "mtime_ns": NOON, "ctime_ns": NOON,
        "inode": 0, "owner": OWNER,
    }  # fmt: skip
    return Entry(**known | fields)


def directory(path: bytes, **fields: Any) -> Entry:
    return entry(path, mode=stat.S_IFDIR | 0o755, **fields)


def link(path: bytes, target: bytes, **fields: Any) -> Entry:
    return entry(path, mode=stat.S_IFLNK | 0o777, link_target=target, **fields)


def file(path: bytes, extent: Extent, **fields: Any) -> Entry:
    return entry(path, size=extent.length, extents=(extent,), **fields)


def raw_leaf(entries: Sequence[Entry]) -> bytes:
    """The page of these entries in the order given, however senseless."""
    return encode_leaf(entries)
