"""Reads the whole ledger in the database and says, row by row, what was altered since it was written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.db import models

from muniment.server.privacy.ledger.checkpoints import BadCheckpoint, Checkpoint
from muniment.server.privacy.ledger.entries import SUBJECT
from muniment.server.privacy.ledger.kept import FILE, KeptUnreadable, kept_checkpoint
from muniment.server.privacy.ledger.leaves import Leaf, commitment_to
from muniment.server.privacy.ledger.merkle import Frontier
from muniment.server.privacy.ledger.models import CheckpointRow, Head, LeafRow, Node, Opening
from muniment.server.privacy.ledger.tree import place_of, public_key

_AT_ONCE = 500


def altered(data: Path) -> Iterator[str]:
    """What does not fit, each named by table and row; nothing where the ledger is as it was written.

    Everything follows from the leaves: nodes are recomputed, the head and every kept checkpoint must be
    signed and tell the root that the leaves have, the one in the directory `data` too. Reads a million
    leaves in a few MiB of memory.
    """
    try:
        beside = kept_checkpoint(data)  # before the database: it only grows
    except KeptUnreadable as error:
        yield str(error)
        beside = None
    checkpoints = {row.size: row for row in CheckpointRow.objects.all()}
    frontier, hour, made = Frontier(), "", {}
    for row in LeafRow.objects.order_by("number").iterator(chunk_size=2000):
        if row.number != frontier.size:
            yield f"leaf {frontier.size} is missing; leaf {row.number} follows"
            return
        yield from _leaf(row)
        # The tree is grown from what the leaf says, so that a wrong hash beside it cannot vouch for it.
        frontier, nodes = frontier.append(_hash_of(row))
        made.update({place_of(subtree): node for subtree, node in nodes})
        hour = row.hour
        if len(made) >= _AT_ONCE:
            yield from _nodes(made)
            made.clear()
        if (kept := checkpoints.pop(frontier.size, None)) is not None:
            yield from _note(f"checkpoint {kept.size}", kept.note, frontier)
            if kept.hour != hour:
                yield f"checkpoint {kept.size}: the hour is not that of its last leaf"
        if beside is not None and beside.size == frontier.size:
            yield from _fits(FILE, beside, frontier)
    yield from _nodes(made)
    if Node.objects.count() != frontier.size - frontier.size.bit_count():
        yield "nodes: there are some that belong to no tree of these leaves"
    for size in checkpoints:
        yield f"checkpoint {size}: the ledger has only {frontier.size} leaves"
    if beside is not None and beside.size > frontier.size:
        yield f"{FILE}: {beside.size} leaves were signed, the ledger has only {frontier.size}"
    yield from _head(frontier, hour)
    yield from _openings()


def _hash_of(row: LeafRow) -> bytes:
    try:
        return _told(row).hash()
    except ValueError:
        return b""


def _told(row: LeafRow) -> Leaf:
    return Leaf(row.kind, row.clause, row.hour, bytes(row.commitment))


def _leaf(row: LeafRow) -> Iterator[str]:
    if _hash_of(row) != bytes(row.hash):
        yield f"leaf {row.number}: its hash is not that of what it says"


def _nodes(made: dict[int, bytes]) -> Iterator[str]:
    places = list(made)
    for start in range(0, len(places), _AT_ONCE):
        wanted = places[start : start + _AT_ONCE]
        stored = dict(Node.objects.filter(place__in=wanted).values_list("place", "hash"))
        for place in wanted:
            if bytes(stored.get(place, b"")) != made[place]:
                yield f"node {place}: it is not the hash of what is below it"


def _note(where: str, note: str, frontier: Frontier) -> Iterator[str]:
    try:
        signed = public_key().open(note)
    except BadCheckpoint as error:
        yield f"{where}: {error}"
        return
    yield from _fits(where, signed, frontier)


def _fits(where: str, signed: Checkpoint, frontier: Frontier) -> Iterator[str]:
    if (signed.size, signed.root) != (frontier.size, frontier.root):
        yield f"{where}: the leaves are not those that were signed"


def _head(frontier: Frontier, hour: str) -> Iterator[str]:
    heads = list(Head.objects.all())
    if not heads and not frontier.size:
        return
    if len(heads) != 1 or heads[0].pk != 1:
        yield "head: there is not exactly the one row"
        return
    head = heads[0]
    if (head.size, bytes(head.frontier), head.hour) != (frontier.size, b"".join(frontier.hashes), hour):
        yield "head: it does not fit the leaves"
    if frontier.size:
        yield from _note("head", head.note, frontier)


def _openings() -> Iterator[str]:
    for lost in Opening.objects.exclude(leaf_id__in=LeafRow.objects.values("number")):
        yield f"opening {lost.leaf_id}: there is no such leaf"
    rows: models.QuerySet[Opening] = Opening.objects.select_related("leaf", "subject").order_by("leaf_id")
    for row in rows.iterator(chunk_size=2000):
        if not _opens(row):
            yield f"opening {row.leaf_id}: it is not what the leaf committed to"


def _opens(row: Opening) -> bool:
    try:
        if commitment_to(row.payload, salt=bytes(row.salt)) != bytes(row.leaf.commitment):
            return False
    except ValueError:
        return False
    subject: Any = row.subject
    named = json.loads(row.payload).get(SUBJECT)
    return bool(named == (None if subject is None else subject.ref.hex))
