"""Building trees of pages, over a callable: no I/O of its own.

A tree is a function of its entries and the vault's split key alone: built from nothing, or by carrying
over the leaves of a parent, it has the same pages. `docs/design/format.md`, "Where pages end".
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from itertools import islice
from operator import lt

from muniment.crypto.digests import ends_page, leaf_ends, page_id
from muniment.crypto.keys import VaultKeys
from muniment.format.branch import encode_extents, encode_interior, offset_key
from muniment.format.leaf_writing import LeafWriter, PlainEntries, is_large
from muniment.format.sizing import PAGE_FULL, ExtentSizer, InteriorSizer
from muniment.format.tables import MAX_LEVEL
from muniment.model.entry import Entry, Extent, PageRef, PageType
from muniment.model.ids import PageId
from muniment.model.packs import BlockAddress

StorePage = Callable[[PageType, bytes, PageId], BlockAddress]
"""Given a finished page, returns where it will lie; where it lies already, if the vault has this id."""


class _Spine:
    """The interior levels above a growing row of leaves."""

    def __init__(self, keys: VaultKeys, store_page: StorePage, page_type: PageType) -> None:
        self._keys = keys
        self._store = store_page
        self._type = page_type
        self._pending: list[list[PageRef]] = []
        self._sizers: list[InteriorSizer] = []

    def fork(self) -> _Spine:
        twin = _Spine(self._keys, self._store, self._type)
        twin._pending = [list(children) for children in self._pending]
        twin._sizers = [_resized(children) for children in self._pending]
        return twin

    def store(self, page_type: PageType, page: bytes, **described: int | bytes) -> PageRef:
        """Keep a finished page; `described` is what its reference says of it."""
        name = page_id(self._keys, page_type, page)
        return PageRef(self._store(page_type, page, name), name, page_type, **described)  # type: ignore[arg-type]

    def push(self, ref: PageRef) -> None:
        """Put a finished page under its parent, closing every parent that ends with it."""
        while True:
            level = ref.level + 1
            children, sizer = self._at(level)
            children.append(ref)
            size = sizer.add(ref)
            # At least two, so that keys as long as a page cannot make a tree without end.
            full = size >= PAGE_FULL and len(children) > 1
            if not full and not ends_page(self._keys, level, ref.last_key):
                return
            ref = self._close(level)

    def finish(self) -> PageRef | None:
        """The root; None where nothing was pushed."""
        level = 1
        while level <= len(self._pending):
            children = self._pending[level - 1]
            top = not any(self._pending[level:])
            if top and len(children) == 1:
                return children[0]
            if children:
                ref = self._close(level)
                above, sizer = self._at(level + 1)
                above.append(ref)
                sizer.add(ref)
            level += 1
        return None

    def _at(self, level: int) -> tuple[list[PageRef], InteriorSizer]:
        if level > MAX_LEVEL:
            raise ValueError("the tree is deeper than any reader takes")
        while len(self._pending) < level:
            self._pending.append([])
            self._sizers.append(InteriorSizer())
        return self._pending[level - 1], self._sizers[level - 1]

    def _close(self, level: int) -> PageRef:
        children = self._pending[level - 1]
        self._pending[level - 1] = []
        self._sizers[level - 1] = InteriorSizer()
        return self.store(
            self._type,
            encode_interior(children, page_type=self._type),
            level=level,
            last_key=children[-1].last_key,
            entries=sum(child.entries for child in children),
            content=sum(child.content for child in children),
        )


class TreeBuilder:
    """Builds a tree from entries in key order, or from whole leaves of a parent. Not for several threads."""

    def __init__(self, keys: VaultKeys, store_page: StorePage) -> None:
        self._keys = keys
        self._store_page = store_page
        self._spine = _Spine(keys, store_page, PageType.INTERIOR)
        self._leaf = LeafWriter()
        self._last_key = b""

    @property
    def at_boundary(self) -> bool:
        """Whether the last leaf has ended, so that a leaf of the parent may follow as it is."""
        return not self._leaf.count

    def takes_leaf_ref(self, ref: PageRef) -> bool:
        """Whether `ref`, whose entries are unchanged, may be carried over here by reference.

        A leaf that ended because the parent's tree did, or because it was full, ends elsewhere in another
        tree: its entries are added one by one.
        """
        return not self._leaf.count and ref.level == 0 and ends_page(self._keys, 0, ref.last_key)

    def add(self, entry: Entry) -> None:
        """The next entry. ValueError when keys do not grow or the entry is too large (`fits_page`)."""
        key = entry.key
        if key <= self._last_key:
            raise ValueError(f"{entry.path!r} comes out of order")
        if self._leaf.count and is_large(entry):
            self._close_leaf()
        self._leaf.add(entry)
        self._last_key = key
        if self._leaf.bound >= PAGE_FULL or ends_page(self._keys, 0, key):
            self._close_leaf()

    def add_plain(self, plain: PlainEntries) -> None:
        """The next entries, as columns: the same tree as if each were added by itself."""
        prefix, names = plain.directory + b"\0", plain.names
        in_order = all(map(lt, names, islice(names, 1, None)))
        if not in_order or prefix + names[0] <= self._last_key:
            raise ValueError(f"entries of {plain.directory!r} come out of order")
        if plain.may_be_large:
            for entry in plain.entries():
                self.add(entry)
            return
        start = 0
        for end in leaf_ends(self._keys, prefix, names):
            self._fill(plain, start, end + 1)
            if self._leaf.count:
                self._close_leaf()
            start = end + 1
        if start < len(names):
            self._fill(plain, start, len(names))

    def _fill(self, plain: PlainEntries, start: int, stop: int) -> None:
        """Add entries of which none but the last ends a leaf by its key; a leaf also ends when it is full."""
        if self._leaf.bound + plain.growth(start, stop) < PAGE_FULL:
            self._leaf.add_plain(plain, start, stop)
            self._last_key = plain.key(stop - 1)
            return
        for place in range(start, stop):
            self._leaf.add_plain(plain, place, place + 1)
            self._last_key = plain.key(place)
            if self._leaf.bound >= PAGE_FULL:
                self._close_leaf()

    def add_leaf_ref(self, ref: PageRef) -> None:
        """A leaf of the parent whose entries are unchanged; ValueError unless `takes_leaf_ref`."""
        if not self.takes_leaf_ref(ref) or ref.last_key <= self._last_key:
            raise ValueError("this leaf cannot be carried over here")
        self._last_key = ref.last_key
        self._spine.push(ref)

    def add_followed_leaf_ref(self, ref: PageRef) -> None:
        """A leaf of the parent, unchanged and followed by the very entry, or end, that follows it there.

        It ends here as it ends there, whatever made it end. ValueError unless `at_boundary`.
        """
        if self._leaf.count or ref.level or ref.last_key <= self._last_key:
            raise ValueError("this leaf cannot be carried over here")
        self._last_key = ref.last_key
        self._spine.push(ref)

    def fork(self) -> TreeBuilder:
        """A copy of the pending state: both go on independently from here."""
        twin = TreeBuilder(self._keys, self._store_page)
        twin._spine = self._spine.fork()
        twin._last_key = self._last_key
        twin._leaf = copy.deepcopy(self._leaf)
        return twin

    def finish(self) -> PageRef | None:
        """The root of the tree; None for an empty one."""
        if self._leaf.count:
            self._close_leaf()
        return self._spine.finish()

    def _close_leaf(self) -> None:
        leaf, self._leaf = self._leaf, LeafWriter()
        ref = self._spine.store(
            PageType.LEAF,
            leaf.page(),
            level=0,
            last_key=self._last_key,
            entries=leaf.count,
            content=leaf.content,
        )
        self._spine.push(ref)


class ExtentTreeBuilder:
    """Builds the tree of a file's extents, added in file order without gaps (a hole is an extent)."""

    def __init__(self, keys: VaultKeys, store_page: StorePage) -> None:
        self._keys = keys
        self._spine = _Spine(keys, store_page, PageType.EXTENT_INTERIOR)
        self._pending: list[tuple[int, Extent]] = []
        self._sizer = ExtentSizer()
        self._offset = 0

    def add(self, extent: Extent) -> None:
        key = offset_key(self._offset)
        self._pending.append((self._offset, extent))
        self._offset += extent.length
        if self._sizer.add(extent) >= PAGE_FULL or ends_page(self._keys, 0, key):
            self._close_leaf()

    def finish(self) -> PageRef:
        if self._pending:
            self._close_leaf()
        root = self._spine.finish()
        if root is None:
            raise ValueError("a file without extents has no tree of them")
        return root

    def _close_leaf(self) -> None:
        self._spine.push(_store_extents(self._spine, self._pending))
        self._pending, self._sizer = [], ExtentSizer()


def build_extent_tree(keys: VaultKeys, store_page: StorePage, extents: Iterable[Extent]) -> PageRef:
    """The tree of extents that are all at hand."""
    builder = ExtentTreeBuilder(keys, store_page)
    for extent in extents:
        builder.add(extent)
    return builder.finish()


def _store_extents(spine: _Spine, extents: list[tuple[int, Extent]]) -> PageRef:
    return spine.store(
        PageType.EXTENT_LEAF,
        encode_extents(extents),
        level=0,
        last_key=offset_key(extents[-1][0]),
        entries=len(extents),
        content=sum(extent.length for _, extent in extents),
    )


def _resized(children: list[PageRef]) -> InteriorSizer:
    sizer = InteriorSizer()
    for child in children:
        sizer.add(child)
    return sizer
