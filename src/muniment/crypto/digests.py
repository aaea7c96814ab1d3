"""Keyed digests: chunk ids, page ids, and where pages end. `docs/design/format.md`, "Keys" and "Tree"."""

from __future__ import annotations

from collections.abc import Sequence

from blake3 import blake3

from muniment.crypto.keys import VaultKeys
from muniment.model.entry import PageType
from muniment.model.ids import ChunkId, PageId

PAGE_FANOUT = 128
"""A page ends after one key in this many, on average."""

_SPLIT_BELOW = ((1 << 32) // PAGE_FANOUT).to_bytes(4)
_LEVELS = tuple(bytes([level]) for level in range(256))


def chunk_id(keys: VaultKeys, data: bytes | bytearray | memoryview) -> ChunkId:
    """The name of a chunk's plaintext: equal chunks of one vault, and only of one vault, share it."""
    return ChunkId(blake3(data, key=keys.chunk_key).digest(16))


def page_id(keys: VaultKeys, page_type: PageType, data: bytes | bytearray | memoryview) -> PageId:
    """The name of a page's plaintext, bound to its type so that none can be read as another."""
    digest = blake3(_LEVELS[page_type], key=keys.page_key)
    digest.update(data)
    return PageId(digest.digest(16))


def ends_page(keys: VaultKeys, level: int, key: bytes) -> bool:
    """Whether a page of `level` (0: leaf) ends after `key`. Decided by the key alone."""
    return blake3(_LEVELS[level] + key, key=keys.split_key).digest(4) < _SPLIT_BELOW


def leaf_ends(keys: VaultKeys, prefix: bytes, names: Sequence[bytes]) -> list[int]:
    """Places of those of `names` whose key, `prefix` before the name, ends a leaf: `ends_page` of many."""
    split_key, prefix = keys.split_key, _LEVELS[0] + prefix
    return [
        place
        for place, name in enumerate(names)
        if blake3(prefix + name, key=split_key).digest(4) < _SPLIT_BELOW
    ]
