"""The sealed index of a pack: which blocks it has, and what each holds. Also the copies in index packs.

`docs/design/format.md`, "Pack".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from muniment.crypto.sealing import FORMAT_VERSION, SEAL_OVERHEAD
from muniment.format.block import MAX_BLOCK_PLAIN
from muniment.model.errors import DamagedObject, NewerFormat
from muniment.model.ids import ChunkId, PackId, PageId
from muniment.model.packs import PACK_CEILING, BlockAddress, BlockRole, ChunkAddress, PackKind

HEADER = 32
ID = 16
MAX_INDEX_PLAIN = 4 << 20
"""A pack is closed before its index, uncompressed, passes this."""

_ROLES_OF_KIND = {
    PackKind.DATA: {BlockRole.DATA},
    PackKind.PAGE: {BlockRole.PAGE},
    PackKind.MIXED: {BlockRole.DATA, BlockRole.PAGE},
    PackKind.INDEX: {BlockRole.INDEX_COPY},
}
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[int, list[tuple[int, int, bytes, list[int]]]])
_version_decoder = msgspec.msgpack.Decoder(list)


@dataclass(frozen=True, slots=True)
class IndexedBlock:
    """One block: address, role, and the ids (16 bytes each, concatenated) and lengths of what it holds."""

    address: BlockAddress
    role: BlockRole
    ids: bytes
    lengths: tuple[int, ...]

    def chunks(self) -> Iterator[tuple[ChunkId, ChunkAddress]]:
        """Of a data block: each chunk's id and place."""
        inner = 0
        for at, length in enumerate(self.lengths):
            yield ChunkId(self.ids[at * ID : at * ID + ID]), ChunkAddress(self.address, inner, length)
            inner += length

    @property
    def page(self) -> PageId:
        """Of a page block: the page's id."""
        return PageId(self.ids)


@dataclass(frozen=True, slots=True)
class PackIndex:
    """What a pack holds, block by block in file order."""

    pack_id: PackId
    kind: PackKind
    epoch: int
    blocks: tuple[IndexedBlock, ...]

    def chunks(self) -> Iterator[tuple[ChunkId, ChunkAddress]]:
        for block in self.blocks:
            if block.role is BlockRole.DATA:
                yield from block.chunks()

    def pages(self) -> Iterator[tuple[PageId, BlockAddress]]:
        for block in self.blocks:
            if block.role is BlockRole.PAGE:
                yield block.page, block.address


def encode_index(blocks: list[tuple[int, int, bytes, list[int]]]) -> bytes:
    """The index plaintext, before compression and padding, of (sealed length, role, ids, lengths)."""
    return _encoder.encode((FORMAT_VERSION, blocks))


def decode_index(content: bytes | memoryview, *, pack_id: PackId, kind: PackKind, epoch: int) -> PackIndex:
    """DamagedObject when anything about it is impossible in a pack of this kind."""
    version, rows = _parse(content)
    if version > FORMAT_VERSION:
        raise NewerFormat("a pack index", version=version, known=FORMAT_VERSION)
    if version != FORMAT_VERSION:
        raise _damaged("its version is impossible")
    blocks: list[IndexedBlock] = []
    offset = HEADER
    for ordinal, (length, role_number, ids, lengths) in enumerate(rows):
        role = _checked_role(role_number, kind)
        _check_row(length, role, ids, lengths)
        address = BlockAddress(pack_id, kind, epoch, ordinal, offset, length)
        blocks.append(IndexedBlock(address, role, ids, tuple(lengths)))
        offset += length
        if offset > PACK_CEILING:
            raise _damaged("its blocks are larger than any pack")
    return PackIndex(pack_id, kind, epoch, tuple(blocks))


def encode_index_copy(index: PackIndex) -> bytes:
    """The plaintext of a role 4 block: all that a client needs to know of one covered pack."""
    rows = [(block.address.length, int(block.role), block.ids, list(block.lengths)) for block in index.blocks]
    start = index.pack_id.raw + bytes([index.kind]) + index.epoch.to_bytes(4)
    return start + encode_index(rows)


def decode_index_copy(content: bytes | memoryview) -> PackIndex:
    if len(content) < 21:
        raise _damaged("the copy is cut short")
    kind = pack_kind(content[16])
    return decode_index(
        content[21:],
        pack_id=PackId(bytes(content[:16])),
        kind=kind,
        epoch=int.from_bytes(content[17:21]),
    )


def pack_kind(number: int) -> PackKind:
    try:
        return PackKind(number)
    except ValueError:
        raise _damaged("its kind is unknown") from None


def _parse(content: bytes | memoryview) -> tuple[int, list[tuple[int, int, bytes, list[int]]]]:
    try:
        return _decoder.decode(content)
    except msgspec.DecodeError:
        pass
    try:
        version = _version_decoder.decode(content)[0]
    except (msgspec.DecodeError, IndexError):
        version = None
    if type(version) is int and version > FORMAT_VERSION:
        raise NewerFormat("a pack index", version=version, known=FORMAT_VERSION)
    raise _damaged("it does not parse")


def _checked_role(number: int, kind: PackKind) -> BlockRole:
    for role in _ROLES_OF_KIND[kind]:
        if role == number:
            return role
    raise _damaged("a block has a role that its kind of pack never holds")


def _check_row(length: int, role: BlockRole, ids: bytes, lengths: list[int]) -> None:
    if not SEAL_OVERHEAD < length <= PACK_CEILING:
        raise _damaged("a block's length is impossible")
    if not lengths or len(ids) != ID * len(lengths) or min(lengths) < 1 or sum(lengths) > MAX_BLOCK_PLAIN:
        raise _damaged("what a block holds does not add up")
    if role is not BlockRole.DATA and len(lengths) != 1:
        raise _damaged("a page block holds more than one page")


def _damaged(why: str) -> DamagedObject:
    return DamagedObject("a pack index", why=why)
