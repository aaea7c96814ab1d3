"""Codes survive being read aloud, and no single slip of the finger passes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.crypto.codes import EnrolmentCode, RecoveryKit
from muniment.crypto.keys import VaultKeys
from muniment.model.codes import read_code, server_key_hash, write_code
from muniment.model.errors import MistypedCode
from muniment.model.ids import VaultId

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
KEYS = VaultKeys(VaultId(b"v" * 16), {0: b"\1" * 32})
KIT = RecoveryKit(
    "https://backup.example.org:8443", KEYS.vault, bytes(range(32)), KEYS.fingerprint, b"h" * 16, pinned=True
)
ENROLMENT = EnrolmentCode(b"s" * 16, server_key_hash(b"a key"), new_vault=True, pinned=False)


@given(st.binary(min_size=1, max_size=120))
def test_payload_survives(payload: bytes) -> None:
    text = write_code("MUNIC1", payload)
    assert read_code("MUNIC1", text) == payload
    sloppy = text.lower().replace("0", "o").replace("1", "l").replace("-", "  ")
    assert read_code("MUNIC1", f"\n {sloppy}\t") == payload
    assert read_code("MUNIC1", text.replace("1", "i").replace("-", "")) == payload


@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize("new_vault", [False, True])
def test_enrolment_code_survives(*, new_vault: bool, pinned: bool) -> None:
    code = EnrolmentCode.make(server_key_hash=b"k" * 16, new_vault=new_vault, pinned=pinned)
    assert EnrolmentCode.parse(code.text()) == code
    assert len(code.text().replace("-", "")) == 6 + 60


@given(st.binary(min_size=32, max_size=32), st.text(min_size=1, max_size=60), st.booleans())
def test_kit_survives(code: bytes, server: str, pinned: bool) -> None:
    kit = RecoveryKit(server, KEYS.vault, code, KEYS.fingerprint, b"h" * 16, pinned=pinned)
    assert RecoveryKit.parse(kit.text()) == kit


@pytest.mark.parametrize(
    ("text", "parse"), [(KIT.text(), RecoveryKit.parse), (ENROLMENT.text(), EnrolmentCode.parse)]
)
def test_every_single_typo_is_found(text: str, parse: Callable[[str], object]) -> None:
    """Every digit replaced by every other, left out, doubled, or swapped with its neighbour."""
    digits = text.replace("-", "")
    start = 6
    for at in range(start, len(digits)):
        variants = [digits[:at] + letter + digits[at + 1 :] for letter in ALPHABET if letter != digits[at]]
        variants.append(digits[:at] + digits[at + 1 :])
        variants.append(digits[:at] + digits[at] + digits[at:])
        if digits[at : at + 1] != digits[at + 1 : at + 2] and at + 1 < len(digits):
            variants.append(digits[:at] + digits[at + 1] + digits[at] + digits[at + 2 :])
        for variant in variants:
            with pytest.raises(MistypedCode):
                parse(variant)


@pytest.mark.parametrize(
    "text", ["", "MUNIK1", "MUNIK1-00000", "hello", "MUNIK1-UUUUU", KIT.text()[:-1], "M" * 5000]
)
def test_no_code_at_all(text: str) -> None:
    for parse in (RecoveryKit.parse, EnrolmentCode.parse):
        with pytest.raises(MistypedCode):
            parse(text)


def test_one_kind_is_not_taken_for_another() -> None:
    with pytest.raises(MistypedCode):
        EnrolmentCode.parse(KIT.text())
    with pytest.raises(MistypedCode):
        RecoveryKit.parse("MUNIK1" + ENROLMENT.text()[6:])


def test_flags_of_the_future_are_refused() -> None:
    with pytest.raises(MistypedCode, match="newer"):
        EnrolmentCode.parse(write_code("MUNIC1", b"\x04" + bytes(32)))
    with pytest.raises(MistypedCode, match="newer"):
        RecoveryKit.parse(write_code("MUNIK1", b"\x01" + bytes(80) + b"\x01x"))


def test_kit_of_another_length_is_refused() -> None:
    for payload in (bytes(81) + b"\x05" + b"abc", bytes(82), bytes(33), bytes(81) + b"\x02\xff\xff"):
        with pytest.raises(MistypedCode):
            RecoveryKit.parse(write_code("MUNIK1", payload))


def test_kit_credential_is_not_the_code() -> None:
    other = RecoveryKit.make(KEYS, server=KIT.server, server_key_hash=b"h" * 16, pinned=True)
    assert KIT.credential() == RecoveryKit.parse(KIT.text()).credential()
    assert len({KIT.credential(), KIT.credential_hash(), KIT.code, other.credential()}) == 4
    assert KIT.code.hex() not in repr(KIT)


@pytest.mark.parametrize("server", ["", "x" * 256])
def test_impossible_kits_are_not_made(server: str) -> None:
    with pytest.raises(ValueError):
        RecoveryKit.make(KEYS, server=server, server_key_hash=b"h" * 16, pinned=False)
