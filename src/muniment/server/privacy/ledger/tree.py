"""The tree in the database: grown by one leaf at a time, proven from the complete subtrees it keeps.

What runs beside what:

| Operation | Beside | Safe because |
|-|-|-|
| append | append | the row of `Head` is locked until the transaction ends (SQLite: there is one writer) |
| append | prove | subtrees never change once written, and a proof is about a size that was committed |

Plain SQL, for an append stands in the way of whatever it records: it is five statements, none of which
grows with the tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from django.conf import settings
from django.db import connection

from muniment.server.privacy.ledger.checkpoints import LogKey, LogSigner
from muniment.server.privacy.ledger.leaves import Leaf
from muniment.server.privacy.ledger.merkle import (
    HASH_SIZE,
    Frontier,
    Subtree,
    consistency_spans,
    inclusion_spans,
    prove,
)
from muniment.server.privacy.ledger.signer import signer_in

_THE_HEAD = 1
_PROVEN_AT_ONCE = 400
"""Of a tree of any size that is fewer subtrees than a statement of SQLite takes parameters (32766)."""


class NotInTree(Exception):
    """The tree is not so large."""

    def __init__(self, *, size: int) -> None:
        super().__init__(f"the ledger has {size} entries")
        self.size = size


@dataclass(frozen=True, slots=True)
class StoredHead:
    frontier: Frontier = Frontier()  # noqa: RUF009, frozen
    note: str = ""
    """The signed checkpoint; empty while nothing was recorded."""
    hour: str = ""
    """Of the last leaf."""


def signer() -> LogSigner:
    """The ledger's key, made when first asked for."""
    return signer_in(settings.LEDGER_KEY_FILE, region=settings.REGION)


def public_key() -> LogKey:
    return signer().key


def read_head() -> StoredHead:
    """The tree as last committed."""
    return _head() or StoredHead()


def append_leaf(leaf: Leaf) -> int:
    """Append, sign the tree that this makes, and return the leaf's index. Only inside a transaction."""
    head = _lock_head()
    leaf_hash = leaf.hash()
    index = head.frontier.size
    grown, made = head.frontier.append(leaf_hash)
    note = signer().sign(size=grown.size, root=grown.root)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO privacy_ledger_leafrow (number, kind, clause, hour, commitment, hash)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            [index, leaf.kind, leaf.clause, leaf.hour, leaf.commitment, leaf_hash],
        )
        if made:
            cursor.executemany(
                "INSERT INTO privacy_ledger_node (place, hash) VALUES (%s, %s)",
                [(place_of(subtree), node) for subtree, node in made],
            )
        _keep_checkpoint(head, hour=leaf.hour)
        cursor.execute(
            "UPDATE privacy_ledger_head SET size = %s, frontier = %s, note = %s, hour = %s WHERE id = %s",
            [grown.size, b"".join(grown.hashes), note, leaf.hour, _THE_HEAD],
        )
    return index


def root_of(size: int) -> bytes | None:
    """The root of the first `size` leaves, by the subtrees that are stored; None where some are missing."""
    try:
        return prove([(0, size)], fetch_subtrees)[0]
    except KeyError:
        return None


def prove_inclusion(index: int, *, size: int) -> list[bytes]:
    """The audit path of a leaf in the tree of `size` leaves. Raises NotInTree."""
    return prove_inclusions([index], size=size)[0]


def prove_inclusions(indexes: Sequence[int], *, size: int) -> list[list[bytes]]:
    """The audit path of each of these leaves, in their order. Raises NotInTree.

    Paths share most of their subtrees, which are fetched for many leaves at once.
    """
    _check_size(size)
    if not all(0 <= index < size for index in indexes):
        raise NotInTree(size=size)
    starts = range(0, len(indexes), _PROVEN_AT_ONCE)
    return [path for at in starts for path in _paths(indexes[at : at + _PROVEN_AT_ONCE], size=size)]


def _paths(indexes: Sequence[int], *, size: int) -> list[list[bytes]]:
    spans = [inclusion_spans(index, size) for index in indexes]
    hashes = iter(prove([span for path in spans for span in path], fetch_subtrees))
    return [list(islice(hashes, len(path))) for path in spans]


def prove_consistency(old: int, new: int) -> list[bytes]:
    """Raises NotInTree."""
    _check_size(new)
    if not 0 < old <= new:
        raise NotInTree(size=new)
    return prove(consistency_spans(old, new), fetch_subtrees)


def place_of(subtree: Subtree) -> int:
    """Its number when a tree of any size is numbered in order: leaves are even, parents lie between."""
    level, position = subtree
    return ((2 * position + 1) << level) - 1


def fetch_subtrees(wanted: set[Subtree]) -> dict[Subtree, bytes]:
    """The hashes of complete subtrees."""
    leaves = {position: (level, position) for level, position in wanted if level == 0}
    nodes = {place_of(subtree): subtree for subtree in wanted if subtree[0] > 0}
    return {
        **_fetch("SELECT number, hash FROM privacy_ledger_leafrow WHERE number IN", leaves),
        **_fetch("SELECT place, hash FROM privacy_ledger_node WHERE place IN", nodes),
    }


def _fetch(query: str, wanted: dict[int, Subtree]) -> dict[Subtree, bytes]:
    if not wanted:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(f"{query} ({', '.join(['%s'] * len(wanted))})", list(wanted))
        return {wanted[place]: bytes(found) for place, found in cursor.fetchall()}


def _check_size(size: int) -> None:
    recorded = read_head().frontier.size
    if size > recorded:
        raise NotInTree(size=recorded)


def _lock_head() -> StoredHead:
    lock = " FOR UPDATE" if connection.features.has_select_for_update else ""
    head = _head(lock)
    if head is None:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO privacy_ledger_head (id, size, frontier, note, hour) VALUES (%s, 0, %s, '', '')"
                " ON CONFLICT DO NOTHING",
                [_THE_HEAD, b""],
            )
        head = _head(lock)
    assert head is not None
    return head


def _head(lock: str = "") -> StoredHead | None:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT size, frontier, note, hour FROM privacy_ledger_head WHERE id = %s{lock}", [_THE_HEAD]
        )
        row = cursor.fetchone()
    return None if row is None else StoredHead(frontier_of(row[0], bytes(row[1])), row[2], row[3])


def frontier_of(size: int, joined: bytes) -> Frontier:
    """ValueError where the bytes are no frontier of a tree of that size."""
    hashes = tuple(joined[at : at + HASH_SIZE] for at in range(0, len(joined), HASH_SIZE))
    return Frontier(size, hashes)


def _keep_checkpoint(head: StoredHead, *, hour: str) -> None:
    """An hour's last checkpoint is kept for good: it is the one that outsiders are likeliest to hold."""
    if not head.note or head.hour == hour:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO privacy_ledger_checkpointrow (size, hour, note) VALUES (%s, %s, %s)",
            [head.frontier.size, head.hour, head.note],
        )
