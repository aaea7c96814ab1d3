"""Signed tree heads: C2SP tlog-checkpoint in a C2SP signed-note, with Ed25519. Pure but for the key file.

https://c2sp.org/tlog-checkpoint, https://c2sp.org/signed-note. Keys are written as Go's `note` package
writes them, so that other people's tools read them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_ED25519 = b"\x01"
_ID_SIZE = 4
_NAME = re.compile(r"[^\s+]+\Z")
_SIGNATURE = re.compile(r"— (\S+) (\S+)\Z")
_SIZE = re.compile(r"(0|[1-9][0-9]{0,18})\Z")


class BadCheckpoint(ValueError):
    """A checkpoint that does not parse, or that the key did not sign."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`origin` names the log; `root` is the hash of its first `size` leaves."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode('ascii')}\n"


@dataclass(frozen=True, slots=True)
class LogKey:
    """The public key of a log."""

    name: str
    raw: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `name+id+key`. Raises BadCheckpoint."""
        try:
            name, identifier, encoded = text.strip().split("+", 2)
            decoded = base64.b64decode(encoded, validate=True)
        except (ValueError, binascii.Error) as error:
            raise BadCheckpoint("that is no log's key") from error
        key = cls(name, decoded[1:])
        if decoded[:1] != _ED25519 or len(key.raw) != 32 or key.identifier.hex() != identifier:
            raise BadCheckpoint("the key does not belong to its name")
        return key

    def __str__(self) -> str:
        encoded = base64.b64encode(_ED25519 + self.raw).decode("ascii")
        return f"{self.name}+{self.identifier.hex()}+{encoded}"

    @property
    def identifier(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.raw).digest()[:_ID_SIZE]

    def open(self, note: str) -> Checkpoint:
        """The checkpoint that this key signed. Other signers' lines are passed over. Raises BadCheckpoint."""
        text, blank, signatures = note.rpartition("\n\n")
        text += "\n"
        if not blank or not signatures.endswith("\n"):
            raise BadCheckpoint("that is no signed note")
        if not any(self._signed(text, line) for line in signatures[:-1].split("\n")):
            raise BadCheckpoint(f"{self.name} did not sign that")
        checkpoint = _parse(text)
        if checkpoint.origin != self.name:
            raise BadCheckpoint(f"that is a checkpoint of {checkpoint.origin}")
        return checkpoint

    def _signed(self, text: str, line: str) -> bool:
        found = _SIGNATURE.match(line)
        if found is None:
            raise BadCheckpoint("a line is no signature")
        if found[1] != self.name:
            return False
        try:
            raw = base64.b64decode(found[2], validate=True)
        except binascii.Error as error:
            raise BadCheckpoint("a signature is no base64") from error
        # Not every spelling of base64 is the one that was written: unused bits must be as we set them.
        if raw[:_ID_SIZE] != self.identifier or base64.b64encode(raw).decode("ascii") != found[2]:
            return False
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(raw[_ID_SIZE:], text.encode())
        except InvalidSignature as error:
            raise BadCheckpoint(f"the signature is not {self.name}'s") from error
        return True


@dataclass(frozen=True, slots=True)
class LogSigner:
    """The private key of a log, and the name under which it signs."""

    name: str
    private: Ed25519PrivateKey

    @classmethod
    def generate(cls, name: str) -> Self:
        if not _NAME.match(name):
            raise ValueError("the name of a log has no spaces and no plus")
        return cls(name, Ed25519PrivateKey.generate())

    @classmethod
    def parse(cls, text: str) -> Self:
        """From what `encode` wrote. ValueError where it is something else."""
        marker = "PRIVATE+KEY+"
        if not text.startswith(marker):
            raise ValueError("that is no log's private key")
        name, identifier, encoded = text.strip().removeprefix(marker).split("+", 2)
        signer = cls(name, Ed25519PrivateKey.from_private_bytes(base64.b64decode(encoded)[1:]))
        if signer.key.identifier.hex() != identifier:
            raise ValueError("the private key does not belong to its name")
        return signer

    def encode(self) -> str:
        seed = base64.b64encode(_ED25519 + self.private.private_bytes_raw()).decode("ascii")
        return f"PRIVATE+KEY+{self.name}+{self.key.identifier.hex()}+{seed}"

    @property
    def key(self) -> LogKey:
        return LogKey(self.name, self.private.public_key().public_bytes_raw())

    def sign(self, *, size: int, root: bytes) -> str:
        """The note: the checkpoint, an empty line, one signature."""
        text = Checkpoint(self.name, size, root).text()
        signature = base64.b64encode(self.key.identifier + self.private.sign(text.encode())).decode("ascii")
        return f"{text}\n— {self.name} {signature}\n"


def _parse(text: str) -> Checkpoint:
    lines = text.split("\n")
    if len(lines) < 4 or not _SIZE.match(lines[1]):
        raise BadCheckpoint("that is no checkpoint")
    try:
        root = base64.b64decode(lines[2], validate=True)
    except binascii.Error as error:
        raise BadCheckpoint("the root is no base64") from error
    if len(root) != hashlib.sha256().digest_size or base64.b64encode(root).decode("ascii") != lines[2]:
        raise BadCheckpoint("the root is no hash")
    return Checkpoint(lines[0], int(lines[1]), root)
