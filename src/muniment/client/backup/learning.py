"""Learning which chunks the vault holds from the index packs of other devices, or of an earlier life of this
one.

An index pack is made by a holder of the vault key, so it is authentic; it need not be true. Whoever holds the
key could name chunks that are not there, and make others leave out what they should have stored. So a sample
of the blocks that it names is fetched and opened before anything is believed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from muniment.client.state.chunk_index import LocalChunkIndex
from muniment.crypto.keys import VaultKeys
from muniment.engine.ports import BlockSource
from muniment.format.pack import check_pack, open_block, take_chunk
from muniment.format.packindex import IndexedBlock, PackIndex, decode_index_copy
from muniment.model.errors import IntegrityError
from muniment.model.ids import PackId
from muniment.model.packs import PACK_CEILING, BlockRole, is_permitted_size
from muniment.wire import messages as wire

SAMPLES = 8
"""Blocks fetched per index pack. One in eight packs empty is found with a chance of two in three."""


@dataclass(frozen=True, slots=True)
class Learned:
    """Packs whose chunks are now known, and index packs that were refused, with the reason."""

    packs: int
    refused: tuple[tuple[str, str], ...]


def learn_index_packs(
    infos: Iterable[wire.IndexPackInfo],
    *,
    index: LocalChunkIndex,
    keys: VaultKeys,
    source: BlockSource,
    choose: Callable[[Sequence[IndexedBlock], int], Sequence[IndexedBlock]] | None = None,
) -> Learned:
    """Take in every index pack that covers a pack not yet known. A refused one costs space, never safety."""
    learned = 0
    refused: list[tuple[str, str]] = []
    for info in infos:
        covered = [PackId.parse(text) for text in info.covers]
        unknown = index.unknown_of(covered)
        if not unknown:
            continue
        try:
            copies = _read_copies(info, keys=keys, source=source)
            fresh = [copy for copy in copies if copy.pack_id in unknown]
            _verify_sample(fresh, keys=keys, source=source, choose=choose or random.SystemRandom().sample)
        except IntegrityError as error:
            refused.append((info.pack, error.message))
            continue
        for copy in fresh:
            index.add_foreign_pack(copy.pack_id, kind=copy.kind, epoch=copy.epoch, chunks=dict(copy.chunks()))
        learned += len(fresh)
    return Learned(learned, tuple(refused))


def _read_copies(info: wire.IndexPackInfo, *, keys: VaultKeys, source: BlockSource) -> list[PackIndex]:
    if not is_permitted_size(info.size) or info.size > PACK_CEILING:
        raise IntegrityError(f"index pack {info.pack} has an impossible size")
    pack = PackId.parse(info.pack)
    content = source.read(pack, offset=0, length=info.size)
    index = check_pack(keys, content, pack_id=pack)
    view = memoryview(content)
    copies = []
    for block in index.blocks:
        address = block.address
        sealed = view[address.offset : address.offset + address.length]
        copies.append(decode_index_copy(open_block(sealed, address, BlockRole.INDEX_COPY, keys)))
    return copies


def _verify_sample(
    copies: list[PackIndex],
    *,
    keys: VaultKeys,
    source: BlockSource,
    choose: Callable[[Sequence[IndexedBlock], int], Sequence[IndexedBlock]],
) -> None:
    blocks = [block for copy in copies for block in copy.blocks if block.role is BlockRole.DATA]
    for block in choose(blocks, min(SAMPLES, len(blocks))):
        address = block.address
        sealed = source.read(address.pack_id, offset=address.offset, length=address.length)
        content = open_block(sealed, address, BlockRole.DATA, keys)
        for chunk, place in block.chunks():
            take_chunk(keys, content, address=place, expected=chunk)
