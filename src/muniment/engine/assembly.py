"""Puts entries together into the new tree, in order, as their content becomes known."""

from __future__ import annotations

from collections.abc import Iterator

from muniment.crypto.keys import VaultKeys
from muniment.engine.drafts import Draft, Gathered
from muniment.engine.merge import Span, WholeLeaf
from muniment.engine.pages import PageStore
from muniment.engine.ports import SourceDisk
from muniment.format.tree import ExtentTreeBuilder, TreeBuilder, TreeReader
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
        self._held: WholeLeaf | None = None
        """An unchanged leaf that did not end by its last key: what follows decides whether it may stay."""
        self.last_key = b""

    def add_entry(self, entry: Entry) -> None:
        if self._held is not None:
            self._release(None)
        self._add(self._builder, entry)
        self.last_key = entry.key

    def new_extent_tree(self) -> ExtentTreeBuilder:
        return ExtentTreeBuilder(self._keys, self._pages.store)

    def add_draft(self, draft: Draft) -> Entry:
        """Waits for the draft's content."""
        entry = draft.entry(self._disk.owner(draft.found.uid, draft.found.gid), self.new_extent_tree)
        self.add_entry(entry)
        return entry

    def add_gathered(self, gathered: Gathered) -> None:
        """Waits for the content of the files."""
        if self._held is not None:
            self._release(None)
        uid, gid = gathered.part.owners[gathered.start]
        plain = gathered.entries(self._disk.owner(uid, gid))
        self._builder.add_plain(plain)
        self.last_key = plain.key(len(plain.names) - 1)

    def add_span(self, span: Span) -> None:
        self._release(span.number if span.begins_leaf else None)
        for entry in span.entries():
            self._add(self._builder, entry)
        self.last_key = entry.key

    def add_leaf(self, whole: WholeLeaf) -> None:
        """By reference where the new tree has a page boundary here, too; else entry by entry."""
        self._release(whole.number)
        if self._builder.takes_leaf_ref(whole.ref):
            self._builder.add_leaf_ref(self._pages.settled(whole.ref))
        elif self._builder.at_boundary:
            self._held = whole
        else:
            self._add_all(whole)
        self.last_key = whole.ref.last_key

    def finish(self) -> PageRef | None:
        held = self._held
        if held is not None and self._parent is not None and held.ref.last_key == self._parent.last_key:
            self._release(held.number + 1)  # the end of the tree follows, as in the parent
        else:
            self._release(None)
        return self._builder.finish()

    def finish_partial(self) -> PageRef | None:
        """The root of the tree up to here, then the parent's rest; the assembly itself goes on."""
        self._release(None)
        twin = self._builder.fork()
        if self._parent is not None:
            for ref, lower in self._rest(self._parent, b""):
                if lower >= self.last_key and twin.takes_leaf_ref(ref):
                    twin.add_leaf_ref(self._pages.settled(ref))
                    continue
                for entry in self._reader.load_leaf(ref, after=lower).entries():
                    if entry.key > self.last_key:
                        self._add(twin, entry)
        return twin.finish()

    def _release(self, following: int | None) -> None:
        """Add the held leaf, now that the number of the leaf that follows is known (None: something else)."""
        held, self._held = self._held, None
        if held is None:
            return
        if following == held.number + 1:
            self._builder.add_followed_leaf_ref(self._pages.settled(held.ref))
        else:
            self._add_all(held)

    def _add_all(self, whole: WholeLeaf) -> None:
        for entry in whole.leaf.entries():
            self._add(self._builder, entry)

    def _add(self, builder: TreeBuilder, entry: Entry) -> None:
        if entry.extent_tree is not None:
            self._pages.meet_extent_tree()
        builder.add(entry)

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
