"""Restores a tree into a target: content fetched and verified ahead, files written in key order, published in
batches, the metadata of directories last.

One thread reads pages and writes; a few fetch, open and verify (`blocks`). A damaged block costs the files
that need it and nothing else.

beside     a second restore into the target           backup, sweep
restore    safe: nothing is replaced unasked          safe: packs are immutable, a read session pins them
"""

from __future__ import annotations

import stat
from collections import deque
from collections.abc import Iterable
from contextlib import suppress

from muniment.crypto.keys import VaultKeys
from muniment.engine.blocks import BlockFetcher, OpenedBlocks, WantedBlocks
from muniment.engine.leaves import TreeWalk
from muniment.engine.pieces import Piece, Pieces, SmallFile, Window
from muniment.engine.plan_restore import RestoreRequest, select
from muniment.engine.ports import (
    BlockSource,
    FileStat,
    Overwrite,
    PageCache,
    Placement,
    Problem,
    Progress,
    Special,
    StagedFile,
    StopRequested,
    TargetDirectory,
    TargetDisk,
)
from muniment.engine.restore_report import RestoreReport, Teller
from muniment.engine.restored_metadata import MadeDirectories, MetadataRule
from muniment.format.tree import TreeReader
from muniment.model.entry import Entry, Extent, child_directory
from muniment.model.errors import (
    DamagedObject,
    IntegrityError,
    Interrupted,
    MunimentError,
    TargetFull,
    UnsafePath,
)
from muniment.model.packs import MIB

BATCH = 1024 * MIB
"""Content is synced and published whenever this much was written, …"""

BATCH_OBJECTS = 50_000
"""… or this many objects were made."""

_WINDOWS_AHEAD = 3
_STOPPED = "What was complete is in the target. Run the same command again to go on from here."


def restore(
    request: RestoreRequest,
    *,
    keys: VaultKeys,
    source: BlockSource,
    pages: PageCache | None,
    target: TargetDisk,
    progress: Progress,
    stop: StopRequested,
) -> RestoreReport:
    """Restore what the request selects; the caller closes `target`, also after an error.

    Raises TargetFull (nothing of the batch under way appears, earlier batches stay), Interrupted (all files
    that were complete are there), UsageError for an unknown path, and what `source` raises, except
    DamagedObject, which only costs what is damaged.
    """
    with BlockFetcher(keys, source, pages=pages) as fetcher:
        return _Restore(
            request, keys=keys, fetcher=fetcher, target=target, progress=progress, stop=stop
        ).run()


