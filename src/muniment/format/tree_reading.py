"""Reading trees of pages, over a callable: no I/O of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Protocol

from muniment.crypto.digests import page_id
from muniment.crypto.keys import VaultKeys
from muniment.format.branch import ExtentPage, InteriorPage, decode_extents, decode_interior, offset_key
from muniment.format.leaf_reading import LeafPage, decode_leaf
from muniment.format.tables import MAX_KEY, MAX_LEVEL
from muniment.model.entry import Entry, Extent, PageRef, PageType, child_directory
from muniment.model.errors import DamagedObject
from muniment.model.ids import PackId, PageId

LoadPage = Callable[[PageRef], bytes]
"""Returns the bytes a reference points to. They need not be verified: the reader does."""

_AFTER_ALL = b"\xff" * (MAX_KEY + 1)


class PackMemo(Protocol):
    """The part of the engine's page cache that remembers reference sets."""

    def packs_of(self, page: PageId) -> frozenset[PackId] | None: ...

    def note_packs(self, page: PageId, packs: frozenset[PackId]) -> None: ...


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

    def reachable_packs(
        self, root: PageRef | None, memo: PackMemo, *, lost: Collection[PackId] = ()
    ) -> frozenset[PackId]:
        """The reference set of a tree: every pack that it needs, its own pages' packs among them.

        A page in a pack of `lost` that cannot be read is passed over, and with it what is under it.
        """
        if root is None:
            return frozenset()
        return self._packs_under(root, memo, lost) | {root.block.pack_id}

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

    def _packs_under(self, ref: PageRef, memo: PackMemo, lost: Collection[PackId]) -> frozenset[PackId]:
        known = memo.packs_of(ref.page_id)
        if known is not None:
            return known
        try:
            named, below = self._named_by(ref)
        except DamagedObject:
            if ref.block.pack_id not in lost:
                raise
            return frozenset()
        packs = set(named)
        for page in below:
            packs |= self._packs_under(page, memo, lost)
        result = frozenset(packs)
        memo.note_packs(ref.page_id, result)
        return result

    def _named_by(self, ref: PageRef) -> tuple[Iterable[PackId], Iterable[PageRef]]:
        """The packs that one page names, and the pages directly under it."""
        if ref.level:
            page = self.children(ref)
            return page.packs, page.children
        if ref.page_type is PageType.LEAF:
            leaf = self.load_leaf(ref)
            return leaf.packs, leaf.extent_trees()
        return self._load_extents(ref).packs, ()


def subtree_range(directory: bytes) -> tuple[bytes, bytes]:
    """[start, end) of the keys of everything below a directory, whose key this is."""
    return (directory, directory[:-1] + b"\x01") if directory else (b"", _AFTER_ALL)


def _damaged(ref: PageRef, why: str) -> DamagedObject:
    return DamagedObject(f"page {ref.page_id}", why=why)
