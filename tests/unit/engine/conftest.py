"""A run against a vault in memory, over real files."""

from __future__ import annotations

import gc
import os
import resource
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from muniment.client.disk.posix import PosixDirectory, PosixDisk, PosixFile
from muniment.engine.archive import ArchiveRequest, ArchiveResult, archive
from muniment.engine.ports import FileStat, SourceDisk
from muniment.format.pack import open_block, take_chunk
from muniment.format.tree import TreeReader
from muniment.model.entry import Entry, Extent, PageRef
from muniment.model.ids import PageId
from muniment.model.packs import BlockRole
from tests.support.memory_vault import (
    MemoryPages,
    MemoryVault,
    NamedExcludes,
    RecordingProgress,
    SetClock,
    new_keys,
)

_RESIDENT = 600 << 20


class JailedDisk(PosixDisk):
    """A machine whose `/` is a directory of ours: nothing else changes what lies above the roots."""

    def __init__(self, top: Path) -> None:
        super().__init__()
        self._top = os.fsencode(top)

    def open_root(self, path: bytes) -> PosixDirectory:
        return super().open_root(self._top + path)


class SpoiledDirectory(PosixDirectory):
    """A directory where some calls on some names do something else first, or instead."""

    def __init__(self, disk: SpoiledDisk, path: bytes, fd: int) -> None:
        super().__init__(fd)
        self._disk, self._path = disk, path

    def names(self) -> list[bytes]:
        self._disk.before("names", self._path)
        return super().names()

    def stats(self, names: Sequence[bytes]) -> list[FileStat | OSError]:
        found = super().stats(names)
        return [
            self._disk.refused.get(("stat", self._path + b"/" + name), result)  # type: ignore[misc]
            for name, result in zip(names, found, strict=True)
        ]

    def open_file(self, name: bytes) -> PosixFile:
        self._disk.before("open", self._path + b"/" + name)
        file = super().open_file(name)
        attributes = self._disk.attributes.get(self._path + b"/" + name)
        return file if attributes is None else AttributedFile(file, attributes)

    def read_unchanged(self, names: Sequence[bytes], found: Sequence[FileStat], into: memoryview) -> int:
        """As ever, but for what is spoiled: that is left to be opened by itself."""
        count, spoiled = 0, self._disk.is_spoiled
        while count < len(names) and not spoiled(self._path + b"/" + names[count]):
            count += 1
        return super().read_unchanged(names[:count], found[:count], into)

    def open_directory(self, name: bytes) -> SpoiledDirectory:
        path = self._path + b"/" + name
        self._disk.before("open", path)
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=self._fd)
        return SpoiledDirectory(self._disk, path, fd)


class AttributedFile(PosixFile):
    """A file with attributes larger than this machine's file system takes."""

    def __init__(self, file: PosixFile, attributes: list[tuple[bytes, bytes]]) -> None:
        super().__init__(file._fd)
        self._attributes = attributes

    def xattrs(self) -> list[tuple[bytes, bytes]]:
        return self._attributes


class SpoiledDisk(JailedDisk):
    """Real files, but for calls that are `refused` with an error, or that `meddle` does something before."""

    def __init__(self, top: Path) -> None:
        super().__init__(top)
        self.refused: dict[tuple[str, bytes], OSError] = {}
        self.meddle: dict[tuple[str, bytes], Callable[[], object]] = {}
        self.attributes: dict[bytes, list[tuple[bytes, bytes]]] = {}
        self.calls: list[tuple[str, bytes]] = []

    def open_root(self, path: bytes) -> SpoiledDirectory:
        self.before("root", path)
        return SpoiledDirectory(self, path.rstrip(b"/"), super().open_root(path)._fd)

    def is_spoiled(self, path: bytes) -> bool:
        return path in self.attributes or ("open", path) in self.meddle or ("open", path) in self.refused

    def before(self, call: str, path: bytes) -> None:
        self.calls.append((call, path))
        if (call, path) in self.meddle:
            self.meddle[call, path]()
        if (call, path) in self.refused:
            raise self.refused[call, path]


