"""Codes that people type or scan: Crockford base 32 with a checksum that finds every single typo.

`docs/design/format.md`, "Codes". Standard library only, because the server writes enrolment codes and may
not import `muniment.crypto`.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from enum import IntFlag
from typing import Self

from muniment.model.errors import MistypedCode

ENROLMENT_PREFIX = "MUNIC1"
KIT_PREFIX = "MUNIK1"

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUE = {letter: value for value, letter in enumerate(_ALPHABET)}
_LOOKALIKES = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, "‐": None, "–": None, "_": None})
_CHECK = 4
_GROUP = 5
_LONGEST = 2048


class CodeFlag(IntFlag):
    """First byte of every code."""

    NONE = 0
    NEW_VAULT = 1
    PINNED = 2


def write_code(prefix: str, payload: bytes) -> str:
    """`payload` and its checksum as upper-case groups of five behind `prefix`."""
    data = payload + _checksum(prefix, payload)
    symbols = -(-len(data) * 8 // _GROUP)
    number = int.from_bytes(data) << (symbols * _GROUP - len(data) * 8)
    digits = "".join(_ALPHABET[(number >> shift) & 31] for shift in range((symbols - 1) * 5, -1, -5))
    return "-".join([prefix, *(digits[at : at + _GROUP] for at in range(0, symbols, _GROUP))])


def read_code(prefix: str, text: str) -> bytes:
    """The payload of a code as someone typed it; MistypedCode when it is not exactly what was written."""
    if len(text) > _LONGEST:
        raise MistypedCode("that is too long for a code")
    typed = "".join(text.upper().split()).translate(_LOOKALIKES)
    start = prefix.translate(_LOOKALIKES)
    if not typed.startswith(start):
        raise MistypedCode(f"a code of this kind begins with {prefix}")
    number = 0
    digits = typed[len(start) :]
    for digit in digits:
        value = _VALUE.get(digit)
        if value is None:
            raise MistypedCode(f"{digit!r} cannot be part of a code")
        number = number << 5 | value
    spare = len(digits) * 5 % 8
    length = len(digits) * 5 // 8
    if spare >= _GROUP or length <= _CHECK or number & ((1 << spare) - 1):
        raise _mistyped()
    data = (number >> spare).to_bytes(length)
    payload, check = data[:-_CHECK], data[-_CHECK:]
    if check != _checksum(prefix, payload):
        raise _mistyped()
    return payload


def read_flags(raw: int, known: CodeFlag) -> CodeFlag:
    """The flags of a code; MistypedCode for one that this version does not know."""
    if raw & ~int(known):
        raise MistypedCode(
            "the code was made by a newer version",
            advice="Install a newer version of muniment on this machine.",
        )
    return CodeFlag(raw)


def server_key_hash(public_key: bytes) -> bytes:
    """What codes carry of the server's public key (SubjectPublicKeyInfo DER): 16 bytes of its SHA-256."""
    return hashlib.sha256(public_key).digest()[:16]


def _checksum(prefix: str, payload: bytes) -> bytes:
    return hashlib.sha256(prefix.encode("ascii") + payload).digest()[:_CHECK]


def _mistyped() -> MistypedCode:
    return MistypedCode(
        "the code is mistyped or incomplete", advice="Compare it with the original, group by group."
    )


@dataclass(frozen=True, slots=True)
class EnrolmentCode:
    """Lets one machine enrol, once. `server_key_hash` is checked against the server before anything is sent.

    `new_vault`: made by `create-account`, so there is no vault yet; else an existing one is opened.
    `pinned`: the server's own certificate is trusted by this hash, not by the system's authorities.
    """

    secret: bytes = field(repr=False)
    server_key_hash: bytes
    new_vault: bool
    pinned: bool

    def __post_init__(self) -> None:
        if len(self.secret) != 16 or len(self.server_key_hash) != 16:
            raise ValueError("an enrolment code takes a secret and a key hash of 16 bytes each")

    @classmethod
    def make(cls, *, server_key_hash: bytes, new_vault: bool, pinned: bool) -> Self:
        """A code with a fresh random secret."""
        return cls(secrets.token_bytes(16), server_key_hash, new_vault=new_vault, pinned=pinned)

    def text(self) -> str:
        flags = (CodeFlag.NEW_VAULT if self.new_vault else 0) | (CodeFlag.PINNED if self.pinned else 0)
        return write_code(ENROLMENT_PREFIX, bytes([flags]) + self.secret + self.server_key_hash)

    @classmethod
    def parse(cls, text: str) -> Self:
        payload = read_code(ENROLMENT_PREFIX, text)
        if len(payload) != 33:
            raise _mistyped()
        flags = read_flags(payload[0], CodeFlag.NEW_VAULT | CodeFlag.PINNED)
        return cls(
            payload[1:17],
            payload[17:],
            new_vault=CodeFlag.NEW_VAULT in flags,
            pinned=CodeFlag.PINNED in flags,
        )
