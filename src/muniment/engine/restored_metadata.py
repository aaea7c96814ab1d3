"""What of an entry's metadata a restore gives back: no power unasked, and directories last."""

from __future__ import annotations

import stat
from collections.abc import Callable

from muniment.engine.blocks import BlockFetcher, OpenedBlocks, WantedBlocks
from muniment.engine.leaves import LostRange, Order, TreeWalk
from muniment.engine.pieces import SET_ID
from muniment.engine.plan_restore import RestoreRequest, Selection
from muniment.engine.ports import (
    FileStat,
    Metadata,
    Overwrite,
    Problem,
    Progress,
    Special,
    TargetDisk,
)
from muniment.model.entry import Entry, child_directory
from muniment.model.errors import IntegrityError, UnsafePath

_REMEMBERED = 100_000
_CAPABILITY = b"security.capability"
"""As powerful as a set-id bit, and treated as one."""


class MetadataRule:
    """Makes metadata of entries; tells what it leaves away."""

    def __init__(self, special: Special, progress: Progress) -> None:
        self._special = special
        self._progress = progress

    def of(self, entry: Entry, blocks: OpenedBlocks) -> Metadata:
        """Raises DamagedObject where a large attribute cannot be read."""
        mode = entry.mode
        if mode & SET_ID and not self._may_set_id(entry):
            mode &= ~SET_ID
        if not entry.xattrs and not entry.large_xattrs:
            return Metadata(mode, entry.owner, entry.mtime_ns)
        xattrs = [*entry.xattrs]
        for name, extents in entry.large_xattrs:
            xattrs.append((name, b"".join(blocks.take(extent) for extent in extents)))
        if self._special is Special.SKIP and any(name == _CAPABILITY for name, _ in xattrs):
            xattrs = [item for item in xattrs if item[0] != _CAPABILITY]
            self._progress.problem(entry.path, Problem.SKIPPED, detail="its capabilities")
        return Metadata(mode, entry.owner, entry.mtime_ns, xattrs)

    def _may_set_id(self, entry: Entry) -> bool:
        """On a directory the bit gives nobody power: it says which group new files belong to."""
        if entry.is_directory or self._special is Special.RESTORE:
            return True
        self._progress.problem(entry.path, Problem.SKIPPED, detail="its set-id bits")
        return False


class MadeDirectories:
    """Directories that still wait for their metadata, because things are still put into them."""

    def __init__(
        self,
        request: RestoreRequest,
        selection: Selection,
        *,
        target: TargetDisk,
        rule: MetadataRule,
        unset: Callable[[bytes, list[str]], None],
    ) -> None:
        self._request, self._selection = request, selection
        self._target = target
        self._rule = rule
        self._unset = unset
        self._made: list[tuple[bytes, Metadata]] = []
        self._are_too_many = False
        self._left_alone: set[bytes] = set()

    def leave_alone(self, key: bytes) -> None:
        """What has this key, or should have it, keeps the metadata it has."""
        self._left_alone.add(key)

    def add(self, key: bytes, entry: Entry, blocks: OpenedBlocks, *, found: FileStat | None) -> None:
        """`found`: what the directory was before this restore."""
        metadata = self._rule.of(entry, blocks)
        # One that has the metadata of the snapshot already gets it again, since what is put into it
        # changes its time: so a restore that was stopped can be taken up by another.
        if found is not None and self._keeps(found, metadata):
            self.leave_alone(key)
            return
        if self._are_too_many:
            return
        self._made.append((key, metadata))
        if len(self._made) > _REMEMBERED:
            self._are_too_many, self._made = True, []

    def _keeps(self, found: FileStat, metadata: Metadata) -> bool:
        differs = (found.mode, found.mtime_ns) != (metadata.mode, metadata.mtime_ns)
        return differs and self._request.overwrite is Overwrite.NEVER

    def finish_before(self, position: bytes) -> None:
        """Set those into which nothing more comes, now that the restore has reached `position` (a key)."""
        waiting: list[tuple[bytes, Metadata]] = []
        complete: list[tuple[bytes, Metadata]] = []
        for made in self._made:
            is_passed = made[0] < position and not position.startswith(made[0])
            (complete if is_passed else waiting).append(made)
        self._made = waiting
        self._set(complete)

    def finish(self) -> None:
        """Set all that are remembered."""
        made, self._made = self._made, []
        self._set(made)

    def finish_forgotten(
        self,
        walk: TreeWalk,
        fetcher: BlockFetcher,
        *,
        damaged: Callable[[bytes, str], None],
    ) -> None:
        """Where there were too many to remember, read them from the tree once more, backwards."""
        if not self._are_too_many:
            return
        for start, end in reversed(self._selection.ranges):
            for leaf in walk.leaves(self._request.root, start=start, end=end, order=Order.BACKWARD):
                if isinstance(leaf, LostRange):
                    continue
                for run in reversed(leaf.runs):
                    for place in reversed(range(len(run.names))):
                        key = run.directory + b"\0" + run.names[place]
                        if stat.S_ISDIR(run.modes[place]) and start <= key and (end is None or key < end):
                            try:
                                self._finish_again(leaf.entry(run, place), fetcher)
                            except IntegrityError as error:
                                damaged(run.directory.replace(b"\0", b"/") + run.names[place], str(error))

    def _finish_again(self, entry: Entry, fetcher: BlockFetcher) -> None:
        wanted = WantedBlocks()
        for _, extents in entry.large_xattrs:
            wanted.add(extents)
        metadata = self._rule.of(entry, fetcher.fetch(wanted.blocks.values()))
        self._set([(child_directory(entry.directory, entry.name)[self._selection.stripped :], metadata)])

    def _set(self, made: list[tuple[bytes, Metadata]]) -> None:
        """From the last to the first, so that each is closed to us only after all that is in it."""
        for key, metadata in reversed(made):
            if key in self._left_alone:
                continue
            try:
                problems = self._target.directory(key).set_metadata(metadata)
            except (OSError, UnsafePath) as error:
                problems = [str(error)]
            if problems:
                self._unset(self._selection.path_of(key[:-1], b""), problems)
