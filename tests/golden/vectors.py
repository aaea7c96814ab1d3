"""Test vectors for an implementation in another language, as one JSON document. `tests/golden/README.md`."""

from __future__ import annotations

import json
from typing import Any

from argon2.low_level import Type, hash_secret_raw

from muniment.crypto.digests import chunk_id, ends_page, page_id
from muniment.crypto.keys import derive
from muniment.crypto.sealing import SealKeys, block_aad
from muniment.format.head import snapshot_id
from muniment.format.page import encode_leaf
from muniment.model.entry import PageType
from muniment.model.ids import PackId
from muniment.model.packs import BlockRole, PackKind, padded_size
from tests.golden.sample import (
    DEVICE,
    DEVICE_PRIVATE,
    ENROLMENT,
    KEYS,
    KIT,
    PASSPHRASE,
    SERVER,
    SERVER_KEY_HASH,
    SET_NAME,
    SLOTS,
    VAULT,
    Sample,
    signed_slot_list,
    slot_list_body,
    stream,
    wrapped_slots,
)

PACK = PackId(b"pack of vectors!")


def vectors(sample: Sample) -> str:
    """The whole document."""
    document = {
        "format": 1,
        "vault": VAULT.hex,
        "vault_keys": {str(epoch): key.hex() for epoch, key in KEYS.raw.items()},
        "sub_keys": _sub_keys(),
        "pack_keys": [_pack_keys(epoch) for epoch in KEYS.raw],
        "sealing": [_sealed(*message) for message in ((b"", b""), (b"plaintext", b"associated data"))],
        "block_aad": [_aad(*place) for place in _places()],
        "chunk_ids": [{"data": d.hex(), "id": chunk_id(KEYS, d).hex} for d in (b"", b"a chunk", bytes(5000))],
        "page_ids": [
            {"type": int(t), "data": b"a page".hex(), "id": page_id(KEYS, t, b"a page").hex} for t in PageType
        ],
        "page_ends": _page_ends(),
        "padded_sizes": [[size, padded_size(size)] for size in _sizes()],
        "set_id": {"device": DEVICE.hex, "name": SET_NAME, "id": KEYS.set_id(DEVICE, SET_NAME).hex},
        "leaf": _leaf(sample),
        "head": _head(sample),
        "slots": _slots(),
        "slot_list": {
            "body": slot_list_body().hex(),
            "mac": KEYS.mac(slot_list_body(), epoch=KEYS.newest_epoch).hex(),
            "signed": signed_slot_list().hex(),
        },
        "codes": _codes(),
    }
    return json.dumps(document, indent=1, ensure_ascii=True) + "\n"


def _sub_keys() -> list[dict[str, Any]]:
    labels = ["chunk-id", "page-id", "page-split", "chunker-seed", "set-id", "fingerprint", "local-state"]
    rows = [(0, label) for label in labels]
    rows += [(epoch, label) for epoch in KEYS.raw for label in ("seal-root", "head", "slot-list")]
    return [
        {"epoch": epoch, "info": f"muniment/1/{label}", "key": derive(KEYS.raw[epoch], info=label).hex()}
        for epoch, label in rows
    ]


def _pack_keys(epoch: int) -> dict[str, Any]:
    raw = derive(derive(KEYS.raw[epoch], info="seal-root"), salt=PACK.raw, info="pack", length=64)
    return {"pack": PACK.hex, "epoch": epoch, "aes_key": raw[:32].hex(), "nonce_key": raw[32:].hex()}


def _sealed(plaintext: bytes, aad: bytes) -> dict[str, str]:
    raw = stream("sealing keys").randbytes(64)
    random16 = stream("sealing").randbytes(16)
    sealed = SealKeys(raw, randomness=lambda _: random16).seal(plaintext, aad=aad)
    return {
        "aes_key": raw[:32].hex(), "nonce_key": raw[32:].hex(), "random": random16.hex(), "aad": aad.hex(),
        "plaintext": plaintext.hex(), "sealed": sealed.hex(),
    }  # fmt: skip


