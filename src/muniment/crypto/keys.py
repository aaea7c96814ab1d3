"""The vault key and everything derived from it. `docs/design/format.md`, "Keys".

All derivation is HKDF-SHA256 (RFC 5869) with an `info` that begins with ``muniment/1/``, so no two uses ever
share a key. Ids, chunker seed and page split always come from epoch 0: a rotated vault key must not undo
deduplication.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Self

from blake3 import blake3
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from muniment.crypto.sealing import SealKeys
from muniment.model.errors import DamagedObject
from muniment.model.ids import DeviceId, PackId, SetId, VaultId

KEY = 32
_CACHED_PACKS = 256


def derive(secret: bytes, *, salt: bytes = b"", info: str, length: int = KEY) -> bytes:
    """HKDF-SHA256 with an info of our own name space."""
    return HKDF(SHA256(), length, salt or None, b"muniment/1/" + info.encode("ascii")).derive(secret)


class VaultKeys:
    """The vault key of every epoch, and the sub-keys derived from them. Immutable; safe between threads.

    `chunk_key`, `page_key` and `split_key` (32 bytes) are for hot loops that call BLAKE3 themselves.
    """

    def __init__(self, vault: VaultId, keys: Mapping[int, bytes]) -> None:
        if 0 not in keys or any(len(key) != KEY for key in keys.values()):
            raise ValueError("vault keys are 32 bytes each, and epoch 0 is always among them")
        self.vault = vault
        self.raw: Mapping[int, bytes] = MappingProxyType(dict(keys))
        self.newest_epoch = max(keys)
        first = keys[0]
        self.chunk_key = derive(first, info="chunk-id")
        self.page_key = derive(first, info="page-id")
        self.split_key = derive(first, info="page-split")
        # 63 bits: what the chunking library takes.
        self.chunker_seed = int.from_bytes(derive(first, info="chunker-seed")[:8]) & (1 << 63) - 1
        self.fingerprint = derive(first, info="fingerprint")[:16]
        self._set_key = derive(first, info="set-id")
        self._local_root = derive(first, info="local-state")
        self._seal_roots = {epoch: derive(key, info="seal-root") for epoch, key in keys.items()}
        self._head_roots = {epoch: derive(key, info="head") for epoch, key in keys.items()}
        self._mac_keys = {epoch: derive(key, info="slot-list") for epoch, key in keys.items()}
        self._cached_pack_keys = lru_cache(_CACHED_PACKS)(self._derive_pack_keys)

    @classmethod
    def generate(cls, vault: VaultId) -> Self:
        """A new vault's key, of epoch 0."""
        return cls(vault, {0: secrets.token_bytes(KEY)})

    def __repr__(self) -> str:
        return f"VaultKeys({self.vault}, epochs={sorted(self.raw)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VaultKeys) and self.vault == other.vault and self.raw == other.raw

    def __hash__(self) -> int:
        return hash((self.vault, self.fingerprint))

    def set_id(self, device: DeviceId, name: str) -> SetId:
        """What the server is told of the set `name` on `device`: equal for equal names, and nothing else."""
        return SetId(blake3(device.raw + name.encode(), key=self._set_key).digest(16))

    def pack_keys(self, pack: PackId, *, epoch: int) -> SealKeys:
        """The keys of one pack; the newest few hundred are remembered."""
        return self._cached_pack_keys(pack.raw, epoch)

    def head_keys(self, salt: bytes, *, epoch: int) -> SealKeys:
        return SealKeys(derive(_of_epoch(self._head_roots, epoch), salt=salt, info="head", length=64))

    def local_keys(self, context: bytes) -> SealKeys:
        """Seals what this client keeps on its own disk; `context` separates one use from another."""
        return SealKeys(derive(self._local_root, salt=context, info="local", length=64))

    def mac(self, data: bytes, *, epoch: int) -> bytes:
        """HMAC-SHA256 of a slot list or removal record, which the server can neither make nor check."""
        return hmac.digest(_of_epoch(self._mac_keys, epoch), data, "sha256")

    def verify_mac(self, data: bytes, mac: bytes, *, epoch: int) -> None:
        """DamagedObject unless `mac` is that of `data`."""
        if not hmac.compare_digest(self.mac(data, epoch=epoch), mac):
            raise DamagedObject("a slot list or removal record", why="it fails authentication")

    def _derive_pack_keys(self, pack: bytes, epoch: int) -> SealKeys:
        return SealKeys(derive(_of_epoch(self._seal_roots, epoch), salt=pack, info="pack", length=64))


def _of_epoch(keys: Mapping[int, bytes], epoch: int) -> bytes:
    key = keys.get(epoch)
    if key is None:
        raise DamagedObject("a sealed object", why=f"its key epoch {epoch} is not ours")
    return key
