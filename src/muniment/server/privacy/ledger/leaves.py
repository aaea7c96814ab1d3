"""What a leaf says, and how it commits to what it does not say. Pure; docs/design/ledger.md has the bytes.

A leaf names no person. What was done stands in the *opening* (salt and payload), kept apart from the tree and
deleted with the person; without the salt the commitment says nothing about the payload.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from muniment.server.privacy.ledger.merkle import leaf_hash

Json: TypeAlias = "bool | int | str | Sequence[Json] | Mapping[str, Json] | None"

SALT_SIZE = 32
_DATA = re.compile(
    r"1\n[A-Za-z0-9_.,+-]{1,40}\n[A-Za-z0-9_.,+-]{1,40}\n\d{4}-\d\d-\d\dT\d\d\n[0-9a-f]{64}\n", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Leaf:
    """`hour`: like 2026-11-22T18, UTC. `commitment`: HMAC-SHA-256 of the payload under the opening's salt."""

    kind: str
    clause: str
    hour: str
    commitment: bytes

    def data(self) -> bytes:
        """The bytes that are hashed into the tree. ValueError where they would not be the leaf's alone."""
        return leaf_data(self.kind, self.clause, self.hour, self.commitment.hex())

    def hash(self) -> bytes:
        """Raises ValueError as `data` does."""
        return leaf_hash(self.data())


def leaf_data(kind: str, clause: str, hour: str, commitment: str) -> bytes:
    """The bytes of a leaf, its commitment in hexadecimal. ValueError where a field is none of a leaf."""
    text = f"1\n{kind}\n{clause}\n{hour}\n{commitment}\n"
    if not _DATA.fullmatch(text):
        raise ValueError(f"no leaf can say {kind!r}, {clause!r}, {hour!r}, {commitment!r}")
    return text.encode("ascii")


def hour_of(now: datetime) -> str:
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H")


def canonical(payload: Mapping[str, Json]) -> str:
    """The payload as it is committed to and kept: JSON with sorted keys and no spaces. Floats are refused."""
    _refuse_floats(payload)
    return json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def commitment_to(payload: str, *, salt: bytes) -> bytes:
    """ValueError for a salt of another length, because HMAC pads short keys: two would be one."""
    if len(salt) != SALT_SIZE:
        raise ValueError(f"a salt has {SALT_SIZE} bytes")
    return hmac.digest(salt, payload.encode("utf-8"), "sha256")


def _refuse_floats(value: Json) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"a payload is keyed by text, not by {key!r}")
            _refuse_floats(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_floats(item)
    elif value is not None and not isinstance(value, bool | int | str):
        raise TypeError(f"a payload holds no {type(value).__name__}")
