"""Puts entries together into the new tree, in order, as their content becomes known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from muniment.crypto.keys import VaultKeys
from muniment.engine.merge import Span, WholeLeaf
from muniment.engine.pages import PageStore
from muniment.engine.reading import Draft
from muniment.format.page import MAX_INLINE_EXTENTS
from muniment.format.tree import TreeBuilder, TreeReader, build_extent_tree
from muniment.model.entry import Entry, PageRef


class Assembly:
    """The new tree, up to `last_key`."""

    def __init__(
        self, keys: VaultKeys, pages: PageStore, reader: TreeReader, *, parent: PageRef | None
    ) -> None:
        self._keys = keys
        self._pages = pages
        self._reader = reader
        self._parent = parent
        self._builder = TreeBuilder(keys, pages.store)
        self.last_key = b""

    def add_entry(self, entry: Entry) -> None:
        self._builder.add(entry)
        self.last_key = entry.key

    def add_draft(self, draft: Draft) -> Entry:
        """Waits for the draft's content."""
        extents = draft.content.extents()
        large = tuple((name, value.extents()) for name, value in draft.large_xattrs)
        if len(extents) > MAX_INLINE_EXTENTS:
            tree = build_extent_tree(self._keys, self._pages.store, extents)
            entry = replace(draft.entry, extent_tree=tree, large_xattrs=large)
        else:
            entry = replace(draft.entry, extents=extents, large_xattrs=large)
        self.add_entry(entry)
        return entry

    def add_span(self, span: Span) -> None:
        for entry in span.entries():
            self._builder.add(entry)
        self.last_key = entry.key

    def add_leaf(self, whole: WholeLeaf) -> None:
        """By reference where the new tree has a page boundary here, too; else entry by entry."""
        if self._builder.takes_leaf_ref(whole.ref):
            self._builder.add_leaf_ref(whole.ref)
        else:
            for entry in whole.leaf.entries():
                self._builder.add(entry)
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
