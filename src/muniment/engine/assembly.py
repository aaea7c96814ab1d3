"""Puts entries together into the new tree, in order, as their content becomes known."""

from __future__ import annotations

from collections.abc import Iterator

from muniment.crypto.keys import VaultKeys
from muniment.engine.merge import Span, WholeLeaf
from muniment.engine.pages import PageStore
from muniment.engine.ports import SourceDisk
from muniment.engine.reading import Draft
from muniment.format.page import MAX_INLINE_EXTENTS
from muniment.format.tree import TreeBuilder, TreeReader, build_extent_tree
from muniment.model.entry import Entry, PageRef


class Assembly:
    """The new tree, up to `last_key`."""

    def __init__(
        self,
        keys: VaultKeys,
        pages: PageStore,
        reader: TreeReader,
        *,
        disk: SourceDisk,
        parent: PageRef | None,
    ) -> None:
        self._keys = keys
        self._disk = disk
        self._pages = pages
        self._reader = reader
        self._parent = parent
        self._builder = TreeBuilder(keys, pages.store)
        self.last_key = b""

    def add_entry(self, entry: Entry) -> None:
        if entry.extent_tree is not None:
            self._pages.meet_extent_tree()
        self._builder.add(entry)
        self.last_key = entry.key

    def add_draft(self, draft: Draft) -> Entry:
        """Waits for the draft's content."""
        owner = self._disk.owner(draft.found.uid, draft.found.gid)
        extents = draft.content.extents()
        if len(extents) > MAX_INLINE_EXTENTS:
            tree = build_extent_tree(self._keys, self._pages.store, extents)
            entry = draft.entry(owner, extent_tree=tree)
        else:
            entry = draft.entry(owner, extents=extents)
        self.add_entry(entry)
        return entry

    def add_span(self, span: Span) -> None:
        for entry in span.entries():
            self.add_entry(entry)

    def add_leaf(self, whole: WholeLeaf) -> None:
        """By reference where the new tree has a page boundary here, too; else entry by entry."""
        if self._builder.takes_leaf_ref(whole.ref):
            self._builder.add_leaf_ref(whole.ref)
        else:
            for entry in whole.leaf.entries():
                self.add_entry(entry)
        self.last_key = whole.ref.last_key

    def finish(self) -> PageRef | None:
        return self._builder.finish()

    def finish_partial(self) -> PageRef | None:
        """The root of the tree up to here, then the parent's rest; the assembly itself goes on."""
        twin = self._builder.fork()
        if self._parent is not None:
            for ref, lower in self._rest(self._parent, b""):
                if lower >= self.last_key and twin.takes_leaf_ref(ref):
                    twin.add_leaf_ref(ref)
                    continue
                for entry in self._reader.load_leaf(ref, after=lower).entries():
                    if entry.key > self.last_key:
                        if entry.extent_tree is not None:
                            self._pages.meet_extent_tree()
                        twin.add(entry)
        return twin.finish()

    def _rest(self, ref: PageRef, lower: bytes) -> Iterator[tuple[PageRef, bytes]]:
        """Leaves of the parent with keys beyond `last_key`, and the greatest key before each."""
        if ref.last_key <= self.last_key:
            return
        if ref.level == 0:
            yield ref, lower
            return
        for child in self._reader.children(ref, after=lower).children:
            yield from self._rest(child, lower)
            lower = child.last_key
