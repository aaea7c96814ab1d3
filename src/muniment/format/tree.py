"""Building and reading trees of pages, over callables: no I/O of its own.

A tree is a function of its entries and the vault's split key alone: built from nothing, or by carrying
over the leaves of a parent, it has the same pages. `docs/design/format.md`, "Where pages end".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from muniment.crypto.digests import ends_page, page_id
from muniment.crypto.keys import VaultKeys
from muniment.format.branch import (
    ExtentPage,
    InteriorPage,
    decode_extents,
    decode_interior,
    encode_extents,
    encode_interior,
    offset_key,
)
from muniment.format.leaf import LeafPage, decode_leaf, encode_leaf
from muniment.format.sizing import (
    LARGE_ENTRY,
    PAGE_FULL,
    ExtentSizer,
    InteriorSizer,
    LeafSizer,
    estimate_entry_size,
    loose_growth,
)
from muniment.format.tables import MAX_KEY, MAX_LEVEL
from muniment.model.entry import Entry, Extent, PageRef, PageType, child_directory
from muniment.model.errors import DamagedObject
from muniment.model.ids import PackId, PageId
from muniment.model.packs import BlockAddress

StorePage = Callable[[PageType, bytes, PageId], BlockAddress]
"""Given a finished page, returns where it will lie; where it lies already, if the vault has this id."""

LoadPage = Callable[[PageRef], bytes]
"""Returns the bytes a reference points to. They need not be verified: the reader does."""


_AFTER_ALL = b"\xff" * (MAX_KEY + 1)


class PackMemo(Protocol):
    """The part of the engine's page cache that remembers reference sets."""

    def packs_of(self, page: PageId) -> frozenset[PackId] | None: ...

    def note_packs(self, page: PageId, packs: frozenset[PackId]) -> None: ...


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
        self._entries: list[Entry] = []
        self._loose = 0
        self._sizer = LeafSizer()
        self._sized = 0
        self._last_key = b""

    @property
    def at_boundary(self) -> bool:
        """Whether the last leaf has ended, so that a leaf of the parent may follow as it is."""
        return not self._entries

    def takes_leaf_ref(self, ref: PageRef) -> bool:
        """Whether `ref`, whose entries are unchanged, may be carried over here by reference.

        A leaf that ended because the parent's tree did, or because it was full, ends elsewhere in another
        tree: its entries are added one by one.
        """
        return not self._entries and ref.level == 0 and ends_page(self._keys, 0, ref.last_key)

    def add(self, entry: Entry) -> None:
        """The next entry. ValueError when keys do not grow or the entry is too large (`fits_page`)."""
        key = entry.key
        if key <= self._last_key:
            raise ValueError(f"{entry.path!r} comes out of order")
        loose = loose_growth(entry)
        if loose >= LARGE_ENTRY and self._entries and estimate_entry_size(entry) >= LARGE_ENTRY:
            self._close_leaf()
        self._entries.append(entry)
        self._last_key = key
        self._loose += loose
        if ends_page(self._keys, 0, key) or (self._loose >= PAGE_FULL and self._is_full()):
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
        if self._entries or ref.level or ref.last_key <= self._last_key:
            raise ValueError("this leaf cannot be carried over here")
        self._last_key = ref.last_key
        self._spine.push(ref)

    def fork(self) -> TreeBuilder:
        """A copy of the pending state: both go on independently from here."""
        twin = TreeBuilder(self._keys, self._store_page)
        twin._spine = self._spine.fork()
        twin._last_key = self._last_key
        twin._entries = list(self._entries)
        twin._loose = self._loose
        return twin

    def finish(self) -> PageRef | None:
        """The root of the tree; None for an empty one."""
        if self._entries:
            self._close_leaf()
        return self._spine.finish()

    def _is_full(self) -> bool:
        """By the exact bound, taken only of leaves that the loose one cannot rule out: few reach it."""
        for entry in self._entries[self._sized :]:
            self._sizer.add(entry)
        self._sized = len(self._entries)
        return self._sizer.size >= PAGE_FULL

    def _close_leaf(self) -> None:
        entries, self._entries = self._entries, []
        self._sizer, self._sized, self._loose = LeafSizer(), 0, 0
        ref = self._spine.store(
            PageType.LEAF,
            encode_leaf(entries),
            level=0,
            last_key=entries[-1].key,
            entries=len(entries),
            content=sum(entry.size for entry in entries if entry.is_file),
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


class TreeReader:
    """Reads trees, verifying every page against its reference before it is parsed and after."""

    def __init__(self, keys: VaultKeys, load_page: LoadPage) -> None:
        self._keys = keys
        self._load_page = load_page

    def leaves(
        self, root: PageRef | None, *, start_key: bytes = b"", end_key: bytes | None = None
    ) -> Iterator[tuple[PageRef, LeafPage]]:
        """The leaves that may hold keys in [start_key, end_key), in order, with their references."""
        for ref, lower in self._leaf_refs(root, b"", start_key, end_key):
            yield ref, self.load_leaf(ref, after=lower)

    def load_leaf(self, ref: PageRef, *, after: bytes = b"") -> LeafPage:
        """One leaf, verified; all its keys are greater than `after`."""
        leaf = decode_leaf(self._load(ref, PageType.LEAF))
        described = (leaf.last_key, leaf.count, leaf.content)
        if described != (ref.last_key, ref.entries, ref.content) or leaf.first_key <= after:
            raise _damaged(ref, "it is not what its reference describes")
        return leaf

    def entries(self, root: PageRef | None, under: tuple[bytes, bytes] | None = None) -> Iterator[Entry]:
        """All entries in key order, or, with `under` = (directory, name), that entry and all below it."""
        if under is None or under == (b"", b""):
            for _, leaf in self.leaves(root):
                yield from leaf.entries()
            return
        directory, name = under
        entry = self.find(root, directory, name)
        if entry is not None:
            yield entry
        yield from self._range(root, *subtree_range(child_directory(directory, name)))

    def find(self, root: PageRef | None, directory: bytes, name: bytes) -> Entry | None:
        key = directory + b"\0" + name
        return next(iter(self._range(root, key, key + b"\0")), None)

    def totals(self, root: PageRef | None, directory: bytes) -> tuple[int, int]:
        """(entries, bytes of files) of everything below a directory, whose key this is (b"": the root)."""
        start, end = subtree_range(directory)
        return (0, 0) if root is None else self._totals(root, b"", start, end)

    def extents(self, entry: Entry) -> Iterator[Extent]:
        """The content of a file in file order, from its entry or its extent tree."""
        if entry.extent_tree is None:
            yield from entry.extents
            return
        end = 0
        for offset, extent in self._extent_rows(entry.extent_tree):
            if offset != end:
                raise _damaged(entry.extent_tree, "its extents leave a gap or overlap")
            end += extent.length
            if end > entry.size:
                break
            yield extent
        if end != entry.size:
            raise _damaged(entry.extent_tree, "its extents do not add up to the file's size")

    def reachable_packs(self, root: PageRef | None, memo: PackMemo) -> frozenset[PackId]:
        """The reference set of a tree: every pack that it needs, its own pages' packs among them."""
        if root is None:
            return frozenset()
        return self._packs_under(root, memo) | {root.block.pack_id}

    def children(self, ref: PageRef, *, after: bytes = b"") -> InteriorPage:
        """One interior page, verified; all keys under it are greater than `after`."""
        page = decode_interior(self._load(ref, ref.page_type), page_type=ref.page_type)
        children = page.children
        if (
            page.level != ref.level
            or children[-1].last_key != ref.last_key
            or children[0].last_key <= after
            or sum(child.entries for child in children) != ref.entries
            or sum(child.content for child in children) != ref.content
        ):
            raise _damaged(ref, "it is not what its reference describes")
        return page

    def _load(self, ref: PageRef, expected: PageType) -> bytes:
        if ref.page_type is not expected or ref.level > MAX_LEVEL:
            raise _damaged(ref, "it is of another type than its place demands")
        content = self._load_page(ref)
        if page_id(self._keys, expected, content) != ref.page_id:
            raise _damaged(ref, "its bytes have another id")
        return content

    def _leaf_refs(
        self, ref: PageRef | None, lower: bytes, start: bytes, end: bytes | None
    ) -> Iterator[tuple[PageRef, bytes]]:
        if ref is None or ref.last_key < start or (end is not None and lower >= end):
            return
        if ref.level == 0:
            yield ref, lower
            return
        for child in self.children(ref, after=lower).children:
            yield from self._leaf_refs(child, lower, start, end)
            lower = child.last_key

    def _range(self, root: PageRef | None, start: bytes, end: bytes) -> Iterator[Entry]:
        for _, leaf in self.leaves(root, start_key=start, end_key=end):
            for run in leaf.runs:
                prefix = run.directory + b"\0"
                for place, name in enumerate(run.names):
                    if start <= prefix + name < end:
                        yield leaf.entry(run, place)

    def _totals(self, ref: PageRef, lower: bytes, start: bytes, end: bytes) -> tuple[int, int]:
        if ref.last_key < start or lower >= end:
            return 0, 0
        if lower >= start and ref.last_key < end:
            return ref.entries, ref.content
        if ref.level == 0:
            return self._leaf_totals(self.load_leaf(ref, after=lower), start, end)
        entries = content = 0
        for child in self.children(ref, after=lower).children:
            more = self._totals(child, lower, start, end)
            entries, content = entries + more[0], content + more[1]
            lower = child.last_key
        return entries, content

    def _leaf_totals(self, leaf: LeafPage, start: bytes, end: bytes) -> tuple[int, int]:
        held = [
            leaf.entry(run, place)
            for run in leaf.runs
            for place, name in enumerate(run.names)
            if start <= run.directory + b"\0" + name < end
        ]
        return len(held), sum(entry.size for entry in held if entry.is_file)

    def _extent_rows(self, ref: PageRef) -> Iterator[tuple[int, Extent]]:
        if ref.level:
            for child in self.children(ref).children:
                yield from self._extent_rows(child)
            return
        page = self._load_extents(ref)
        yield from page.extents

    def _load_extents(self, ref: PageRef) -> ExtentPage:
        page = decode_extents(self._load(ref, PageType.EXTENT_LEAF))
        held = sum(extent.length for _, extent in page.extents)
        described = (offset_key(page.extents[-1][0]), len(page.extents), held)
        if described != (ref.last_key, ref.entries, ref.content):
            raise _damaged(ref, "it is not what its reference describes")
        return page

    def _packs_under(self, ref: PageRef, memo: PackMemo) -> frozenset[PackId]:
        known = memo.packs_of(ref.page_id)
        if known is not None:
            return known
        packs: set[PackId] = set()
        if ref.level:
            page = self.children(ref)
            packs |= page.packs
            for child in page.children:
                packs |= self._packs_under(child, memo)
        elif ref.page_type is PageType.LEAF:
            leaf = self.load_leaf(ref)
            packs |= leaf.packs
            for tree in leaf.extent_trees():
                packs |= self._packs_under(tree, memo)
        else:
            packs |= self._load_extents(ref).packs
        result = frozenset(packs)
        memo.note_packs(ref.page_id, result)
        return result


def subtree_range(directory: bytes) -> tuple[bytes, bytes]:
    """[start, end) of the keys of everything below a directory, whose key this is."""
    return (directory, directory[:-1] + b"\x01") if directory else (b"", _AFTER_ALL)


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


def _damaged(ref: PageRef, why: str) -> DamagedObject:
    return DamagedObject(f"page {ref.page_id}", why=why)
