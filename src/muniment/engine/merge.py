"""Merges the walk with the parent snapshot's leaves, both in key order, to find what changed.

Columns of a slice are compared with columns of a leaf as whole lists; only where those differ, entry by
entry. A leaf all of whose entries are unchanged and in sequence comes out whole, so that the new tree can
refer to it: neither its entries nor their extents are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from muniment.engine.ports import SourceDisk
from muniment.engine.walk import Slice
from muniment.format.page import LeafPage, LeafRun
from muniment.format.tree import PackMemo, TreeReader
from muniment.model.entry import Entry, EntryFlag, PageRef
from muniment.model.ids import PackId

READ_AGAIN = EntryFlag.RACY | EntryFlag.KEPT | EntryFlag.CHANGED | EntryFlag.DAMAGED | EntryFlag.UNREADABLE
"""An entry with one of these is read again although nothing about it changed."""


@dataclass(slots=True)
class Span:
    """Unchanged entries `start` to `stop` of a run of the parent, in its `number`-th leaf."""

    leaf: LeafPage
    run: LeafRun
    start: int
    stop: int
    number: int

    @property
    def begins_leaf(self) -> bool:
        return self.start == 0 and self.run is self.leaf.runs[0]

    def entries(self) -> Iterator[Entry]:
        for place in range(self.start, self.stop):
            yield self.leaf.entry(self.run, place)


@dataclass(slots=True)
class WholeLeaf:
    """A leaf of the parent, unchanged from its first entry to its last."""

    ref: PageRef
    leaf: LeafPage
    number: int


@dataclass(slots=True)
class Kept(Span):
    """Entries of the parent whose originals cannot be read now."""


@dataclass(slots=True)
class Changed:
    """What is to be read: new (`parent` is None), or different from the parent's entry."""

    part: Slice
    place: int
    parent: Span | None


class LostContent:
    """Knows which entries need packs that the vault has lost, so that their files are read again."""

    def __init__(self, packs: frozenset[PackId], reader: TreeReader, memo: PackMemo) -> None:
        self._packs = packs
        self._reader = reader
        self._memo = memo

    def includes(self, entry: Entry) -> bool:
        """Whether the content of the entry, or a large attribute, lies in a lost pack."""
        extents = chain(entry.extents, *(value for _, value in entry.large_xattrs))
        if any(extent.address and extent.address.block.pack_id in self._packs for extent in extents):
            return True
        tree = entry.extent_tree
        return tree is not None and not self._packs.isdisjoint(self._reader.reachable_packs(tree, self._memo))

    def places(self, leaf: LeafPage) -> dict[int, set[int]]:
        """Of a leaf's entries those included, as places by run."""
        if self._packs.isdisjoint(leaf.packs) and next(leaf.extent_trees(), None) is None:
            return {}
        found: dict[int, set[int]] = {}
        for number, run in enumerate(leaf.runs):
            for place in range(len(run.names)):
                if self.includes(leaf.entry(run, place)):
                    found.setdefault(number, set()).add(place)
        return found


@dataclass(slots=True)
class New:
    """Places `start` to `stop` of a slice, of which the parent has none."""

    part: Slice
    start: int
    stop: int


Merged = Span | WholeLeaf | Kept | Changed | New


