"""Key slots: the vault key wrapped for a passphrase, a recovery kit or a device.

`docs/design/format.md`, "Slots". AES-GCM alone does not commit to a key (a ciphertext can be made that opens
under two), so each slot carries 32 further bytes derived from the same secret, compared first.
"""

from __future__ import annotations

import hmac
import os
import unicodedata
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Literal

import msgspec
from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from muniment.crypto.keys import KEY, VaultKeys, derive
from muniment.crypto.sealing import FORMAT_VERSION, NONCE, Randomness
from muniment.model.errors import (
    DamagedObject,
    NewerFormat,
    UsageError,
    VaultKeyReplaced,
    WeakKeyDerivation,
    WrongSecret,
)
from muniment.model.ids import SlotId, VaultId

MEMORY_KIB = 64 << 10
PASSES = 3
LANES = 4
"""Argon2id as RFC 9106 recommends where memory is constrained: 64 MiB, 3 passes, 4 lanes."""

_MEMORY_RANGE = range(64 << 10, (1 << 20) + 1)
_PASSES_RANGE = range(3, 17)
_LANES_RANGE = range(1, 9)
_SALT = 16
_COMMITMENT = 32
_MAX_WRAPPED = 64 << 10


class SlotKind(IntEnum):
    PASSPHRASE = 1
    KIT = 2
    DEVICE = 3


SlotKindName = Literal["passphrase", "kit", "device"]
_NAMES: dict[SlotKind, SlotKindName] = {
    SlotKind.PASSPHRASE: "passphrase",
    SlotKind.KIT: "kit",
    SlotKind.DEVICE: "device",
}
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def wrap_passphrase(
    keys: VaultKeys,
    slot: SlotId,
    passphrase: str,
    *,
    memory_kib: int = MEMORY_KIB,
    passes: int = PASSES,
    lanes: int = LANES,
    randomness: Randomness = os.urandom,
) -> bytes:
    """Takes about a tenth of a second and `memory_kib` of memory, as does unwrapping."""
    if not passphrase:
        raise UsageError("the passphrase is empty")
    parameters = [randomness(_SALT), memory_kib, passes, lanes]
    _check_derivation(memory_kib, passes, lanes)
    secret = _of_passphrase(passphrase, parameters)
    return _wrap(keys, slot, SlotKind.PASSPHRASE, parameters, secret, randomness)


def wrap_kit(keys: VaultKeys, slot: SlotId, code: bytes, *, randomness: Randomness = os.urandom) -> bytes:
    if len(code) != KEY:
        raise ValueError("a kit's code is 32 bytes")
    return _wrap(keys, slot, SlotKind.KIT, [], _of_kit(code, keys.vault), randomness)


def wrap_device(
    keys: VaultKeys, slot: SlotId, public_key: bytes, *, randomness: Randomness = os.urandom
) -> bytes:
    """For the X25519 key of a device: whoever holds the private half opens it."""
    ephemeral = X25519PrivateKey.from_private_bytes(randomness(KEY))
    parameters = [ephemeral.public_key().public_bytes_raw(), public_key]
    secret = _of_exchange(ephemeral, X25519PublicKey.from_public_bytes(public_key), parameters)
    return _wrap(keys, slot, SlotKind.DEVICE, parameters, secret, randomness)


def unwrap_passphrase(wrapped: bytes, *, vault: VaultId, slot: SlotId, passphrase: str) -> VaultKeys:
    """WrongSecret; WeakKeyDerivation before any derivation with parameters that no honest client writes."""
    parameters = _parameters(wrapped, SlotKind.PASSPHRASE, [bytes, int, int, int])
    salt, memory_kib, passes, lanes = parameters
    if len(salt) != _SALT:
        raise _malformed()
    _check_derivation(memory_kib, passes, lanes)
    return _unwrap(wrapped, vault, slot, _of_passphrase(passphrase, parameters))


def unwrap_kit(wrapped: bytes, *, vault: VaultId, slot: SlotId, code: bytes) -> VaultKeys:
    _parameters(wrapped, SlotKind.KIT, [])
    return _unwrap(wrapped, vault, slot, _of_kit(code, vault))


def unwrap_device(wrapped: bytes, *, vault: VaultId, slot: SlotId, private_key: bytes) -> VaultKeys:
    parameters = _parameters(wrapped, SlotKind.DEVICE, [bytes, bytes])
    private = X25519PrivateKey.from_private_bytes(private_key)
    if parameters[1] != private.public_key().public_bytes_raw():
        raise _wrong()
    try:
        secret = _of_exchange(private, X25519PublicKey.from_public_bytes(parameters[0]), parameters)
    except ValueError:
        # Not a point, or one of low order.
        raise _malformed() from None
    return _unwrap(wrapped, vault, slot, secret)


def slot_kind(wrapped: bytes) -> SlotKindName:
    """For whom a slot is, by what it says itself."""
    return _NAMES[_read(wrapped)[0]]


def new_device_key() -> tuple[bytes, bytes]:
    """(private, public) of a new X25519 key pair, 32 bytes each."""
    private = X25519PrivateKey.generate()
    return private.private_bytes_raw(), private.public_key().public_bytes_raw()


