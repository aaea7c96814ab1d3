"""What the service asks of an object store; tests/conformance/object_store_contract.py holds adapters to it.

An object is immutable: written whole under a key that is used once, read in ranges, deleted. Keys are made
by us from random bytes; only database rows name objects.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredObject:
    key: str
    size: int


class ObjectMissing(Exception):
    """No object under this key."""


class ObjectExists(Exception):
    """The key was used before. Nothing was changed."""


class StorageFull(Exception):
    """The store has no room. Nothing half-written stays."""


class StorageFailed(Exception):
    """The store failed in a way that repeating with a new key may cure. Nothing was acknowledged."""


class ObjectWriter(Protocol):
    """An object being written. Used by one thread at a time. Raises StorageFull, StorageFailed."""

    def write(self, pieces: Sequence[bytes]) -> None:
        """Append the pieces."""

    def publish(self) -> None:
        """Make the object appear under its key, durably. On return a power cut cannot lose it."""

    def discard(self) -> None:
        """Forget what was written; nothing after `publish`."""


class ObjectReader(Protocol):
    """An object open for reading. Safe for several threads."""

    size: int

    def read(self, *, offset: int, length: int) -> bytes:
        """At most `length` bytes at `offset`; fewer only at the end."""

    def close(self) -> None: ...


class ObjectStore(Protocol):
    def begin(self, key: str, *, size: int) -> ObjectWriter:
        """Start writing an object that is expected to have `size` bytes.

        StorageFull where that would leave no room for what is `put`.
        """

    def put(self, key: str, content: bytes) -> None:
        """Write a small object durably; ObjectExists when the key is taken."""

    def sync(self, key: str) -> None:
        """Make durable an object that is there, whoever wrote it and whatever became of them.

        For keys that say their content. Raises ObjectMissing.
        """

    def open(self, key: str) -> ObjectReader:
        """Raises ObjectMissing."""

    def delete(self, key: str) -> None:
        """Remove the object durably; nothing happens where there is none."""

    def delete_all(self, keys: Iterable[str]) -> None:
        """As `delete` with each, made durable together: many at once cost little more than one."""

    def remove_all(self, folder: str) -> int:
        """Remove, durably, all objects whose key begins with ``<folder>/``; returns how many there were.

        Nothing stays that would say that there ever was such a folder.
        """

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """All objects whose key begins with `prefix`, sorted."""

    def probe(self) -> None:
        """Raise StorageFull or StorageFailed unless a write would succeed now."""


def fresh_key(vault: str, kind: str) -> str:
    """A key that was never used and never will be: ``<vault>/<kind>/<1 hex>/<31 hex>``."""
    name = secrets.token_hex(16)
    return f"{vault}/{kind}/{name[:1]}/{name[1:]}"


def read_object(objects: ObjectStore, key: str) -> bytes:
    """The whole of a small object. Raises ObjectMissing."""
    reader = objects.open(key)
    try:
        return reader.read(offset=0, length=reader.size)
    finally:
        reader.close()
