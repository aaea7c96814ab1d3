"""Small sealed objects (heads, reference sets, slots, slot lists) under keys that say their content.

They go to the store before the row that names them. A repeat after a crash in between finds its own object.
"""

from __future__ import annotations

import hashlib

from muniment.server.deployment import Deployment
from muniment.server.store.port import ObjectExists, ObjectMissing, StorageFailed, read_object
from muniment.server.vaults.models import Vault


def store_small(deployment: Deployment, vault: Vault, kind: str, content: bytes, *, label: str = "") -> str:
    """Store `content` durably; returns its key: ``<vault>/<kind>/<label><SHA-256>``."""
    key = f"{vault.ref.hex}/{kind}/{label}{hashlib.sha256(content).hexdigest()}"
    try:
        deployment.objects.put(key, content)
    except ObjectExists:
        if read_object(deployment.objects, key) != content:
            raise StorageFailed("object altered") from None
        deployment.objects.sync(key)  # its writer may have been killed, or failed, before it was durable
    return key


def read_small(deployment: Deployment, key: str) -> bytes:
    """The object's bytes, checked against the hash in its key. Raises StorageFailed."""
    try:
        content = read_object(deployment.objects, key)
    except ObjectMissing as error:
        raise StorageFailed("object missing") from error
    if hashlib.sha256(content).hexdigest() != key[-64:]:
        raise StorageFailed("object altered")
    return content
