"""Identifiers. Each is its own type, so that a vault id can never be passed where a pack id belongs."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from functools import partial
from typing import ClassVar, NamedTuple, Self


class _Raw(NamedTuple):
    raw: bytes


class _FixedId(_Raw):
    """A fixed-length byte string, written in lower-case hexadecimal.

    A tuple of one, because a first backup hashes and compares millions: that costs no line of Python. Ids of
    different types are equal where their bytes are; the type checker keeps them apart, and random or keyed
    bytes never meet by accident.
    """

    __slots__ = ()
    LENGTH: ClassVar[int] = 16

    def __new__(cls, raw: bytes) -> Self:
        if len(raw) != cls.LENGTH:
            raise ValueError(f"{cls.__name__} takes {cls.LENGTH} bytes, not {len(raw)}")
        return tuple.__new__(cls, (raw,))  # pyright: ignore[reportUnknownMemberType]

    @classmethod
    def trusted(cls, raw: Iterable[bytes]) -> list[Self]:
        """Many at once, of bytes whose length their maker vouches for."""
        make = partial(tuple.__new__, cls)  # pyright: ignore[reportUnknownMemberType]
        return list(map(make, zip(raw, strict=True)))

    @classmethod
    def random(cls) -> Self:
        return cls(secrets.token_bytes(cls.LENGTH))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The id written as hexadecimal; ValueError where it is not one."""
        return cls(bytes.fromhex(text))

    @property
    def hex(self) -> str:
        return self.raw.hex()

    def __str__(self) -> str:
        return self.raw.hex()


class VaultId(_FixedId):
    """A vault: 16 random bytes."""

    __slots__ = ()


class DeviceId(_FixedId):
    """An enrolled machine: 16 random bytes, given by the server."""

    __slots__ = ()


class InstallationId(_FixedId):
    """One life of a device's local state: 16 random bytes, made anew when that state is lost."""

    __slots__ = ()


class PackId(_FixedId):
    """A stored pack: 16 random bytes, at the same time the salt of its key."""

    __slots__ = ()


class SlotId(_FixedId):
    """A key slot: 16 random bytes."""

    __slots__ = ()


class SetId(_FixedId):
    """A backup set as the server knows it: a keyed digest of device and name, so opaque to it."""

    __slots__ = ()


class SessionId(_FixedId):
    """A session on the data plane: 16 random bytes."""

    __slots__ = ()


class ChunkId(_FixedId):
    """Keyed BLAKE3 of a chunk's plaintext, 16 bytes."""

    __slots__ = ()


class PageId(_FixedId):
    """Keyed BLAKE3 of a page's plaintext and type, 16 bytes."""

    __slots__ = ()


class SnapshotId(_FixedId):
    """SHA-256 of the sealed head, 32 bytes."""

    LENGTH: ClassVar[int] = 32
    __slots__ = ()
