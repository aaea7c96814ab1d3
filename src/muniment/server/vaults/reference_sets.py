"""Reference sets as objects: the packs that a snapshot needs, as a delta against a parent or in full.

    MUNISET1 ‖ form (1: 0 full, 1 delta) ‖ zero (3) ‖ added (4) ‖ removed (4) ‖ vault id (16)
    ‖ snapshot id (32) ‖ parent snapshot id (32, zero when full) ‖ SHA-256 of the full sorted list (32)
    ‖ added pack ids (16 each, sorted) ‖ removed pack ids

Deltas chain to a depth of 32; then a full list is stored. The object says all that is needed to find its
chain again without the database.
"""

from __future__ import annotations

import hashlib
import struct
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from muniment.server.deployment import Deployment
from muniment.server.store.port import StorageFailed
from muniment.server.vaults.models import Snapshot, Vault
from muniment.server.vaults.objects import read_small

MAX_DEPTH = 32
_MAGIC = b"MUNISET1"
_HEADER = struct.Struct(">8sB3xII16s32s32s32s")
_NO_PARENT = bytes(32)


class _RecentSets:
    """The last sets used, by what they hash to; immutable, so never stale. Bounded by bytes."""

    def __init__(self, *, most: int) -> None:
        self._most, self._held = most, 0
        self._sets: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, digest: bytes) -> bytes | None:
        with self._lock:
            found = self._sets.get(digest)
            if found is not None:
                self._sets.move_to_end(digest)
            return found

    def put(self, digest: bytes, joined: bytes) -> None:
        with self._lock:
            if digest in self._sets or len(joined) > self._most:
                return
            self._sets[digest] = joined
            self._held += len(joined)
            while self._held > self._most:
                self._held -= len(self._sets.popitem(last=False)[1])


_RECENT = _RecentSets(most=16 << 20)


def joined(packs: Iterable[bytes]) -> bytes:
    """The sorted list of pack ids as one string of bytes; its SHA-256 names the set."""
    return b"".join(sorted(packs))


def _split(ids: bytes) -> set[bytes]:
    return {ids[at : at + 16] for at in range(0, len(ids), 16)}


def load_reference_set(deployment: Deployment, snapshot: Snapshot) -> set[bytes]:
    """The pack ids that the snapshot needs. Raises StorageFailed where an object is missing or altered."""
    wanted = bytes(snapshot.packs_sha256)
    deltas: list[tuple[bytes, bytes]] = []
    found: set[bytes] | None = None
    row: Snapshot | None = snapshot
    while found is None:
        if row is None:
            raise StorageFailed("reference set without its parent")
        cached = _RECENT.get(bytes(row.packs_sha256))
        if cached is not None:
            found = _split(cached)
            break
        parent, added, removed = _decode(read_small(deployment, row.packs_key), row)
        if parent is None:
            found = _split(added)
            break
        deltas.append((added, removed))
        row = Snapshot.objects.filter(vault_id=row.vault_id, name=parent.hex()).first()
    for added, removed in reversed(deltas):
        found = (found - _split(removed)) | _split(added)
    full = joined(found)
    if hashlib.sha256(full).digest() != wanted:
        raise StorageFailed("reference set does not have its hash")
    _RECENT.put(wanted, full)
    return found


@dataclass(frozen=True, slots=True)
class EncodedSet:
    """A reference set as an object: its bytes, how many packs it has, how deep its chain is."""

    content: bytes
    count: int
    depth: int
    full: bytes


def encode_reference_set(
    deployment: Deployment, vault: Vault, *, snapshot: bytes, packs: set[bytes], base: Snapshot | None
) -> EncodedSet:
    """The set as it is to be stored: a delta against that of `base`, or in full."""
    full = joined(packs)
    digest = hashlib.sha256(full).digest()
    if base is None or base.packs_depth >= MAX_DEPTH:
        depth, form, parent, added, removed = 0, 0, _NO_PARENT, full, b""
    else:
        before = load_reference_set(deployment, base)
        depth, form, parent = base.packs_depth + 1, 1, bytes.fromhex(base.name)
        added, removed = joined(packs - before), joined(before - packs)
    header = _HEADER.pack(
        _MAGIC, form, len(added) // 16, len(removed) // 16, vault.ref.bytes, snapshot, parent, digest
    )
    return EncodedSet(header + added + removed, len(packs), depth, full)


def remember(encoded: EncodedSet) -> None:
    """Keep the set at hand: the next commit most likely starts from it."""
    _RECENT.put(hashlib.sha256(encoded.full).digest(), encoded.full)


def _decode(content: bytes, row: Snapshot) -> tuple[bytes | None, bytes, bytes]:
    """(parent snapshot or None, added, removed)."""
    magic, form, adds, removes, _vault, snapshot, parent, _digest = _HEADER.unpack_from(content)
    body = content[_HEADER.size :]
    if (
        magic != _MAGIC
        or form not in (0, 1)
        or snapshot.hex() != row.name
        or len(body) != 16 * (adds + removes)
    ):
        raise StorageFailed("reference set is malformed")
    return (parent if form else None), body[: 16 * adds], body[16 * adds :]
