"""Small sealed objects (heads, reference sets, slots, slot lists) under keys that say their content.

They go to the store before the row that names them. A repeat after a crash in between finds its own object.
What is stored for a row that then does not come is removed again: it would lie there unmetered for ever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.db.models import Q

from muniment.server.deployment import Deployment
from muniment.server.refusals import Refusal
from muniment.server.store.port import ObjectExists, ObjectMissing, StorageFailed, read_object
from muniment.server.transactions import writing
from muniment.server.vaults.hot_rows import change_rows
from muniment.server.vaults.models import Slot, SlotListVersion, Snapshot, Vault
from muniment.wire.errors import ErrorCode


@dataclass(slots=True)
class Stage:
    """Objects stored ahead of one row."""

    deployment: Deployment
    vault: Vault
    _keys: list[str] = field(default_factory=list)

    def store(self, kind: str, content: bytes, *, label: str = "") -> str:
        """Store `content` durably; returns its key: ``<vault>/<kind>/<label><SHA-256>``."""
        key = f"{self.vault.ref.hex}/{kind}/{label}{hashlib.sha256(content).hexdigest()}"
        self._keys.append(key)
        try:
            self.deployment.objects.put(key, content)
        except ObjectExists:
            if read_object(self.deployment.objects, key) != content:
                raise StorageFailed("object altered") from None
            self.deployment.objects.sync(key)  # its writer may have been killed before it was durable
        return key

    def keep(self) -> None:
        """The row that names the objects is there. Call it under the vault's row, inside `writing()`.

        Another request with the same content may have been refused meanwhile and have removed them: then
        UNAVAILABLE, and a repeat stores them anew.
        """
        for key in self._keys:
            try:
                self.deployment.objects.open(key).close()
            except ObjectMissing:
                raise Refusal(ErrorCode.UNAVAILABLE, "the same was sent twice at once") from None
        self._keys.clear()

    def discard(self) -> None:
        """Remove what no row names. Under the vault's row, so that nobody begins to name it meanwhile."""
        if not self._keys:
            return
        with writing():
            change_rows("hold_vault", self.vault.pk)
            for key in self._keys:
                if not _is_named(key):
                    self.deployment.objects.delete(key)


@contextmanager
def staging(deployment: Deployment, vault: Vault) -> Iterator[Stage]:
    """For `store` before a transaction and `keep` in it; all that was not kept by the end is discarded."""
    stage = Stage(deployment, vault)
    try:
        yield stage
    finally:
        stage.discard()


def _is_named(key: str) -> bool:
    return (
        Snapshot.objects.filter(Q(head_key=key) | Q(packs_key=key)).exists()
        or Slot.objects.filter(object_key=key).exists()
        or SlotListVersion.objects.filter(object_key=key).exists()
    )


def read_small(deployment: Deployment, key: str) -> bytes:
    """The object's bytes, checked against the hash in its key. Raises StorageFailed."""
    try:
        content = read_object(deployment.objects, key)
    except ObjectMissing as error:
        raise StorageFailed("object missing") from error
    if hashlib.sha256(content).hexdigest() != key[-64:]:
        raise StorageFailed("object altered")
    return content
