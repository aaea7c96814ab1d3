"""Identifiers. Each is its own type, so that a vault id can never be passed where a pack id belongs."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import ClassVar, Self


@dataclass(frozen=True, slots=True, order=True)
class _FixedId:
    """A fixed-length byte string, written in lower-case hexadecimal."""

    raw: bytes
    LENGTH: ClassVar[int] = 16

    def __post_init__(self) -> None:
        if len(self.raw) != self.LENGTH:
            raise ValueError(f"{type(self).__name__} takes {self.LENGTH} bytes, not {len(self.raw)}")

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