def _places() -> list[tuple[PackKind, BlockRole, int]]:
    return [
        (PackKind.DATA, BlockRole.DATA, 0),
        (PackKind.MIXED, BlockRole.PAGE, 258),
        (PackKind.INDEX, BlockRole.INDEX_COPY, 1),
        (PackKind.PAGE, BlockRole.INDEX, 0xFFFFFFFE),
        (PackKind.PAGE, BlockRole.TRAILER, 0xFFFFFFFF),
    ]


def _aad(kind: PackKind, role: BlockRole, ordinal: int) -> dict[str, Any]:
    aad = block_aad(VAULT, kind, role, ordinal).hex()
    return {"kind": int(kind), "role": int(role), "ordinal": ordinal, "aad": aad}


def _page_ends() -> list[dict[str, Any]]:
    """For each level, of keys `key-0` upwards, the first that ends a page and the one before it."""
    rows = []
    for level in range(3):
        ending = next(n for n in range(1, 10_000) if ends_page(KEYS, level, b"key-%d" % n))
        rows += [
            {"level": level, "key": (b"key-%d" % n).hex(), "ends": ends_page(KEYS, level, b"key-%d" % n)}
            for n in (ending - 1, ending)
        ]
    return rows


def _sizes() -> list[int]:
    edges = [1 << bits for bits in range(16, 25)]
    return sorted({0, 1, 5_000_000, 9_999_999, 1 << 26, *edges, *(edge + 1 for edge in edges)})


def _leaf(sample: Sample) -> dict[str, Any]:
    entries = [entry for entry in sample.entries if entry.directory.startswith(b"home\0ada\0rare\0")]
    page = encode_leaf(entries)
    return {
        "page": page.hex(),
        "id": page_id(KEYS, PageType.LEAF, page).hex,
        "keys": [entry.key.hex() for entry in entries],
        "sizes": [entry.size for entry in entries],
        "modes": [entry.mode for entry in entries],
    }


def _head(sample: Sample) -> dict[str, Any]:
    head = sample.head
    return {
        "sealed": sample.sealed_head.hex(),
        "snapshot": snapshot_id(sample.sealed_head).hex,
        "counter": head.counter,
        "set_name": head.set_name,
        "roots": [root.hex() for root in head.roots],
        "root_page": head.root.page_id.hex if head.root else None,
        "ended_ns": str(head.ended_ns),
    }


def _slots() -> list[dict[str, Any]]:
    wrapped = wrapped_slots()
    salt = stream("slot passphrase").randbytes(16)
    stretched = hash_secret_raw(PASSPHRASE.encode(), salt, 3, 65536, 4, 32, Type.ID)
    secrets = {
        "passphrase": {"passphrase": PASSPHRASE, "stretched": stretched.hex()},
        "kit": {"code": KIT.code.hex()},
        "device": {"private_key": DEVICE_PRIVATE.hex()},
    }
    return [
        {"kind": kind, "slot": SLOTS[kind].hex, "wrapped": wrapped[kind].hex(), **secrets[kind]}
        for kind in wrapped
    ]


def _codes() -> dict[str, Any]:
    return {
        "enrolment": {
            "text": ENROLMENT.text(),
            "secret": ENROLMENT.secret.hex(),
            "server_key_hash": SERVER_KEY_HASH.hex(),
            "new_vault": True,
            "pinned": True,
        },
        "kit": {
            "text": KIT.text(),
            "server": SERVER,
            "vault": VAULT.hex,
            "code": KIT.code.hex(),
            "pin": KIT.pin.hex(),
            "server_key_hash": SERVER_KEY_HASH.hex(),
            "pinned": True,
            "credential": KIT.credential().hex(),
            "credential_hash": KIT.credential_hash().hex(),
        },
    }