class _Restore:
    def __init__(
        self,
        request: RestoreRequest,
        *,
        keys: VaultKeys,
        fetcher: BlockFetcher,
        target: TargetDisk,
        progress: Progress,
        stop: StopRequested,
    ) -> None:
        self._request = request
        self._fetcher = fetcher
        self._target = target
        self._progress = progress
        self._stop = stop
        self._reader = TreeReader(keys, fetcher.load_page)
        self._walk = TreeWalk(self._reader, fetcher)
        self._selection = select(self._reader, request.root, request.under)
        self._report = RestoreReport()
        self._tell = Teller(self._report, progress)
        self._rule = MetadataRule(request.special, progress)
        self._made = MadeDirectories(
            request, self._selection, target=target, rule=self._rule, unset=self._tell.unset
        )
        self._pieces = Pieces(
            self._reader,
            self._walk,
            root=request.root,
            selection=self._selection,
            look_up=self._look_up,
            keep=self._keeps,
            kept=self._tell.kept,
            lost=self._tell.lost,
        )
        self._placement = Placement.ADD if request.overwrite is Overwrite.NEVER else Placement.REPLACE
        self._at: bytes | None = None
        self._directory: TargetDirectory | None = None
        self._blocked: Exception | None = None
        """Why nothing can be put into the directory we are at."""
        self._barred: list[bytes] = []
        """Keys of directories that were left alone because something else has their name."""
        self._file: StagedFile | None = None
        self._links: dict[int, tuple[bytes, bytes]] = {}
        self._position = b""
        """Key of the directory of the piece put last."""
        self._batch_bytes = self._batch_objects = 0

    def run(self) -> RestoreReport:
        try:
            self._write_all()
        except TargetFull:
            raise
        except MunimentError:
            # Stopped, or the server is gone: what is complete is worth having.
            with suppress(MunimentError, OSError):
                self._publish()
                self._made.finish()
            raise
        finally:
            self._drop_file()
        self._publish()
        self._made.finish()
        self._made.finish_forgotten(
            self._walk,
            self._fetcher,
            damaged=lambda path, why: self._tell.broken(path, Problem.DAMAGED, why),
        )
        # Once more: names and times of directories are to outlast a power cut too.
        self._publish()
        return self._report

    def _write_all(self) -> None:
        ahead: deque[tuple[Window, OpenedBlocks]] = deque()
        for window in self._pieces.windows():
            ahead.append((window, self._fetcher.fetch(window.wanted.blocks.values())))
            if len(ahead) > _WINDOWS_AHEAD:
                self._write(*ahead.popleft())
        while ahead:
            self._write(*ahead.popleft())

    def _write(self, window: Window, blocks: OpenedBlocks) -> None:
        if self._stop():
            raise Interrupted("stopped on request", advice=_STOPPED)
        files, content = self._report.files, self._report.bytes
        self._progress.at(window.pieces[0].path)
        for piece in window.pieces:
            self._put(piece, blocks)
        self._progress.found(files=self._report.files - files, content=self._report.bytes - content)
        self._batch_bytes += window.content
        if self._batch_bytes >= BATCH or self._batch_objects >= BATCH_OBJECTS:
            self._publish()

    def _publish(self) -> None:
        failed = set()
        for directory, name, why in self._target.publish():
            self._tell.failed(self._selection.path_of(directory, name), Problem.WRITE, why)
            self._made.leave_alone(child_directory(directory, name))
            failed.add((directory, name))
        if failed:
            # What has such a name now, or lies below it, is not ours: the next of a group is written anew.
            below = tuple(child_directory(directory, name) for directory, name in failed)
            self._links = {
                group: first
                for group, first in self._links.items()
                if first not in failed and not first[0].startswith(below)
            }
        self._batch_bytes = self._batch_objects = 0
        self._made.finish_before(self._position)
        self._at = None

    # --- one piece

    def _put(self, piece: Piece | SmallFile, blocks: OpenedBlocks) -> None:
        try:
            if piece.directory != self._at:
                self._enter(piece.directory)
            if self._blocked is not None:
                raise self._blocked
            if isinstance(piece, SmallFile):
                self._put_small(piece, blocks)
            else:
                self._put_entry(piece, blocks)
        except UnsafePath as error:
            self._drop_file()
            self._tell.broken(piece.path, Problem.UNSAFE, str(error))
        except IntegrityError as error:
            self._drop_file()
            self._note_damage(piece, blocks)
            self._tell.broken(piece.path, Problem.DAMAGED, str(error))
        except OSError as error:
            self._drop_file()
            self._tell.failed(piece.path, Problem.WRITE, error.strerror or str(error))

    def _put_small(self, piece: SmallFile, blocks: OpenedBlocks) -> None:
        content = blocks.take_chunk(piece.block, piece.chunk)
        problems = self._here.put_file(
            piece.name, (content,), metadata=piece.metadata, placement=self._placement
        )
        self._report.files += 1
        self._report.bytes += len(content)
        self._batch_objects += 1
        if problems:
            self._tell.unset(piece.path, problems)

    def _put_entry(self, piece: Piece, blocks: OpenedBlocks) -> None:
        kind = stat.S_IFMT(piece.entry.mode)
        if piece.is_link and self._put_hard_link(piece):
            return
        if kind == stat.S_IFREG:
            self._put_file(piece, blocks)
        elif kind == stat.S_IFDIR:
            self._put_directory(piece, blocks)
        else:
            self._put_other(piece, blocks)

    def _enter(self, key: bytes) -> None:
        self._at, self._blocked, self._directory = key, None, None
        self._position = key
        for barred in self._barred:
            if key.startswith(barred):
                self._blocked = FileExistsError(17, "what should be its directory is something else")
                return
        try:
            self._directory = self._target.directory(key)
        except (UnsafePath, OSError) as error:
            self._blocked = error

    @property
    def _here(self) -> TargetDirectory:
        if self._directory is None:
            assert self._at is not None
            self._directory = self._target.directory(self._at)
        return self._directory

    def _put_file(self, piece: Piece, blocks: OpenedBlocks) -> None:
        entry = piece.entry
        if piece.is_first and self._pieces.has_no_content(entry):
            self._tell.failed(entry.path, Problem.UNREADABLE, "it could not be read when it was backed up")
            return
        if piece.is_first and piece.is_last and piece.error is None:
            parts = [blocks.take(extent) for extent in piece.extents if extent.chunk is not None]
            if len(parts) == len(piece.extents):
                metadata = self._rule.of(entry, blocks)
                problems = self._here.put_file(
                    entry.name, parts, metadata=metadata, placement=self._placement
                )
                self._done(piece, problems)
                return
        if piece.is_first:
            self._file = self._here.stage_file(entry.name)
        if self._file is None:
            return  # an earlier piece failed
        self._write_extents(self._file, piece, blocks)
        if piece.error is not None:
            raise piece.error
        if piece.is_last:
            file, self._file = self._file, None
            problems = file.finish(
                size=entry.size, metadata=self._rule.of(entry, blocks), placement=self._placement
            )
            self._at = None
            self._done(piece, problems)

    def _write_extents(self, file: StagedFile, piece: Piece, blocks: OpenedBlocks) -> None:
        offset = piece.offset
        for extent in piece.extents:
            if extent.chunk is not None:
                file.write(blocks.take(extent), offset=offset)
            offset += extent.length

    def _drop_file(self) -> None:
        if self._file is not None:
            self._file.discard()
            self._file = None

    def _put_hard_link(self, piece: Piece) -> bool:
        """Whether the name is done with; where not, the file is restored on its own."""
        first = self._links.get(piece.entry.link_group)
        if first is not None:
            try:
                self._here.put_hard_link(
                    piece.entry.name, directory=first[0], existing=first[1], placement=self._placement
                )
            except OSError:
                pass  # too many links, or another file system: a copy is the next best
            else:
                self._done(piece, [])
                return True
        if not piece.entry.is_file:
            return False
        for whole in self._pieces.whole(piece.entry, piece.directory):
            wanted = WantedBlocks()
            wanted.add(whole.extents)
            for _, extents in whole.entry.large_xattrs:
                wanted.add(extents)
            self._put(whole, self._fetcher.fetch(wanted.blocks.values()))
        return True

    def _put_directory(self, piece: Piece, blocks: OpenedBlocks) -> None:
        entry = piece.entry
        key = child_directory(piece.directory, entry.name)
        found = self._here.existing(entry.name)
        if found is not None and not stat.S_ISDIR(found.mode):
            if self._keeps(entry, found):
                self._barred.append(key)
                self._tell.kept(entry)
                return
            self._here.make_directory(entry.name, placement=Placement.REPLACE)
            found = None
        elif found is None:
            self._here.make_directory(entry.name, placement=Placement.ADD)
        self._batch_objects += 1
        self._report.directories += 1
        self._made.add(key, entry, blocks, found=found)

    def _put_other(self, piece: Piece, blocks: OpenedBlocks) -> None:
        entry = piece.entry
        if stat.S_ISSOCK(entry.mode):
            self._tell.skipped(
                entry, Problem.UNSUPPORTED, "a socket is made by the program that listens on it"
            )
            return
        if entry.device is not None and self._request.special is Special.SKIP:
            self._tell.skipped(entry, Problem.SKIPPED, "a device node")
            return
        metadata = self._rule.of(entry, blocks)
        if stat.S_ISLNK(entry.mode):
            problems = self._here.put_link(
                entry.name, target=entry.link_target, metadata=metadata, placement=self._placement
            )
        else:
            problems = self._here.put_special(
                entry.name, device=entry.device, metadata=metadata, placement=self._placement
            )
        self._done(piece, problems)

    def _done(self, piece: Piece, problems: list[str]) -> None:
        entry = piece.entry
        if entry.is_file:
            self._report.files += 1
            if not piece.is_link:
                self._report.bytes += entry.size
        else:
            self._report.others += 1
        if entry.link_group:
            self._links[entry.link_group] = (piece.directory, entry.name)
        self._batch_objects += 1
        if problems:
            self._tell.unset(entry.path, problems)

    # --- what is there already

    def _look_up(self, directory: bytes, names: list[bytes]) -> dict[bytes, FileStat]:
        if self._request.overwrite is Overwrite.ALWAYS:
            return {}
        return dict(self._target.existing(directory, names))

    def _keeps(self, entry: Entry, found: FileStat) -> bool:
        if self._request.overwrite is Overwrite.NEVER:
            return True
        return self._request.overwrite is Overwrite.OLDER and found.mtime_ns >= entry.mtime_ns

    def _note_damage(self, piece: Piece | SmallFile, blocks: OpenedBlocks) -> None:
        for extent in _all_extents(piece):
            if extent.address is None:
                continue
            try:
                blocks.take(extent)
            except DamagedObject:
                self._report.damaged_packs.add(extent.address.block.pack_id)
            except Exception:
                return


def _all_extents(piece: Piece | SmallFile) -> Iterable[Extent]:
    if isinstance(piece, SmallFile):
        yield from piece.leaf.entry(piece.run, piece.place).extents
        return
    yield from piece.extents
    for _, extents in piece.entry.large_xattrs:
        yield from extents