def device_public_key(private_key: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()


def check_pin(keys: VaultKeys, pin: bytes) -> None:
    """VaultKeyReplaced unless these are the keys that the pin was taken of.

    Without it, an operator could wrap a vault key of his own for a device's public key and so read all
    that an unattended run seals from then on.
    """
    if not hmac.compare_digest(keys.fingerprint, pin):
        raise VaultKeyReplaced(
            "the vault's key is not the one this device or kit knows",
            advice="Do not back up. The server, or someone through it, may have replaced the key slots.",
        )


def _wrap(
    keys: VaultKeys,
    slot: SlotId,
    kind: SlotKind,
    parameters: Sequence[Any],
    secret: bytes,
    randomness: Randomness,
) -> bytes:
    nonce = randomness(NONCE)
    plain = _encode(sorted(keys.raw.items()))
    sealed = AESGCM(secret[:32]).encrypt(nonce, plain, _aad(keys.vault, slot, kind, parameters))
    return _encode([FORMAT_VERSION, int(kind), parameters, secret[32:], nonce, sealed])


def _unwrap(wrapped: bytes, vault: VaultId, slot: SlotId, secret: bytes) -> VaultKeys:
    kind, parameters, commitment, nonce, sealed = _read(wrapped)
    if not hmac.compare_digest(secret[32:], commitment):
        raise _wrong()
    try:
        plain = AESGCM(secret[:32]).decrypt(nonce, sealed, _aad(vault, slot, kind, parameters))
    except InvalidTag:
        # The same error as for a wrong secret: whoever altered the slot learns nothing from which it was.
        raise _wrong() from None
    try:
        pairs = msgspec.msgpack.decode(plain, type=list[tuple[int, bytes]])
        return VaultKeys(vault, dict(pairs))
    except (msgspec.DecodeError, ValueError):
        raise _malformed() from None


def _aad(vault: VaultId, slot: SlotId, kind: SlotKind, parameters: Sequence[Any]) -> bytes:
    return b"muniment/1/slot" + vault.raw + slot.raw + bytes([kind]) + _encode(parameters)


def _read(wrapped: bytes) -> tuple[SlotKind, list[Any], bytes, bytes, bytes]:
    """The fields of a wrapped key, in its one permitted encoding."""
    if len(wrapped) > _MAX_WRAPPED:
        raise _malformed()
    try:
        found = _decode(wrapped)
    except (msgspec.DecodeError, RecursionError, ValueError, TypeError):
        raise _malformed() from None
    fields: list[Any] = found
    if found.__class__ is not list or not fields or type(fields[0]) is not int:
        raise _malformed()
    if fields[0] > FORMAT_VERSION:
        raise NewerFormat("a key slot", version=fields[0], known=FORMAT_VERSION)
    if [type(field) for field in fields] != [int, int, list, bytes, bytes, bytes]:
        raise _malformed()
    version, kind, parameters, commitment, nonce, sealed = fields
    if version != FORMAT_VERSION or len(commitment) != _COMMITMENT or len(nonce) != NONCE:
        raise _malformed()
    if kind not in _NAMES or _encode(fields) != wrapped:
        raise _malformed()
    return SlotKind(kind), parameters, commitment, nonce, sealed


def _parameters(wrapped: bytes, kind: SlotKind, types: list[type]) -> list[Any]:
    found, parameters, *_ = _read(wrapped)
    if found is not kind:
        raise WrongSecret(f"this slot is for a {_NAMES[found]}, not for a {_NAMES[kind]}")
    if [type(parameter) for parameter in parameters] != types:
        raise _malformed()
    return parameters


def _check_derivation(memory_kib: int, passes: int, lanes: int) -> None:
    if memory_kib not in _MEMORY_RANGE or passes not in _PASSES_RANGE or lanes not in _LANES_RANGE:
        raise WeakKeyDerivation(
            f"key derivation with {memory_kib} KiB, {passes} passes and {lanes} lanes is not accepted",
            advice="The slot was not written by this program; it may have been put there to be guessed.",
        )


def _of_passphrase(passphrase: str, parameters: Sequence[Any]) -> bytes:
    salt, memory_kib, passes, lanes = parameters
    secret = unicodedata.normalize("NFC", passphrase).encode()
    stretched = hash_secret_raw(secret, salt, passes, memory_kib, lanes, KEY, Type.ID)
    return derive(stretched, info="slot/passphrase", length=64)


def _of_kit(code: bytes, vault: VaultId) -> bytes:
    return derive(code, salt=vault.raw, info="slot/kit", length=64)


def _of_exchange(private: X25519PrivateKey, public: X25519PublicKey, parameters: Sequence[bytes]) -> bytes:
    return derive(private.exchange(public), salt=b"".join(parameters), info="slot/device", length=64)


def _wrong() -> WrongSecret:
    return WrongSecret(
        "this does not open the key slot, or the slot was altered",
        advice="Try again, or use another slot: passphrase, recovery kit or an enrolled device.",
    )


def _malformed() -> DamagedObject:
    return DamagedObject("a key slot", why="it is not what any version of this program writes")