class Merge:
    """The parent's side of the merge: a place in its leaves, which only moves forward."""

    def __init__(
        self,
        leaves: Iterator[tuple[PageRef, LeafPage]],
        disk: SourceDisk,
        *,
        lost: LostContent | None = None,
    ) -> None:
        self._leaves = leaves
        self._disk = disk
        self._lost = lost
        self._lost_places: dict[int, set[int]] = {}
        """By run of this leaf, the places of entries whose content is lost."""
        self._ref: PageRef | None = None
        self._leaf: LeafPage | None = None
        self._run: LeafRun | None = None
        self._number = 0
        self._run_place = 0
        self._at = 0
        self._owner_places: dict[tuple[int, int], int] = {}
        self._matched: list[Span] = []
        self._intact = True
        """Whether everything of this leaf up to here is in `_matched`, with nothing in between."""
        self._out: list[Merged] = []
        self._next_leaf()

    # --- what the walk brings

    def match(self, part: Slice) -> list[Merged]:
        """What became of the names of the slice, and of the parent's entries before and between them."""
        self._pass_before(part.directory)
        count, at = len(part.names), 0
        while at < count:
            run = self._run
            if run is None or run.directory != part.directory:
                self._interrupt_before_next()
                self._out.append(New(part, at, count))
                break
            length = min(count - at, len(run.names) - self._at)
            if self._is_same(part, at, run, self._at, length):
                self._accept(length)
                at += length
            else:
                at = self._compare(part, at, at + length)
        if part.last:
            self._pass_rest(part)
        return self._take_out()

    def keep(self, directory: bytes) -> list[Merged]:
        """The directory cannot be read: everything that the parent has below it is kept."""
        self._pass_before(directory)
        while self._run is not None and self._run.directory.startswith(directory):
            self._keep(len(self._run.names) - self._at)
        return self._take_out()

    def finish(self) -> list[Merged]:
        """After the walk. What the parent has beyond is gone."""
        self._flush()
        return self._take_out()

    def _take_out(self) -> list[Merged]:
        out, self._out = self._out, []
        return out

    # --- comparing

    def _is_same(self, part: Slice, at: int, run: LeafRun, place: int, length: int) -> bool:
        """Whether `length` entries from `at` of the slice are those from `place` of the run, unchanged."""
        end, stop = at + length, place + length
        return (
            part.names[at:end] == run.names[place:stop]
            and part.mtimes[at:end] == run.mtimes[place:stop]
            and part.sizes[at:end] == run.sizes[place:stop]
            and part.ctimes[at:end] == run.ctimes[place:stop]
            and part.inodes[at:end] == run.inodes[place:stop]
            and part.modes[at:end] == run.modes[place:stop]
            and [self._owner_places.get(owner, -1) for owner in part.owners[at:end]]
            == run.owner_places[place:stop]
            and part.file_systems == run.file_system
            and (not self._lost_places or not self._loses(place, stop))
            and not (run.extras and self._has_doubtful(run, place, stop))
        )

    def _loses(self, place: int, stop: int) -> bool:
        lost = self._lost_places.get(self._run_place, ())
        return any(place <= one < stop for one in lost)

    def _has_doubtful(self, run: LeafRun, place: int, stop: int) -> bool:
        leaf = self._leaf
        assert leaf is not None
        return any(
            place <= extra < stop
            and (leaf.flags(run, extra) & READ_AGAIN or leaf.file_system(run, extra) != run.file_system)
            for extra in run.extras
        )

    def _compare(self, part: Slice, at: int, end: int) -> int:
        """Entry by entry, until `end` of the slice or the end of the run; returns how far it came."""
        run = self._run
        while at < end and self._run is run and run is not None:
            name, theirs = part.names[at], run.names[self._at]
            if name == theirs:
                if self._is_same_entry(part, at, run, self._at):
                    self._accept(1)
                else:
                    parent = self._span(run, 1)
                    self._consume(1, Changed(part, at, parent))
                at += 1
            elif theirs < name:
                self._pass_one(part)
            else:
                self._interrupt_before_next()
                self._out.append(Changed(part, at, None))
                at += 1
        return at

    def _is_same_entry(self, part: Slice, at: int, run: LeafRun, place: int) -> bool:
        leaf = self._current_leaf()
        systems = part.file_systems
        file_system = systems if isinstance(systems, int) else systems[at]
        return (
            part.mtimes[at] == run.mtimes[place]
            and part.sizes[at] == run.sizes[place]
            and part.ctimes[at] == run.ctimes[place]
            and part.inodes[at] == run.inodes[place]
            and part.modes[at] == run.modes[place]
            and self._owner_places.get(part.owners[at]) == run.owner_places[place]
            and file_system == leaf.file_system(run, place)
            and not leaf.flags(run, place) & READ_AGAIN
            and not self._loses(place, place + 1)
        )

    # --- moving through the parent

    def _pass_before(self, directory: bytes) -> None:
        """Pass what lies before `directory`: it is no longer there."""
        while self._run is not None and self._run.directory < directory:
            self._consume(len(self._run.names) - self._at)

    def _pass_rest(self, part: Slice) -> None:
        """Pass what the parent has of the slice's directory beyond its last name."""
        while self._run is not None and self._run.directory == part.directory:
            if part.failed:
                self._pass_one(part)
            else:
                self._consume(len(self._run.names) - self._at)

    def _pass_one(self, part: Slice) -> None:
        """Pass an entry that the walk does not have: gone, or kept where the walk could not look."""
        assert self._run is not None
        if self._run.names[self._at] in part.failed:
            self._keep(1)
        else:
            self._consume(1)

    def _keep(self, count: int) -> None:
        assert self._run is not None
        kept = Kept(self._current_leaf(), self._run, self._at, self._at + count, self._number)
        self._consume(count, kept)

    def _accept(self, count: int) -> None:
        """The next `count` entries are unchanged."""
        assert self._run is not None
        last = self._matched[-1] if self._matched else None
        if last is not None and last.run is self._run and last.stop == self._at:
            last.stop += count
        else:
            self._matched.append(self._span(self._run, count))
        self._move(count)

    def _consume(self, count: int, instead: Merged | None = None) -> None:
        """The next `count` entries do not come over as they are; `instead` does."""
        self._flush()
        self._intact = False
        if instead is not None:
            self._out.append(instead)
        self._move(count)

    def _interrupt_before_next(self) -> None:
        """Something new comes before the next entry; before a leaf's first it leaves the leaf whole."""
        self._flush()
        if self._at or self._run_place:
            self._intact = False

    def _flush(self) -> None:
        self._out += self._matched
        self._matched.clear()

    def _move(self, count: int) -> None:
        self._at += count
        leaf = self._current_leaf()
        assert self._run is not None
        if self._at < len(self._run.names):
            return
        self._at = 0
        self._run_place += 1
        if self._run_place < len(leaf.runs):
            self._run = leaf.runs[self._run_place]
            return
        if self._intact:
            assert self._ref is not None
            self._out.append(WholeLeaf(self._ref, leaf, self._number))
            self._matched.clear()
        else:
            self._flush()
        self._next_leaf()

    def _next_leaf(self) -> None:
        self._ref, self._leaf = next(self._leaves, (None, None))
        self._number += 1
        self._run_place = self._at = 0
        self._intact = True
        self._run = self._leaf.runs[0] if self._leaf is not None else None
        if self._leaf is not None:
            # An owner whose names have changed since has no place: its entries are written anew.
            self._owner_places = {
                (owner.uid, owner.gid): place
                for place, owner in enumerate(self._leaf.owners)
                if self._disk.owner(owner.uid, owner.gid) == owner
            }
            self._lost_places = self._lost.places(self._leaf) if self._lost is not None else {}

    def _span(self, run: LeafRun, count: int) -> Span:
        return Span(self._current_leaf(), run, self._at, self._at + count, self._number)

    def _current_leaf(self) -> LeafPage:
        assert self._leaf is not None
        return self._leaf
