"""Verifies what people and onlookers hold, offline: bundles, receipts, checkpoints, exports. No Django.

A verdict is a list of sentences about what holds; what does not hold raises NotProven, so that nothing can
be taken for proven by mistake. A key that comes from the file itself proves only that the file is of one
piece: whoever knows the log's key beforehand passes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from muniment.server.privacy.ledger.checkpoints import BadCheckpoint, Checkpoint, LogKey
from muniment.server.privacy.ledger.leaves import Leaf, canonical, commitment_to, leaf_data
from muniment.server.privacy.ledger.merkle import EMPTY_ROOT, Growing, continues, includes, leaf_hash

BUNDLE = "muniment-ledger-bundle-1"
RECEIPT = "muniment-ledger-receipt-1"
CONSISTENCY = "muniment-ledger-consistency-1"
EXPORT = "muniment-ledger-export-1"


class NotProven(Exception):
    """The text says what does not hold."""


class _Line(msgspec.Struct):
    """A line of an export: a heading, a leaf or a checkpoint."""

    index: int | None = None
    kind: str = ""
    clause: str = ""
    hour: str = ""
    commitment: str = ""
    checkpoint: str = ""
    format: str = ""
    public_key: str = ""


def verify_document(
    document: Any, *, checkpoints: Sequence[str] = (), key: LogKey | None = None
) -> list[str]:
    """A bundle, a receipt, a proof of consistency, or any document that contains some. Raises NotProven.

    `checkpoints` are notes that the asker holds: what the document says about those sizes has to fit them.
    """
    found = [verdict for part in _parts(document) for verdict in _verify_part(part, checkpoints, key)]
    if not found:
        raise NotProven("the document holds nothing that could be verified")
    return found


def verify_export(
    lines: Iterable[bytes], *, checkpoints: Sequence[str] = (), key: LogKey | None = None
) -> str:
    """Every leaf from the first on, under every checkpoint in the file and beside it. Raises NotProven."""
    tree, waiting, reached = Growing(), list(checkpoints), 0
    decode = msgspec.json.Decoder(_Line).decode
    expected: dict[int, list[bytes]] = {}
    for raw in lines:
        try:
            line = decode(raw)
        except msgspec.MsgspecError as error:
            raise NotProven(f"after entry {tree.size - 1} a line is no part of an export") from error
        if line.index is not None:
            reached += _grow(tree, line, expected)
        elif line.checkpoint:
            waiting.append(line.checkpoint)
        elif line.format == EXPORT:
            key = _one_key(key, line.public_key)
        else:
            raise NotProven(f"after entry {tree.size - 1} a line is no part of an export")
        if waiting and key is not None:
            reached += _expect(waiting, key, tree, expected)
    if expected:
        raise NotProven(f"a checkpoint speaks of {max(expected)} entries; the export has {tree.size}")
    if waiting or not reached:
        raise NotProven("no checkpoint covers the entries" if key else "the export does not say whose it is")
    return f"{tree.size} entries under {reached} checkpoints of {key}"


def _grow(tree: Growing, line: _Line, expected: dict[int, list[bytes]]) -> int:
    if line.index != tree.size:
        raise NotProven(f"entry {line.index} stands where entry {tree.size} belongs")
    try:
        tree.append(leaf_hash(leaf_data(line.kind, line.clause, line.hour, line.commitment)))
    except ValueError as error:
        raise NotProven(f"entry {line.index} is no leaf") from error
    if tree.size not in expected:
        return 0
    roots = expected.pop(tree.size)
    if any(root != tree.root for root in roots):
        raise NotProven(f"the first {tree.size} entries are not those that were signed")
    return len(roots)


def _expect(waiting: list[str], key: LogKey, tree: Growing, expected: dict[int, list[bytes]]) -> int:
    """Open the checkpoints and hold them against the tree, now or when it is large enough."""
    met = 0
    for checkpoint in [_open(key, note) for note in waiting]:
        if checkpoint.size == tree.size or checkpoint.size == 0:
            if checkpoint.root != (tree.root if checkpoint.size else EMPTY_ROOT):
                raise NotProven(f"the first {tree.size} entries are not those that were signed")
            met += 1
        elif checkpoint.size > tree.size:
            expected.setdefault(checkpoint.size, []).append(checkpoint.root)
        else:
            raise NotProven(f"the checkpoint of {checkpoint.size} entries comes after entry {tree.size - 1}")
    waiting.clear()
    return met


def _parts(document: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(document, dict):
        if document.get("format") in (BUNDLE, RECEIPT, CONSISTENCY):
            yield document
            return
        document = list(document.values())
    if isinstance(document, list):
        for item in document:
            yield from _parts(item)


def key_in(document: Any) -> LogKey:
    """The key that a document or the heading of an export brings. Raises NotProven."""
    if isinstance(document, dict) and document.get("format") == EXPORT:
        return _one_key(None, str(document.get("public_key")))
    for part in _parts(document):
        proof = part.get("proof") if part["format"] == RECEIPT else part
        if isinstance(proof, dict):
            return _one_key(None, str(proof.get("public_key")))
    raise NotProven("the document holds nothing that could be verified")


def verify_checkpoint(note: str, *, key: LogKey) -> Checkpoint:
    """The checkpoint that the key signed. Raises NotProven."""
    return _open(key, note)


def _verify_part(part: Mapping[str, Any], held: Sequence[str], key: LogKey | None) -> list[str]:
    try:
        if part["format"] == BUNDLE:
            return _verify_bundle(part, held, key)
        if part["format"] == CONSISTENCY:
            return [_verify_consistency(part, held, key)]
        return _verify_receipt(part, held, key)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotProven(f"a {part['format']} is incomplete or garbled") from error


def _verify_receipt(receipt: Mapping[str, Any], held: Sequence[str], key: LogKey | None) -> list[str]:
    entries = receipt["proof"]["entries"]
    if len(entries) != 1 or entries[0]["payload"] != canonical(receipt["content"]):
        raise NotProven("the receipt says something else than what was recorded")
    return _verify_bundle(receipt["proof"], held, key)


def _verify_bundle(bundle: Mapping[str, Any], held: Sequence[str], key: LogKey | None) -> list[str]:
    if not bundle["entries"]:
        return ["no entries"]
    key = _one_key(key, bundle["public_key"])
    checkpoint = _open(key, bundle["checkpoint"])
    _held(checkpoint.size, held, key, checkpoint)
    return [_verify_entry(entry, checkpoint) for entry in bundle["entries"]]


def _verify_entry(entry: Mapping[str, Any], checkpoint: Checkpoint) -> str:
    index, payload = entry["index"], entry["payload"]
    commitment = commitment_to(payload, salt=bytes.fromhex(entry["salt"]))
    leaf = Leaf(entry["kind"], entry["clause"], entry["hour"], commitment)
    proof = [bytes.fromhex(step) for step in entry["proof"]]
    if not includes(checkpoint.root, size=checkpoint.size, index=index, leaf=leaf.hash(), proof=proof):
        raise NotProven(f"entry {index} is not in the ledger as it is written here")
    if payload != canonical(json.loads(payload)):
        raise NotProven(f"the payload of entry {index} is not written as the ledger writes it")
    return f"entry {index}  {leaf.hour}Z  {leaf.kind}  {leaf.clause}  {payload}"


def _verify_consistency(document: Mapping[str, Any], held: Sequence[str], key: LogKey | None) -> str:
    key = _one_key(key, document["public_key"])
    told = _open(key, document["old"]) if document.get("old") else None
    old = _held(document["old_size"], held, key, told)
    if old is None:
        raise NotProven(f"the checkpoint of {document['old_size']} entries is needed beside this proof")
    new = _open(key, document["new"])
    _held(new.size, held, key, new)
    proof = [bytes.fromhex(step) for step in document["proof"]]
    if not continues(new.root, new=new.size, old_root=old.root, old=old.size, proof=proof):
        raise NotProven(f"the ledger of {new.size} entries does not continue that of {old.size}")
    return f"the ledger of {new.size} entries begins with the {old.size} of the older checkpoint"


def _held(size: int, held: Sequence[str], key: LogKey, told: Checkpoint | None) -> Checkpoint | None:
    """The checkpoint of that size; NotProven where two that were signed say different things."""
    known = [checkpoint for checkpoint in (_open(key, note) for note in held) if checkpoint.size == size]
    if told is not None:
        known.append(told)
    if len({checkpoint.root for checkpoint in known}) > 1 or any(one.size != size for one in known):
        raise NotProven(f"two checkpoints of {size} entries contradict each other: two ledgers were shown")
    return known[0] if known else None


def _one_key(given: LogKey | None, written: str) -> LogKey:
    try:
        key = LogKey.parse(written)
    except BadCheckpoint as error:
        raise NotProven(str(error)) from error
    if given is not None and given != key:
        raise NotProven(f"the file is of another log: {written}")
    return key


def _open(key: LogKey, note: str) -> Checkpoint:
    try:
        return key.open(note)
    except BadCheckpoint as error:
        raise NotProven(str(error)) from error