@dataclass
class Bench:
    """One vault and one machine; each `back_up` is a run against the one before."""

    root: Path
    vault: MemoryVault = field(default_factory=MemoryVault)
    pages: MemoryPages = field(default_factory=MemoryPages)
    clock: SetClock = field(default_factory=SetClock)
    disk: SourceDisk | None = None
    excludes: NamedExcludes = field(default_factory=NamedExcludes)
    progress: RecordingProgress = field(default_factory=RecordingProgress)
    partials: list[ArchiveResult] = field(default_factory=list)
    last: ArchiveResult | None = None
    stop_when: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self.keys = new_keys()
        self.top = self.root.parent
        self.disk = self.disk or JailedDisk(self.top)

    def inside(self, path: Path) -> bytes:
        """The path as the backed-up machine names it."""
        return b"/" + os.fsencode(path.relative_to(self.top))

    def back_up(self, *roots: Path, fresh: bool = False, **options: object) -> ArchiveResult:
        parent = None if fresh or self.last is None else self.last
        request = ArchiveRequest(
            roots=tuple(self.inside(root) for root in roots or (self.root,)),
            excludes=self.excludes,
            parent=parent.root if parent else None,
            file_systems=parent.file_systems if parent else (),
            workers=2,
        )
        self.progress = RecordingProgress()
        self.partials = []
        _collect_seldom()
        assert self.disk is not None
        self.last = archive(
            replace(request, **options),  # type: ignore[arg-type]
            keys=self.keys,
            disk=self.disk,
            sink=self.vault,
            source=self.vault,
            index=self.vault,
            pages=self.pages,
            clock=self.clock,
            progress=self.progress,
            stop=self.stop_when,
            on_partial=self.partials.append,
        )
        return self.last

    # --- reading back, by nothing but what is stored

    def load_page(self, ref: PageRef) -> bytes:
        block = ref.block
        sealed = self.vault.read(block.pack_id, offset=block.offset, length=block.length)
        return bytes(open_block(sealed, block, BlockRole.PAGE, self.keys))

    @property
    def reader(self) -> TreeReader:
        return TreeReader(self.keys, self.load_page)

    def entries(self, result: ArchiveResult | None = None) -> dict[bytes, Entry]:
        """By path, with a leading slash."""
        result = result or self.last
        assert result is not None
        return {b"/" + entry.path: entry for entry in self.reader.entries(result.root)}

    def leaf_ids(self, result: ArchiveResult) -> list[PageId]:
        """What the tree's leaves hash to: where they are stored is no part of it."""
        return [ref.page_id for ref, _ in self.reader.leaves(result.root)]

    def pages_of(self, result: ArchiveResult) -> list[PageRef]:
        """Every page of the tree of entries."""
        found = [result.root] if result.root is not None else []
        for ref in found:
            found += self.reader.children(ref).children if ref.level else ()
        return found

    def below(self, result: ArchiveResult | None = None, *, root: Path | None = None) -> dict[str, Entry]:
        """Entries below the root, by path relative to it."""
        prefix = self.inside(root or self.root) + b"/"
        return {
            os.fsdecode(path[len(prefix) :]): entry
            for path, entry in self.entries(result).items()
            if path.startswith(prefix)
        }

    def content(self, entry: Entry) -> bytes:
        return b"".join(map(self.read_extent, self.reader.extents(entry)))

    def read_extent(self, extent: Extent) -> bytes:
        if extent.chunk is None or extent.address is None:
            return bytes(extent.length)
        block = extent.address.block
        sealed = self.vault.read(block.pack_id, offset=block.offset, length=block.length)
        opened = open_block(sealed, block, BlockRole.DATA, self.keys)
        return bytes(take_chunk(self.keys, opened, address=extent.address, expected=extent.chunk))

    def differences(self, result: ArchiveResult | None = None, *, root: Path | None = None) -> list[str]:
        """How the snapshot differs from what is on disk now; told by `lstat` and `open` alone."""
        root = root or self.root
        stored = self.below(result, root=root)
        found: list[str] = []
        seen = set()
        for name, path in _walk(root):
            seen.add(name)
            entry = stored.get(name)
            if entry is None:
                found.append(f"{name}: missing")
                continue
            found += [f"{name}: {what}" for what in self._entry_differences(entry, path)]
        return found + [f"{name}: should not be there" for name in stored.keys() - seen]

    def _entry_differences(self, entry: Entry, path: str) -> Iterator[str]:
        now = os.lstat(path)
        if entry.mode != now.st_mode:
            yield "mode"
        if entry.mtime_ns != now.st_mtime_ns:
            yield "mtime"
        if (entry.owner.uid, entry.owner.gid) != (now.st_uid, now.st_gid):
            yield "owner"
        if stat.S_ISLNK(now.st_mode) and entry.link_target != os.fsencode(os.readlink(path)):
            yield "target"
        if stat.S_ISREG(now.st_mode):
            if entry.size != now.st_size:
                yield "size"
            with open(path, "rb") as file:
                if self.content(entry) != file.read():
                    yield "content"


def _walk(root: Path) -> Iterator[tuple[str, str]]:
    base = str(root)
    waiting = [base]
    while waiting:
        with os.scandir(waiting.pop()) as listed:
            for item in listed:
                yield os.path.relpath(item.path, base), item.path
                if item.is_dir(follow_symlinks=False):
                    waiting.append(item.path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    return made


def _collect_seldom() -> None:
    """A backup holds Python's collector back, and a process that makes thousands of them grows by all that
    they left behind in cycles."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        resident = int(statm.read().split()[1]) * resource.getpagesize()
    if resident > _RESIDENT:
        gc.collect()


@pytest.fixture
def bench(root: Path) -> Bench:
    return Bench(root)


@pytest.fixture
def spoiled(bench: Bench) -> SpoiledDisk:
    """The bench's disk, replaced by one whose calls can be made to fail."""
    disk = SpoiledDisk(bench.top)
    bench.disk = disk
    return disk
