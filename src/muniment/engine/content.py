"""The content of files on its way: pieces in batches, and the windows that large files are read through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

from muniment.engine.chunking import WHOLE_BELOW, Cutter
from muniment.engine.ports import OpenFile, StopRequested
from muniment.engine.storing import WINDOW, Batch, ChunkStore
from muniment.format.page import MAX_INLINE_EXTENTS
from muniment.format.tree import ExtentTreeBuilder
from muniment.model.entry import Extent, PageRef
from muniment.model.errors import Interrupted

_MOST_STRETCHES = 256
"""Stretches of one file that wait before the first of them go into its tree of extents."""

Stretch = tuple[Batch, int, int] | int
"""(batch, first piece, pieces), or the length of a hole."""

NewExtentTree = Callable[[], ExtentTreeBuilder]


class Content:
    """Where the pieces of a file are on their way, in file order.

    Of a file with a great many, those that have arrived go into a tree of extents while the rest is read.
    """

    __slots__ = ("_arrived", "_root", "_tree", "stretches")

    def __init__(self, *stretches: Stretch) -> None:
        self.stretches = list(stretches)
        self._arrived: list[Extent] = []
        self._tree: ExtentTreeBuilder | None = None
        self._root: PageRef | None = None

    @property
    def is_done(self) -> bool:
        return all(isinstance(stretch, int) or stretch[0].is_done for stretch in self.stretches)

    def batches(self) -> Iterator[Batch]:
        for stretch in self.stretches:
            if not isinstance(stretch, int):
                yield stretch[0]

    def extents(self) -> tuple[Extent, ...]:
        """All of a content that was never settled; waits for the threads."""
        return tuple(chain.from_iterable(map(_extents_of, self.stretches)))

    def settle(self, new_tree: NewExtentTree, *, keep: int = 0) -> None:
        """Wait for all but the last `keep` stretches and take their extents over."""
        settled = self.stretches[: len(self.stretches) - keep]
        del self.stretches[: len(settled)]
        for extent in chain.from_iterable(map(_extents_of, settled)):
            if self._tree is not None:
                self._tree.add(extent)
                continue
            self._arrived.append(extent)
            if len(self._arrived) > MAX_INLINE_EXTENTS:
                self._tree = new_tree()
                for early in self._arrived:
                    self._tree.add(early)
                self._arrived = []

    def finish(self, new_tree: NewExtentTree) -> tuple[tuple[Extent, ...], PageRef | None]:
        """(extents, root of the tree of extents); one of the two is empty. May be asked again."""
        if self._root is None and self.stretches:
            self.settle(new_tree)
            if self._tree is not None:
                self._root = self._tree.finish()
        return tuple(self._arrived), self._root


def _extents_of(stretch: Stretch) -> list[Extent]:
    if isinstance(stretch, int):
        return [Extent(stretch)]
    batch, first, count = stretch
    return batch.extents[first : first + count]


NOTHING = Content()


class Window:
    """The buffer that a large file is read through, and the chunks found in it so far."""

    def __init__(
        self, store: ChunkStore, cutter: Cutter, *, stop: StopRequested, new_tree: NewExtentTree
    ) -> None:
        self._store = store
        self._new_tree = new_tree
        self._cutter = cutter
        self._stop = stop
        self._content = Content()
        self._batch: Batch | None = None
        self._first = 0
        """First piece of the batch that no stretch covers yet."""
        self._end = 0
        """What is read and not yet cut lies between the batch's last piece and here."""

    def add_hole(self, length: int) -> None:
        self._cover()
        self._content.stretches.append(length)

    def add_range(self, file: OpenFile, offset: int, length: int) -> int:
        """Bytes read of the range: fewer than `length` when the file was cut short."""
        is_whole = length <= WHOLE_BELOW
        taken = 0
        while taken < length:
            batch = self._current()
            got = file.read_into(batch.view[self._end : self._end + length - taken], offset=offset + taken)
            if not got:
                break
            taken += got
            self._end += got
            if self._end == WINDOW and taken < length and not is_whole:
                self._cut(hold_last=True)
        self._cut(is_whole=is_whole)
        return taken

    def finish(self) -> Content:
        self._ship()
        return self._content

    def close(self) -> None:
        """Give the buffer back where it was not handed on."""
        if self._batch is not None:
            self._batch.release()
            self._batch = None

    def _current(self) -> Batch:
        """The batch, with room to read into: when full it is handed on, but for what is not yet cut."""
        if self._batch is not None and self._end == WINDOW:
            rest = bytes(self._batch.view[self._batch.end : self._end])
            self._ship()
            if self._stop():
                raise Interrupted("stopped on request")
            self._batch = Batch(self._store.windows)
            self._batch.view[: len(rest)] = rest
            self._end = len(rest)
        elif self._batch is None:
            self._batch = Batch(self._store.windows)
        return self._batch

    def _cut(self, *, hold_last: bool = False, is_whole: bool = False) -> None:
        batch = self._batch
        if batch is None or batch.end == self._end:
            return
        uncut = batch.view[batch.end : self._end]
        lengths = [len(uncut)] if is_whole else self._cutter.cut(uncut)
        for length in lengths[:-1] if hold_last else lengths:
            batch.add(length)

    def _cover(self) -> None:
        """Note what was cut since the last hole, or the last batch."""
        if self._batch is not None and len(self._batch.lengths) > self._first:
            self._content.stretches.append((self._batch, self._first, len(self._batch.lengths) - self._first))
            self._first = len(self._batch.lengths)

    def _ship(self) -> None:
        self._cover()
        batch, self._batch = self._batch, None
        self._first = self._end = 0
        if batch is not None:
            self._store.submit(batch)
            self._settle()

    def _settle(self) -> None:
        if len(self._content.stretches) > _MOST_STRETCHES:
            self._content.settle(self._new_tree, keep=_MOST_STRETCHES // 2)
