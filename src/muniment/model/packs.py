"""What is publicly known of a pack: its kind and its padded size.

The size rules live here, in the innermost layer, because client and server both hold to them and the
server imports no format.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from muniment.model.ids import PackId

KIB = 1024
MIB = 1024 * KIB

PACK_TARGET = 16 * MIB
"""Packs are closed before they grow past this many bytes."""

MIXED_PACK_TARGET = 4 * MIB
"""The first pack of a run takes data and pages alike up to this many bytes."""

PACK_FLOOR = 64 * KIB
HEAD_CEILING = 128 << 10
"""Bytes of a sealed head at most: some two thousand paths and exclude rules. Every machine reads the newest
head of every set whenever it opens the vault, so one device must not be able to make that long."""

PACK_CEILING = 64 * MIB
"""No server accepts a larger pack: bounds what one request may cost."""


class PackKind(IntEnum):
    """What a pack holds. Written in its clear header and told to the server."""

    DATA = 1
    PAGE = 2
    MIXED = 3
    INDEX = 4


class BlockRole(IntEnum):
    """What a sealed block is; bound into its associated data, so that none can stand in for another."""

    DATA = 0
    PAGE = 1
    INDEX = 2
    TRAILER = 3
    INDEX_COPY = 4


def padded_size(size: int) -> int:
    """The smallest permitted pack size that holds `size` bytes.

    At least 64 KiB; powers of two up to 4 MiB; above that Padmé (Nikitin et al., "Reducing metadata
    leakage from encrypted files and communication with PURBs", 2019), which costs at most 12 %.
    """
    if size <= PACK_FLOOR:
        return PACK_FLOOR
    exponent = (size - 1).bit_length()
    if size <= 4 * MIB:
        return 1 << exponent
    magnitude = size.bit_length() - 1
    step_bits = magnitude - magnitude.bit_length()
    mask = (1 << step_bits) - 1
    return (size + mask) & ~mask


def is_permitted_size(size: int) -> bool:
    """Whether a pack of `size` bytes tells no more than the padding rule allows."""
    return PACK_FLOOR <= size <= PACK_CEILING and padded_size(size) == size


@dataclass(frozen=True, slots=True)
class SealedPack:
    """A finished pack: `size` bytes whose SHA-256 is `sha256`, immutable from here on."""

    pack_id: PackId
    kind: PackKind
    epoch: int
    size: int
    sha256: bytes


class BlockAddress(NamedTuple):
    """Where a sealed block lies: in `pack_id`, `ordinal`-th, `length` bytes at `offset` of the pack."""

    pack_id: PackId
    kind: PackKind
    epoch: int
    ordinal: int
    offset: int
    length: int


class ChunkAddress(NamedTuple):
    """A chunk's place: `length` bytes at `inner` of the opened block."""

    block: BlockAddress
    inner: int
    length: int
