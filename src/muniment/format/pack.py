"""Packs: sealed blocks, a sealed index padded to a permitted size, a sealed trailer.

`docs/design/format.md`, "Pack". A `PackBuilder` gives addresses at once and seals at the end, in one go and
into one buffer, so that threads work in steps of megabytes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import accumulate, repeat

from muniment.crypto.digests import chunk_id, page_id
from muniment.crypto.keys import VaultKeys
from muniment.crypto.sealing import FORMAT_VERSION, SEAL_OVERHEAD, Randomness, SealKeys, block_aad
from muniment.format.block import Buffer, Compressor, decode_block
from muniment.format.packindex import (
    HEADER,
    ID,
    MAX_INDEX_PLAIN,
    IndexedBlock,
    PackIndex,
    decode_index,
    decode_index_copy,
    encode_index,
    encode_index_copy,
    pack_kind,
)
from muniment.model.entry import PageType
from muniment.model.errors import DamagedObject, NewerFormat
from muniment.model.ids import ChunkId, PackId, PageId
from muniment.model.packs import (
    MIXED_PACK_TARGET,
    PACK_CEILING,
    PACK_TARGET,
    BlockAddress,
    BlockRole,
    ChunkAddress,
    PackKind,
    SealedPack,
    is_permitted_size,
    padded_size,
)

__all__ = [
    "IndexedBlock",
    "PackBuilder",
    "PackIndex",
    "PackReader",
    "check_pack",
    "decode_index_copy",
    "encode_index_copy",
    "open_block",
    "read_index",
    "take_chunk",
]

MAGIC = b"MUNIPACK"
TRAILER_PLAIN = 64
TRAILER = TRAILER_PLAIN + SEAL_OVERHEAD
INDEX_ORDINAL = 0xFFFFFFFE
TRAILER_ORDINAL = 0xFFFFFFFF

# Most that one block, and one id in it, add to the index plaintext.
_INDEX_ROW = 24
_INDEX_ITEM = ID + 5
_FRAME = HEADER + SEAL_OVERHEAD + 4 + 64 + TRAILER

ReadRange = Callable[[int, int], Buffer]
"""(offset, length) → exactly that many bytes of the stored pack."""


class PackBuilder:
    """Collects encoded blocks of one pack. Not for several threads at once; `seal` may run in another.

    What is added must stay unchanged until sealed: nothing is copied before.
    """

    def __init__(
        self,
        keys: VaultKeys,
        kind: PackKind,
        pack_id: PackId | None = None,
        *,
        epoch: int | None = None,
        randomness: Randomness = os.urandom,
        out: bytearray | None = None,
    ) -> None:
        """With `out` (17 MiB always are enough) blocks can be sealed into it as they come: `seal_block`."""
        self.pack_id = pack_id or PackId.random()
        self.kind = kind
        self.epoch = keys.newest_epoch if epoch is None else epoch
        self._keys = keys
        self._randomness = randomness
        self._out = out
        self._blocks: list[Buffer | None] = []
        self._rows: list[tuple[int, int, bytes, list[int]]] = []
        self._end = HEADER
        self._index_bound = 16
        self.content_size = 0
        """Bytes of chunks and pages taken so far, before compression."""
        self.chunks: dict[ChunkId, ChunkAddress] = {}
        """Every chunk added, for the local index."""

    @property
    def is_empty(self) -> bool:
        return not self._blocks

    def size_if_added(self, encoded_len: int, *, items: int = 1) -> int:
        """Bytes before padding, at most, if a block of `items` chunks and this encoded length were added."""
        return (
            self._end + encoded_len + SEAL_OVERHEAD + self._index_bound + _INDEX_ROW + items * _INDEX_ITEM
        ) + _FRAME

    def room_for(self, encoded_len: int, *, items: int = 1) -> bool:
        """Whether the pack stays within its target; always true for a first block."""
        if self.is_empty:
            return True
        target = MIXED_PACK_TARGET if self.kind is PackKind.MIXED else PACK_TARGET
        within_index = self._index_bound + _INDEX_ROW + items * _INDEX_ITEM <= MAX_INDEX_PLAIN
        return within_index and padded_size(self.size_if_added(encoded_len, items=items)) <= target

    def add_data(
        self, encoded: Buffer, ids: Sequence[ChunkId | bytes], lengths: Sequence[int]
    ) -> BlockAddress:
        """A block of chunks, in the order they were encoded; `lengths` are those of their plaintexts."""
        chunks = [ChunkId(item) if isinstance(item, bytes) else item for item in ids]
        return self.place_data(encoded, chunks, lengths)[0].block

    def place_data(
        self, encoded: Buffer, ids: Sequence[ChunkId], lengths: Sequence[int]
    ) -> list[ChunkAddress]:
        """`add_data`, but the answer is where each chunk lies."""
        block = self._add(encoded, BlockRole.DATA, [chunk.raw for chunk in ids], lengths)
        inner = accumulate(lengths, initial=0)
        addresses = list(map(ChunkAddress, repeat(block), inner, lengths))
        self.chunks.update(zip(ids, addresses, strict=True))
        return addresses

    def add_page(self, encoded: Buffer, page: PageId, length: int) -> BlockAddress:
        return self._add(encoded, BlockRole.PAGE, [page.raw], [length])

    def add_index_copy(self, encoded: Buffer, covered: PackId, length: int) -> BlockAddress:
        """The index of a covered pack; `encoded` is of what `encode_index_copy` gave, `length` bytes."""
        return self._add(encoded, BlockRole.INDEX_COPY, [covered.raw], [length])

    def _add(
        self, encoded: Buffer, role: BlockRole, ids: Sequence[bytes], lengths: Sequence[int]
    ) -> BlockAddress:
        size = self.size_if_added(len(encoded), items=len(ids))
        if padded_size(size) > PACK_CEILING:
            raise ValueError("the pack would pass the largest permitted size")
        length = len(encoded) + SEAL_OVERHEAD
        address = BlockAddress(self.pack_id, self.kind, self.epoch, len(self._blocks), self._end, length)
        self._blocks.append(encoded)
        self._rows.append((length, int(role), b"".join(ids), list(lengths)))
        self._end += length
        self._index_bound += _INDEX_ROW + len(ids) * _INDEX_ITEM
        self.content_size += sum(lengths)
        return address

    def seal_block(self, address: BlockAddress) -> None:
        """Seal a block into `out` now and let go of what was added; without `out` this waits for `seal`.

        Several threads may do so at once, each for its own block. All must be done before `seal`.
        """
        block = self._blocks[address.ordinal]
        if self._out is None or block is None:
            return
        place = memoryview(self._out)[address.offset : address.offset + address.length]
        aad = self._aad(self._rows[address.ordinal][1], address.ordinal)
        self._sealer.seal_into(block, aad=aad, out=place)
        self._blocks[address.ordinal] = None

    @cached_property
    def _sealer(self) -> SealKeys:
        sealer = self._keys.pack_keys(self.pack_id, epoch=self.epoch)
        return sealer if self._randomness is os.urandom else sealer.with_randomness(self._randomness)

    def index_copy(self) -> bytes:
        """What an index pack holds of this pack: `encode_index_copy` of its index."""
        return self.pack_id.raw + bytes([self.kind]) + self.epoch.to_bytes(4) + encode_index(self._rows)

    def seal(
        self, out: bytearray | None = None, *, compressor: Compressor | None = None
    ) -> tuple[SealedPack, memoryview]:
        """Seal all that was added. Called once; the blocks are let go of as they are sealed.

        The bytes are a view of `out`, else of the builder's own, where it is large enough (17 MiB always
        are), so that one buffer can serve one pack after another; else of a fresh buffer.
        """
        out = self._out or out
        index = (compressor or Compressor()).encode([encode_index(self._rows)])
        size = padded_size(self._end + SEAL_OVERHEAD + 4 + len(index) + TRAILER)
        if out is None or len(out) < size:
            if None in self._blocks:
                raise ValueError("the pack has outgrown the buffer that holds its first blocks")
            out = bytearray(size)
        view = memoryview(out)[:size]
        view[:HEADER] = self._header()
        at = self._seal_blocks(self._sealer, view)
        self._seal_index(self._sealer, view, index, at)
        digest = hashlib.sha256(view).digest()
        return SealedPack(self.pack_id, self.kind, self.epoch, size, digest), view

    def _header(self) -> bytes:
        start = MAGIC + bytes([FORMAT_VERSION, self.kind, 0, 0]) + self.epoch.to_bytes(4)
        return start + self.pack_id.raw

    def _aad(self, role: int, ordinal: int) -> bytes:
        return block_aad(self._keys.vault, self.kind, BlockRole(role), ordinal)

    def _seal_blocks(self, sealer: SealKeys, view: memoryview) -> int:
        at = HEADER
        for ordinal, (length, role, _, _) in enumerate(self._rows):
            block, self._blocks[ordinal] = self._blocks[ordinal], None
            if block is not None:
                sealer.seal_into(block, aad=self._aad(role, ordinal), out=view[at:])
            at += length
        return at

    def _seal_index(self, sealer: SealKeys, view: memoryview, index: Buffer, at: int) -> int:
        room = len(view) - at - TRAILER
        plain = bytearray(room - SEAL_OVERHEAD)
        plain[:4] = len(index).to_bytes(4)
        plain[4 : 4 + len(index)] = index
        sealer.seal_into(plain, aad=self._aad(BlockRole.INDEX, INDEX_ORDINAL), out=view[at:])
        trailer = self._header() + at.to_bytes(8) + room.to_bytes(8) + len(self._rows).to_bytes(4) + bytes(12)
        return (
            at
            + room
            + sealer.seal_into(
                trailer, aad=self._aad(BlockRole.TRAILER, TRAILER_ORDINAL), out=view[at + room :]
            )
        )


def open_block(sealed: Buffer, address: BlockAddress, role: BlockRole, keys: VaultKeys) -> bytes | memoryview:
    """What a block holds, authenticated. Needs nothing of the pack but these bytes."""
    if len(sealed) != address.length:
        raise DamagedObject(f"block {address.ordinal} of pack {address.pack_id}", why="it is cut short")
    aad = block_aad(keys.vault, address.kind, role, address.ordinal)
    try:
        return decode_block(keys.pack_keys(address.pack_id, epoch=address.epoch).open(sealed, aad=aad))
    except DamagedObject as error:
        raise DamagedObject(f"block {address.ordinal} of pack {address.pack_id}", why=error.why) from None


def take_chunk(keys: VaultKeys, content: Buffer, *, address: ChunkAddress, expected: ChunkId) -> memoryview:
    """The chunk at `address` of an opened block, checked against its id."""
    chunk = memoryview(content)[address.inner : address.inner + address.length]
    if len(chunk) != address.length or chunk_id(keys, chunk) != expected:
        raise DamagedObject(
            f"chunk {expected} in pack {address.block.pack_id}", why="it is not what its id says"
        )
    return chunk


class PackReader:
    """A stored pack, known by its clear header, which is believed once the trailer has confirmed it."""

    def __init__(self, keys: VaultKeys, header: Buffer, *, pack_id: PackId | None = None) -> None:
        header = bytes(header)
        if len(header) != HEADER or header[:8] != MAGIC:
            raise DamagedObject("a pack", why="it does not begin as packs do")
        if header[8] > FORMAT_VERSION:
            raise NewerFormat("a pack", version=header[8], known=FORMAT_VERSION)
        if header[8] != FORMAT_VERSION or header[10:12] != b"\0\0":
            raise DamagedObject("a pack", why="its header is impossible")
        self.header = header
        self.pack_id = PackId(header[16:])
        self.kind = pack_kind(header[9])
        self.epoch = int.from_bytes(header[12:16])
        if pack_id is not None and pack_id != self.pack_id:
            raise DamagedObject(f"pack {pack_id}", why="another pack was found in its place")
        self._keys = keys

    @cached_property
    def _sealer(self) -> SealKeys:
        return self._keys.pack_keys(self.pack_id, epoch=self.epoch)

    def read_index(self, read: ReadRange, size: int) -> PackIndex:
        """The index of a pack of `size` bytes, checked against header, trailer and size."""
        if not is_permitted_size(size):
            raise self._damaged("its size is none that packs have")
        offset, length, count = self._open_trailer(read(size - TRAILER, TRAILER))
        if offset < HEADER or length < SEAL_OVERHEAD + 4 or offset + length + TRAILER != size:
            raise self._damaged("its parts do not add up to its size")
        content = self._open_index(read(offset, length))
        index = decode_index(content, pack_id=self.pack_id, kind=self.kind, epoch=self.epoch)
        end = index.blocks[-1].address.offset + index.blocks[-1].address.length if index.blocks else HEADER
        if len(index.blocks) != count or end != offset:
            raise self._damaged("its index does not match its blocks")
        return index

    def _open_trailer(self, sealed: Buffer) -> tuple[int, int, int]:
        plain = self._open(sealed, BlockRole.TRAILER, TRAILER_ORDINAL)
        if len(plain) != TRAILER_PLAIN or plain[:HEADER] != self.header or plain[52:] != bytes(12):
            raise self._damaged("header and trailer differ")
        return int.from_bytes(plain[32:40]), int.from_bytes(plain[40:48]), int.from_bytes(plain[48:52])

    def _open_index(self, sealed: Buffer) -> bytes | memoryview:
        plain = self._open(sealed, BlockRole.INDEX, INDEX_ORDINAL)
        end = 4 + int.from_bytes(plain[:4])
        if end > len(plain) or plain[end:] != bytes(len(plain) - end):
            raise self._damaged("the padding of its index is not zero")
        return decode_block(memoryview(plain)[4:end], limit=MAX_INDEX_PLAIN)

    def _open(self, sealed: Buffer, role: BlockRole, ordinal: int) -> bytes:
        aad = block_aad(self._keys.vault, self.kind, role, ordinal)
        try:
            return self._sealer.open(sealed, aad=aad)
        except DamagedObject as error:
            raise self._damaged(error.why) from None

    def _damaged(self, why: str) -> DamagedObject:
        return DamagedObject(f"pack {self.pack_id}", why=why)


def read_index(
    keys: VaultKeys, pack: Buffer | ReadRange, size: int | None = None, *, pack_id: PackId | None = None
) -> PackIndex:
    """The index of a pack, given whole or as a reader of ranges (then `size` is needed).

    `pack_id` is the pack that was asked for: pass it whenever the bytes come from somewhere not trusted.
    """
    if callable(pack):
        if size is None:
            raise ValueError("a reader of ranges needs the pack's size")
        return PackReader(keys, pack(0, HEADER), pack_id=pack_id).read_index(pack, size)
    whole = memoryview(pack)

    def read(offset: int, length: int) -> Buffer:
        return whole[offset : offset + length]

    return PackReader(keys, read(0, HEADER), pack_id=pack_id).read_index(read, len(whole))


def check_pack(keys: VaultKeys, content: Buffer, *, pack_id: PackId | None = None) -> PackIndex:
    """Open and verify everything a pack holds, down to each chunk, page and index copy."""
    index = read_index(keys, content, pack_id=pack_id)
    view = memoryview(content)
    for block in index.blocks:
        address = block.address
        sealed = view[address.offset : address.offset + address.length]
        _check_block(keys, block, open_block(sealed, address=address, role=block.role, keys=keys))
    return index


def _check_block(keys: VaultKeys, block: IndexedBlock, content: bytes | memoryview) -> None:
    if len(content) != sum(block.lengths):
        raise DamagedObject(f"a block of pack {block.address.pack_id}", why="its index tells another length")
    if block.role is BlockRole.DATA:
        for chunk, address in block.chunks():
            take_chunk(keys, content, address=address, expected=chunk)
    elif block.role is BlockRole.PAGE:
        check_page(keys, content, block.page)
    elif decode_index_copy(content).pack_id.raw != block.ids:
        raise DamagedObject(
            f"a block of pack {block.address.pack_id}", why="it covers another pack than it says"
        )


def check_page(keys: VaultKeys, content: Buffer, expected: PageId) -> PageType:
    """The type of a page whose bytes have this id; every page begins with version and type."""
    for page_type in PageType:
        if page_id(keys, page_type, content) == expected:
            return page_type
    raise DamagedObject(f"page {expected}", why="its bytes have another id")
