"""What is sealed opens under the same keys and associated data, and under nothing else."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.crypto.keys import VaultKeys
from muniment.crypto.sealing import SEAL_OVERHEAD, SealKeys, block_aad
from muniment.model.errors import DamagedObject
from muniment.model.ids import DeviceId, PackId, VaultId
from muniment.model.packs import BlockRole, PackKind

VAULT = VaultId(b"v" * 16)
KEYS = VaultKeys(VAULT, {0: b"\1" * 32, 1: b"\2" * 32})
PACK = PackId(b"p" * 16)


@given(st.binary(max_size=300), st.binary(max_size=40))
def test_sealed_opens(plain: bytes, aad: bytes) -> None:
    sealer = KEYS.pack_keys(PACK, epoch=0)
    sealed = sealer.seal(plain, aad=aad)
    assert len(sealed) == len(plain) + SEAL_OVERHEAD
    assert sealer.open(sealed, aad=aad) == plain
    out = bytearray(len(sealed) + 10)
    assert sealer.seal_into(plain, aad=aad, out=memoryview(out)) == len(sealed)
    assert sealer.open(memoryview(out)[: len(sealed)], aad=aad) == plain
    assert out[len(sealed) :] == bytes(10)


def test_every_flipped_bit_is_found() -> None:
    sealer = KEYS.pack_keys(PACK, epoch=0)
    sealed = sealer.seal(b"what the customer keeps", aad=b"place")
    for at in range(len(sealed) * 8):
        altered = bytearray(sealed)
        altered[at // 8] ^= 1 << at % 8
        with pytest.raises(DamagedObject):
            sealer.open(altered, aad=b"place")


@pytest.mark.parametrize("length", [0, 1, SEAL_OVERHEAD - 1])
def test_too_short_is_refused(length: int) -> None:
    with pytest.raises(DamagedObject):
        KEYS.pack_keys(PACK, epoch=0).open(bytes(length), aad=b"")


def test_a_block_opens_only_in_its_own_place() -> None:
    places = [
        (vault, kind, role, ordinal)
        for vault in (VAULT, VaultId(b"w" * 16))
        for kind in PackKind
        for role in BlockRole
        for ordinal in (0, 1, 0xFFFFFFFE, 0xFFFFFFFF)
    ]
    assert len({block_aad(*place) for place in places}) == len(places)
    sealer = KEYS.pack_keys(PACK, epoch=0)
    right = block_aad(VAULT, PackKind.DATA, BlockRole.DATA, 0)
    sealed = sealer.seal(b"x", aad=right)
    for place in places:
        aad = block_aad(*place)
        if aad != right:
            with pytest.raises(DamagedObject):
                sealer.open(sealed, aad=aad)


def test_every_context_has_its_own_keys() -> None:
    sealers: list[SealKeys] = [
        KEYS.pack_keys(PACK, epoch=0),
        KEYS.pack_keys(PACK, epoch=1),
        KEYS.pack_keys(PackId(b"q" * 16), epoch=0),
        KEYS.head_keys(PACK.raw, epoch=0),
        KEYS.head_keys(PACK.raw, epoch=1),
        KEYS.local_keys(PACK.raw),
        KEYS.local_keys(b"pages"),
    ]
    for sealer in sealers:
        sealed = sealer.seal(b"x", aad=b"")
        for other in sealers:
            if other is not sealer:
                with pytest.raises(DamagedObject):
                    other.open(sealed, aad=b"")


def test_repeated_randomness_repeats_a_nonce_only_for_the_same_message() -> None:
    """A cloned machine repeats its random numbers: the nonce must not repeat with them."""
    messages = [(b"one", b"a"), (b"two", b"a"), (b"one", b"b"), (b"", b"a")]
    sealers = [SealKeys(b"k" * 64, randomness=random.Random(1).randbytes) for _ in messages]
    nonces = {s.seal(plain, aad=aad)[:12] for s, (plain, aad) in zip(sealers, messages, strict=True)}
    assert len(nonces) == len(messages)
    twin = SealKeys(b"k" * 64, randomness=random.Random(1).randbytes)
    again = SealKeys(b"k" * 64, randomness=random.Random(1).randbytes)
    assert twin.seal(b"one", aad=b"a") == again.seal(b"one", aad=b"a")


def test_sealing_twice_differs() -> None:
    sealer = KEYS.pack_keys(PACK, epoch=0)
    assert len({sealer.seal(b"same", aad=b"") for _ in range(50)}) == 50


def test_sub_keys_differ_from_one_another() -> None:
    secrets = [KEYS.chunk_key, KEYS.page_key, KEYS.split_key, KEYS.raw[0], KEYS.raw[1]]
    assert len(set(secrets)) == len(secrets)
    assert KEYS.fingerprint not in {secret[:16] for secret in secrets}
    assert 0 <= KEYS.chunker_seed < 1 << 63


def test_ids_and_split_stay_when_the_key_rotates() -> None:
    """Deduplication outlives a rotation: only sealing moves to the new epoch."""
    rotated = VaultKeys(VAULT, {**KEYS.raw, 2: b"\3" * 32})
    assert (rotated.chunk_key, rotated.page_key, rotated.split_key) == (
        KEYS.chunk_key, KEYS.page_key, KEYS.split_key,
    )  # fmt: skip
    assert rotated.fingerprint == KEYS.fingerprint
    assert (rotated.newest_epoch, KEYS.newest_epoch) == (2, 1)
    sealed = KEYS.pack_keys(PACK, epoch=1).seal(b"old", aad=b"")
    assert rotated.pack_keys(PACK, epoch=1).open(sealed, aad=b"") == b"old"


def test_unknown_epoch_is_named() -> None:
    with pytest.raises(DamagedObject, match="epoch 9"):
        KEYS.pack_keys(PACK, epoch=9)


def test_keys_do_not_show_themselves() -> None:
    shown = repr(KEYS) + repr(KEYS.pack_keys(PACK, epoch=0)) + str(KEYS)
    for key in (*KEYS.raw.values(), KEYS.chunk_key):
        assert key.hex() not in shown
        assert repr(key) not in shown
    with pytest.raises(TypeError):
        KEYS.raw[5] = b""  # type: ignore[index]


@pytest.mark.parametrize("keys", [{}, {1: b"\1" * 32}, {0: b"\1" * 31}])
def test_incomplete_vault_keys_are_refused(keys: dict[int, bytes]) -> None:
    with pytest.raises(ValueError):
        VaultKeys(VAULT, keys)


def test_lists_are_authenticated_per_epoch() -> None:
    mac = KEYS.mac(b"list 7", epoch=0)
    KEYS.verify_mac(b"list 7", mac, epoch=0)
    flipped = bytes([mac[0] ^ 1]) + mac[1:]
    for data, tag, epoch in (
        (b"list 8", mac, 0),
        (b"list 7", flipped, 0),
        (b"list 7", mac, 1),
        (b"list 7", b"", 0),
    ):
        with pytest.raises(DamagedObject):
            KEYS.verify_mac(data, tag, epoch=epoch)


def test_every_flipped_bit_of_a_list_is_found() -> None:
    body = random.Random(7).randbytes(200)
    mac = KEYS.mac(body, epoch=1)
    for at in range(len(body) * 8):
        altered = bytearray(body)
        altered[at // 8] ^= 1 << at % 8
        with pytest.raises(DamagedObject):
            KEYS.verify_mac(bytes(altered), mac, epoch=1)
    for at in range(len(mac) * 8):
        altered = bytearray(mac)
        altered[at // 8] ^= 1 << at % 8
        with pytest.raises(DamagedObject):
            KEYS.verify_mac(body, bytes(altered), epoch=1)


def test_set_ids_tell_only_equality() -> None:
    device, other = DeviceId(b"d" * 16), DeviceId(b"e" * 16)
    assert KEYS.set_id(device, "home") == KEYS.set_id(device, "home")
    ids = {KEYS.set_id(device, "home"), KEYS.set_id(other, "home"), KEYS.set_id(device, "Home")}
    elsewhere = VaultKeys(VAULT, {0: b"\4" * 32})
    assert len(ids | {elsewhere.set_id(device, "home")}) == 4


def test_keys_serve_several_threads_at_once() -> None:
    sealer = KEYS.pack_keys(PACK, epoch=0)
    messages = [random.Random(number).randbytes(100_000 + number) for number in range(40)]

    def round_trip(message: bytes) -> bytes:
        aad = len(message).to_bytes(4, "big")
        return sealer.open(sealer.seal(message, aad=aad), aad=aad)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(round_trip, messages)) == messages
        derived = pool.map(lambda number: KEYS.pack_keys(PackId(bytes([number]) * 16), epoch=1), range(200))
        assert len({id(keys) for keys in derived}) > 100
