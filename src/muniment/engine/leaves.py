"""Walks the leaves of a tree, ahead of their use, and goes on where some of them are damaged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from muniment.engine.blocks import BlockFetcher
from muniment.format.page import LeafPage
from muniment.format.tree import TreeReader
from muniment.model.entry import PageRef
from muniment.model.errors import IntegrityError
from muniment.model.ids import PackId, PageId

_AHEAD = 32
"""Leaves asked for before they are needed: some 200 KiB sealed."""


PagePlace = tuple[PageId, PackId, int]
"""What a page holds, and where: pack and ordinal there."""


def place_of(ref: PageRef) -> PagePlace:
    return ref.page_id, ref.block.pack_id, ref.block.ordinal


class Order(Enum):
    """Of keys."""

    FORWARD = "forward"
    BACKWARD = "backward"


@dataclass(frozen=True, slots=True)
class LostRange:
    """Entries that cannot be known: those with keys in (after, last]; about `entries` of them."""

    after: bytes
    last: bytes
    entries: int
    error: IntegrityError
    ref: PageRef
    """The page that is damaged."""


class TreeWalk:
    """A tree read page by page, with its pages fetched ahead."""

    def __init__(self, reader: TreeReader, fetcher: BlockFetcher) -> None:
        self._reader = reader
        self._fetcher = fetcher

    def leaves(
        self,
        root: PageRef | None,
        *,
        start: bytes = b"",
        end: bytes | None = None,
        order: Order = Order.FORWARD,
        seen: set[PagePlace] | None = None,
    ) -> Iterator[LeafPage | LostRange]:
        """The leaves that may hold keys in [start, end). Never raises IntegrityError: it is told in place.

        With `seen`, pages in it are left out, and all that are read go into it. By their places: a page that
        lies in two packs may be whole in one of them only.
        """
        if root is not None:
            yield from self._under(root, b"", start, end, order, seen)

    def _under(
        self,
        ref: PageRef,
        after: bytes,
        start: bytes,
        end: bytes | None,
        order: Order,
        seen: set[PagePlace] | None,
    ) -> Iterator[LeafPage | LostRange]:
        if seen is not None:
            place = place_of(ref)
            if place in seen:
                return
            seen.add(place)
        if ref.level == 0:
            yield self._leaf(ref, after)
            return
        try:
            page = self._reader.children(ref, after=after)
        except IntegrityError as error:
            yield LostRange(after, ref.last_key, ref.entries, error, ref)
            return
        children = []
        for child in page.children:
            if child.last_key >= start and (end is None or after < end):
                children.append((child, after))
            after = child.last_key
        if order is Order.BACKWARD:
            children.reverse()
        for number, (child, lower) in enumerate(children):
            if number % _AHEAD == 0:
                # Half a window early: the next is on its way while this one is used.
                ahead = [ref for ref, _ in children[number : number + 2 * _AHEAD]]
                self._fetcher.prefetch_pages(
                    ahead if seen is None else [ref for ref in ahead if place_of(ref) not in seen]
                )
            yield from self._under(child, lower, start, end, order, seen)

    def _leaf(self, ref: PageRef, after: bytes) -> LeafPage | LostRange:
        try:
            return self._reader.load_leaf(ref, after=after)
        except IntegrityError as error:
            return LostRange(after, ref.last_key, ref.entries, error, ref)
