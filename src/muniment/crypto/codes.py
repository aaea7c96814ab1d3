"""The recovery kit: one string from which a vault is read on a bare machine.

`docs/design/format.md`, "Codes".
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Self

from muniment.crypto.keys import KEY, VaultKeys, derive
from muniment.model.codes import KIT_PREFIX, CodeFlag, EnrolmentCode, read_code, read_flags, write_code
from muniment.model.errors import MistypedCode
from muniment.model.ids import VaultId

__all__ = ["EnrolmentCode", "RecoveryKit"]

_FIXED = 1 + 16 + KEY + 16 + 16 + 1


@dataclass(frozen=True, slots=True)
class RecoveryKit:
    """`code` opens the vault's kit slot; `pin` confirms the key found there; the rest finds the server.

    `server_key_hash`: 16 bytes, as in an enrolment code. `pinned`: the certificate is trusted by it alone.
    """

    server: str
    vault: VaultId
    code: bytes = field(repr=False)
    pin: bytes
    server_key_hash: bytes
    pinned: bool

    def __post_init__(self) -> None:
        if (len(self.code), len(self.pin), len(self.server_key_hash)) != (KEY, 16, 16):
            raise ValueError("a kit takes a code of 32 bytes, a pin and a key hash of 16")
        if not 0 < len(self.server.encode()) <= 255:
            raise ValueError("the server's address takes 1 to 255 bytes")

    @classmethod
    def make(cls, keys: VaultKeys, *, server: str, server_key_hash: bytes, pinned: bool) -> Self:
        """A kit with a fresh random code for these keys."""
        code = secrets.token_bytes(KEY)
        return cls(server, keys.vault, code, keys.fingerprint, server_key_hash, pinned=pinned)

    def text(self) -> str:
        address = self.server.encode()
        flags = CodeFlag.PINNED if self.pinned else CodeFlag.NONE
        payload = bytes([flags]) + self.vault.raw + self.code + self.pin + self.server_key_hash
        return write_code(KIT_PREFIX, payload + bytes([len(address)]) + address)

    @classmethod
    def parse(cls, text: str) -> Self:
        """MistypedCode unless it is exactly what was printed, hyphens, spaces and case aside."""
        payload = read_code(KIT_PREFIX, text)
        if len(payload) <= _FIXED or len(payload) != _FIXED + payload[_FIXED - 1]:
            raise MistypedCode("the kit is incomplete")
        flags = read_flags(payload[0], CodeFlag.PINNED)
        try:
            server = payload[_FIXED:].decode()
        except UnicodeDecodeError:
            raise MistypedCode("the kit's address is no text") from None
        return cls(
            server,
            VaultId(payload[1:17]),
            payload[17:49],
            payload[49:65],
            payload[65:81],
            pinned=CodeFlag.PINNED in flags,
        )

    def credential(self) -> bytes:
        """What the server accepts for a read-only session; it keeps only `credential_hash`. Opens nothing."""
        return derive(self.code, salt=self.vault.raw, info="kit/auth", length=KEY)

    def credential_hash(self) -> bytes:
        return hashlib.sha256(self.credential()).digest()
