"""A slot opens for its holder and for nobody else, whatever the server does to it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from muniment.crypto.keys import VaultKeys
from muniment.crypto.slots import (
    check_pin,
    device_public_key,
    new_device_key,
    slot_kind,
    unwrap_device,
    unwrap_kit,
    unwrap_passphrase,
    wrap_device,
    wrap_kit,
    wrap_passphrase,
)
from muniment.model.errors import (
    DamagedObject,
    NewerFormat,
    UsageError,
    VaultKeyReplaced,
    WeakKeyDerivation,
    WrongSecret,
)
from muniment.model.ids import SlotId, VaultId

VAULT, SLOT = VaultId(b"v" * 16), SlotId(b"s" * 16)
KEYS = VaultKeys(VAULT, {0: b"\1" * 32, 1: b"\2" * 32})
CODE = bytes(range(32))
PRIVATE, PUBLIC = new_device_key()
PASSPHRASE = "korrekt Pferd Batterie Heftklammer é"

WRAPPED = {
    "passphrase": wrap_passphrase(KEYS, SLOT, PASSPHRASE, lanes=1),
    "kit": wrap_kit(KEYS, SLOT, CODE),
    "device": wrap_device(KEYS, SLOT, PUBLIC),
}
UNWRAP: dict[str, Callable[..., VaultKeys]] = {
    "passphrase": lambda wrapped, **at: unwrap_passphrase(wrapped, passphrase=PASSPHRASE, **at),
    "kit": lambda wrapped, **at: unwrap_kit(wrapped, code=CODE, **at),
    "device": lambda wrapped, **at: unwrap_device(wrapped, private_key=PRIVATE, **at),
}
KINDS = list(WRAPPED)


@pytest.mark.parametrize("kind", KINDS)
def test_slot_opens_for_its_holder(kind: str) -> None:
    assert slot_kind(WRAPPED[kind]) == kind
    keys = UNWRAP[kind](WRAPPED[kind], vault=VAULT, slot=SLOT)
    assert keys == KEYS
    check_pin(keys, KEYS.fingerprint)


def test_passphrase_is_compared_in_normal_form() -> None:
    decomposed = PASSPHRASE.replace("é", "e\N{COMBINING ACUTE ACCENT}")
    assert decomposed != PASSPHRASE
    assert unwrap_passphrase(WRAPPED["passphrase"], vault=VAULT, slot=SLOT, passphrase=decomposed) == KEYS


def test_other_secrets_open_nothing() -> None:
    for passphrase in ("", PASSPHRASE + " ", PASSPHRASE.upper()):
        with pytest.raises(WrongSecret):
            unwrap_passphrase(WRAPPED["passphrase"], vault=VAULT, slot=SLOT, passphrase=passphrase)
    with pytest.raises(WrongSecret):
        unwrap_kit(WRAPPED["kit"], vault=VAULT, slot=SLOT, code=CODE[::-1])
    with pytest.raises(WrongSecret):
        unwrap_device(WRAPPED["device"], vault=VAULT, slot=SLOT, private_key=new_device_key()[0])
    with pytest.raises(UsageError):
        wrap_passphrase(KEYS, SLOT, "")


@pytest.mark.parametrize("kind", KINDS)
def test_slot_of_another_vault_or_place_does_not_open(kind: str) -> None:
    for vault, slot in ((VaultId(b"w" * 16), SLOT), (VAULT, SlotId(b"t" * 16))):
        with pytest.raises(WrongSecret):
            UNWRAP[kind](WRAPPED[kind], vault=vault, slot=slot)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_slot_of_another_kind_does_not_open(kind: str, other: str) -> None:
    if kind != other:
        with pytest.raises(WrongSecret):
            UNWRAP[kind](WRAPPED[other], vault=VAULT, slot=SLOT)


@pytest.mark.parametrize("kind", ["kit", "device"])
def test_every_flipped_bit_is_found(kind: str) -> None:
    wrapped = WRAPPED[kind]
    for at in range(len(wrapped) * 8):
        altered = bytearray(wrapped)
        altered[at // 8] ^= 1 << at % 8
        with pytest.raises((WrongSecret, DamagedObject, NewerFormat)):
            UNWRAP[kind](bytes(altered), vault=VAULT, slot=SLOT)


def test_flipped_bits_of_a_passphrase_slot_are_found() -> None:
    """Sampled: each attempt that reaches Argon2id costs what it is meant to cost."""
    wrapped = WRAPPED["passphrase"]
    rng = random.Random(1)
    for at in rng.sample(range(len(wrapped) * 8), 12):
        altered = bytearray(wrapped)
        altered[at // 8] ^= 1 << at % 8
        with pytest.raises((WrongSecret, DamagedObject, NewerFormat, WeakKeyDerivation)):
            UNWRAP["passphrase"](bytes(altered), vault=VAULT, slot=SLOT)


def rewritten(kind: str, /, **fields: Any) -> bytes:
    names = ["version", "kind", "parameters", "commitment", "nonce", "sealed"]
    values = dict(zip(names, msgspec.msgpack.decode(WRAPPED[kind]), strict=True)) | fields
    return msgspec.msgpack.encode([*values.values()])


@pytest.mark.parametrize(
    ("memory", "passes", "lanes"),
    [
        (65535, 3, 1), (65536, 2, 1), (8, 1, 1), (1 << 20 | 1, 3, 1), (1 << 31, 3, 1),
        (65536, 17, 1), (65536, 3, 0), (65536, 3, 9), (65536, 1 << 30, 1), (-1, 3, 1),
    ],
)  # fmt: skip
def test_weak_and_absurd_derivations_are_refused_before_they_run(
    memory: int, passes: int, lanes: int
) -> None:
    wrapped = rewritten("passphrase", parameters=[b"s" * 16, memory, passes, lanes])
    with pytest.raises(WeakKeyDerivation):
        UNWRAP["passphrase"](wrapped, vault=VAULT, slot=SLOT)
    with pytest.raises(WeakKeyDerivation):
        wrap_passphrase(KEYS, SLOT, "x", memory_kib=memory, passes=passes, lanes=lanes)


@pytest.mark.parametrize(
    "parameters",
    [[], [b"s" * 8, 65536, 3, 1], [b"s" * 16, 65536.0, 3, 1], [b"s" * 16, 65536, 3], [b"s" * 16, True, 3, 1]],
)
def test_malformed_derivations_are_refused(parameters: list[Any]) -> None:
    with pytest.raises(DamagedObject):
        UNWRAP["passphrase"](rewritten("passphrase", parameters=parameters), vault=VAULT, slot=SLOT)


@pytest.mark.parametrize(
    "fields",
    [{"commitment": b""}, {"nonce": b"n" * 11}, {"sealed": "text"}, {"kind": 4}, {"kind": 0}, {"version": 0}],
)
def test_malformed_slots_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(DamagedObject):
        slot_kind(rewritten("kit", **fields))


@pytest.mark.parametrize(
    "wrapped", [b"", b"\x90", b"\x91" * 5000, b"\xdd\xff\xff\xff\xff", b"\x00", b"x" * 70_000]
)
def test_noise_is_no_slot(wrapped: bytes) -> None:
    with pytest.raises(DamagedObject):
        slot_kind(wrapped)


def test_a_second_encoding_of_the_same_slot_is_refused() -> None:
    """One permitted encoding: else a server could hand out slots that differ from the digest in the list."""
    wrapped = WRAPPED["kit"]
    assert wrapped[0] == 0x96
    with pytest.raises(DamagedObject):
        slot_kind(b"\xdc\x00\x06" + wrapped[1:])


def test_newer_slot_is_left_alone() -> None:
    with pytest.raises(NewerFormat):
        UNWRAP["kit"](rewritten("kit", version=2), vault=VAULT, slot=SLOT)


@pytest.mark.parametrize("point", [bytes(32), b"\1" + bytes(31), bytes(31) + b"\x80"])
def test_low_order_points_are_refused(point: bytes) -> None:
    """With one of them the operator would know the secret without any private key."""
    with pytest.raises(DamagedObject):
        UNWRAP["device"](rewritten("device", parameters=[point, PUBLIC]), vault=VAULT, slot=SLOT)


def test_commitment_binds_the_ciphertext_to_one_key() -> None:
    """A slot whose ciphertext is right but whose commitment is another's does not open, and the reverse."""
    other = msgspec.msgpack.decode(wrap_kit(KEYS, SLOT, CODE[::-1]))
    for fields in ({"commitment": other[3]}, {"sealed": other[5], "nonce": other[4]}):
        with pytest.raises(WrongSecret):
            UNWRAP["kit"](rewritten("kit", **fields), vault=VAULT, slot=SLOT)


def test_replaced_vault_key_is_found_by_the_pin() -> None:
    """The operator knows the device's public key and can wrap a key of his own for it."""
    planted = wrap_device(VaultKeys.generate(VAULT), SLOT, PUBLIC)
    opened = UNWRAP["device"](planted, vault=VAULT, slot=SLOT)
    with pytest.raises(VaultKeyReplaced):
        check_pin(opened, KEYS.fingerprint)
    for pin in (b"", KEYS.fingerprint[:15]):
        with pytest.raises(VaultKeyReplaced):
            check_pin(KEYS, pin)


def test_device_keys() -> None:
    assert device_public_key(PRIVATE) == PUBLIC
    assert len({new_device_key()[0] for _ in range(5)}) == 5
