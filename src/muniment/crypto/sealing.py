"""Authenticated encryption of everything stored: AES-256-GCM with a nonce that survives a cloned machine.

The nonce is a keyed hash of (16 random bytes ‖ associated data ‖ plaintext). Two machines that repeat each
other's random numbers (a cloned or rolled-back virtual machine) therefore repeat a nonce only for the
very same message. `docs/design/format.md`, "Sealing".
"""

from __future__ import annotations

import os
from collections.abc import Callable

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from muniment.model.errors import DamagedObject
from muniment.model.ids import VaultId
from muniment.model.packs import BlockRole, PackKind

FORMAT_VERSION = 1
NONCE = 12
TAG = 16
SEAL_OVERHEAD = NONCE + TAG
"""A sealed message is this many bytes longer than its plaintext."""

Randomness = Callable[[int], bytes]
"""Given a number of bytes, returns as many random ones. Only golden tests pass anything but `os.urandom`."""


class SealKeys:
    """The pair of keys of one pack, head or context. Safe to use from several threads at once."""

    __slots__ = ("_aead", "_nonce_key", "_randomness", "_raw")

    def __init__(self, raw: bytes, *, randomness: Randomness = os.urandom) -> None:
        if len(raw) != 64:
            raise ValueError("a sealing key pair takes 64 bytes")
        self._raw = raw
        self._aead = AESGCM(raw[:32])
        self._nonce_key = raw[32:]
        self._randomness = randomness

    def __repr__(self) -> str:
        return "SealKeys(…)"

    def with_randomness(self, randomness: Randomness) -> SealKeys:
        """The same keys over another source of randomness, so that golden bytes can be repeated."""
        return SealKeys(self._raw, randomness=randomness)

    def seal_into(self, plaintext: bytes | bytearray | memoryview, *, aad: bytes, out: memoryview) -> int:
        """Seal into the start of `out`, which may be longer; returns the bytes written."""
        end = len(plaintext) + SEAL_OVERHEAD
        nonce = self._nonce(plaintext, aad)
        out[:NONCE] = nonce
        # One pass of hardware AES straight into the caller's buffer, without the GIL and without allocating.
        self._aead.encrypt_into(nonce, plaintext, aad, out[NONCE:end])
        return end

    def seal(self, plaintext: bytes | bytearray | memoryview, *, aad: bytes) -> bytes:
        nonce = self._nonce(plaintext, aad)
        return nonce + self._aead.encrypt(nonce, plaintext, aad)

    def open(self, sealed: bytes | bytearray | memoryview, *, aad: bytes) -> bytes:
        """The plaintext; DamagedObject when a single bit differs from what was sealed with this `aad`."""
        if len(sealed) < SEAL_OVERHEAD:
            raise DamagedObject("a sealed object", why="it is shorter than any")
        view = memoryview(sealed)
        try:
            return self._aead.decrypt(view[:NONCE], view[NONCE:], aad)
        except InvalidTag:
            raise DamagedObject("a sealed object", why="it fails authentication") from None

    def _nonce(self, plaintext: bytes | bytearray | memoryview, aad: bytes) -> bytes:
        digest = blake3(self._randomness(16), key=self._nonce_key)
        digest.update(aad)
        digest.update(plaintext)
        return digest.digest(NONCE)


def block_aad(vault: VaultId, kind: PackKind, role: BlockRole, ordinal: int) -> bytes:
    """What a sealed block is bound to: it opens only as this role, at this place, in this kind of pack.

    The pack itself and its epoch are bound by the key, which is derived from both.
    """
    return b"muniment/1/block\x01%b%c%c%b" % (vault.raw, kind, role, ordinal.to_bytes(4))
