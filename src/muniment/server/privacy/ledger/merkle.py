"""The Merkle tree of RFC 9162, section 2.1, over SHA-256. Pure: where hashes are kept is the caller's matter.

A *complete subtree* `(level, position)` spans the leaves `position << level` up to, not including,
`(position + 1) << level`; at level 0 it is a leaf. Its hash never changes once its last leaf is there, so a
store of them answers every proof about every size the tree ever had. The *frontier* of a tree is the hashes
of the complete subtrees that cover it, widest first: one for each bit set in its size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

HASH_SIZE = 32
EMPTY_ROOT = sha256(b"").digest()

Subtree = tuple[int, int]
Span = tuple[int, int]
"""Leaves from the first number up to, not including, the second."""


def leaf_hash(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """A tree as far as growing it needs: how many leaves, and the hashes that cover them, widest first."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.hashes) != self.size.bit_count():
            raise ValueError("the frontier does not fit the size")

    def append(self, leaf: bytes) -> tuple[Frontier, list[tuple[Subtree, bytes]]]:
        """The tree with one more leaf (its hash), and the complete subtrees above level 0 that this made."""
        hashes, made, level, carried = list(self.hashes), [], 0, leaf
        position = self.size
        while position & 1:
            carried = node_hash(hashes.pop(), carried)
            level, position = level + 1, position >> 1
            made.append(((level, position), carried))
        hashes.append(carried)
        return Frontier(self.size + 1, tuple(hashes)), made

    @property
    def root(self) -> bytes:
        return fold(self.hashes)


class Growing:
    """A tree that reads many leaves and keeps only its frontier. `hashes` is what a Frontier has."""

    def __init__(self) -> None:
        self.size = 0
        self.hashes: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        """Add the hash of the next leaf."""
        hashes, position = self.hashes, self.size
        while position & 1:
            # As node_hash, without the call: a verifier is here a million times.
            leaf = sha256(b"\x01" + hashes.pop() + leaf).digest()
            position >>= 1
        hashes.append(leaf)
        self.size += 1

    @property
    def root(self) -> bytes:
        return fold(self.hashes)


def fold(hashes: Sequence[bytes]) -> bytes:
    """The hash of a range from those of the complete subtrees that cover it, left to right."""
    if not hashes:
        return EMPTY_ROOT
    folded = hashes[-1]
    for left in reversed(hashes[:-1]):
        folded = node_hash(left, folded)
    return folded


def subtrees_of(span: Span) -> list[Subtree]:
    """The complete subtrees that cover a span, left to right. Only for spans that occur in a tree."""
    start, end = span
    covering = []
    while start < end:
        level = (end - start).bit_length() - 1
        covering.append((level, start >> level))
        start += 1 << level
    return covering


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_spans(index: int, size: int) -> list[Span]:
    """Whose hashes prove that leaf `index` is in the tree of `size` leaves: RFC 9162, 2.1.3.1."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} has no leaf {index}")
    start, end, spans = 0, size, []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((start, middle))
            start = middle
    return spans[::-1]


def consistency_spans(old: int, new: int) -> list[Span]:
    """Whose hashes prove that the tree of `new` leaves continues that of `old`: RFC 9162, 2.1.4.1."""
    if not 0 < old <= new:
        raise ValueError(f"no proof leads from {old} leaves to {new}")
    start, end, spans, whole = 0, new, [], True
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((start, middle))
            start, whole = middle, False
    if not whole:
        spans.append((start, end))
    return spans[::-1]


def prove(spans: Iterable[Span], fetch: Callable[[set[Subtree]], Mapping[Subtree, bytes]]) -> list[bytes]:
    """The hashes of the spans; `fetch` is asked once for all complete subtrees that they need."""
    covers = [subtrees_of(span) for span in spans]
    known = fetch({subtree for cover in covers for subtree in cover})
    return [fold([known[subtree] for subtree in cover]) for cover in covers]


def includes(root: bytes, *, size: int, index: int, leaf: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the proof leads from the leaf's hash to the root: RFC 9162, 2.1.3.2."""
    if not 0 <= index < size:
        return False
    position, last, reached = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            reached = node_hash(sibling, reached)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            reached = node_hash(reached, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and reached == root


def continues(new_root: bytes, *, new: int, old_root: bytes, old: int, proof: Sequence[bytes]) -> bool:
    """Whether the new tree begins with exactly the leaves of the old one: RFC 9162, 2.1.4.2."""
    if old == new:
        return not proof and old_root == new_root
    if not 0 < old < new:
        return False
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not path:
        return False
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    first = second = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and first == old_root and second == new_root
