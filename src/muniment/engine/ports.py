"""What the engine asks of the world. Filled by `muniment.client` and, in tests, by plain objects.

The engine opens no socket and knows no HTTP; time, randomness, disk and the vault reach it through here.
Every method may be called from several threads at once unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

from muniment.model.entry import Owner
from muniment.model.ids import ChunkId, PackId, PageId
from muniment.model.packs import ChunkAddress, SealedPack

# --- the vault


class PackSink(Protocol):
    """Takes finished packs and brings them to the vault."""

    def send(self, pack: SealedPack, content: memoryview, chunks: Mapping[ChunkId, ChunkAddress]) -> None:
        """Spool the pack, record its chunks and upload it, in the background.

        `content` is only valid during the call. Blocks while too many bytes are in flight. Idempotent by
        pack id. Raises the error of an earlier upload that cannot succeed (`VaultFull`, `NotGranted`, …).
        """

    def drain(self) -> None:
        """Return when every pack sent so far is acknowledged by the vault; raises as `send` does."""


class BlockSource(Protocol):
    """Reads ranges of stored packs."""

    def read(self, pack: PackId, *, offset: int, length: int) -> bytes:
        """Exactly `length` bytes of the pack at `offset`.

        Raises DamagedObject when the vault no longer holds them, ServerUnreachable after retries. Never
        trusts what it returns: the caller authenticates it.
        """


class ChunkIndex(Protocol):
    """Which chunks the vault already holds, as this device knows it. A cache, safe to lose."""

    def find(self, ids: Sequence[ChunkId]) -> Mapping[ChunkId, ChunkAddress]:
        """The addresses of those of `ids` that are held (in committed packs, or in packs of this run)."""


class PageCache(Protocol):
    """Pages kept beside the client, sealed there by the implementation."""

    def get(self, page: PageId) -> bytes | None:
        """The page's plaintext, or None. The caller checks it against its id all the same."""

    def put(self, page: PageId, content: bytes) -> None: ...

    def packs_of(self, page: PageId) -> frozenset[PackId] | None:
        """Memo: the packs that this page and all pages under it name; None where not known."""

    def note_packs(self, page: PageId, packs: frozenset[PackId]) -> None: ...


# --- the disk


class FileStat(NamedTuple):
    """lstat of one name. Times in nanoseconds; `blocks` in units of 512 bytes.

    A tuple, so that `zip(*stats)` turns many into columns without a line of Python per file.
    """

    mode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int
    links: int
    uid: int
    gid: int
    rdev: int
    blocks: int


class OpenFile(Protocol):
    """A regular file open for reading."""

    def read_into(self, buffer: memoryview, *, offset: int) -> int:
        """Bytes read at `offset`; 0 at the end."""

    def data_ranges(self, size: int) -> Iterator[tuple[int, int]]:
        """(offset, length) of the parts that are not holes."""

    def stat(self) -> FileStat: ...

    def xattrs(self) -> list[tuple[bytes, bytes]]: ...

    def close(self) -> None: ...


class Directory(Protocol):
    """An open directory: every name is looked up relative to it, no link followed (`openat`)."""

    def names(self) -> list[bytes]:
        """All names but `.` and `..`, unsorted."""

    def stat(self, name: bytes) -> FileStat: ...

    def stats(self, names: Sequence[bytes]) -> list[FileStat | OSError]:
        """`stat` of many at once (the hot path)."""

    def stat_self(self) -> FileStat: ...

    def open_file(self, name: bytes) -> OpenFile: ...

    def read_unchanged(self, names: Sequence[bytes], found: Sequence[FileStat], into: memoryview) -> int:
        """How many of `names`, from the first on, are still as `found` and without attributes (the hot path).

        Of these the files were read, each whole, into `into`, one behind another. The first that cannot be
        opened or read, differs once it was read, or has extended attributes, ends it. Only files and
        directories may be asked for.
        """

    def open_directory(self, name: bytes) -> Directory: ...

    def read_link(self, name: bytes) -> bytes: ...

    def xattrs(self, name: bytes) -> list[tuple[bytes, bytes]]:
        """Sorted; [] where the file system has none."""

    def close(self) -> None: ...


class SourceDisk(Protocol):
    """The machine being backed up."""

    def open_root(self, path: bytes) -> Directory:
        """The directory `path` (absolute); its parents may be links, itself is resolved first."""

    def owner(self, uid: int, gid: int) -> Owner:
        """With the names these ids have here; remembered."""

    def mount_of(self, device: int, path: bytes) -> tuple[bytes, str]:
        """(mount point, file-system type) of the file system `device` met at `path`."""


class Overwrite(Enum):
    """What to do where a restored path already exists."""

    NEVER = "never"
    OLDER = "older"
    ALWAYS = "always"


class Special(Enum):
    """Whether device nodes, and set-id bits, are made."""

    SKIP = "skip"
    RESTORE = "restore"


class Ownership(Enum):
    """Whose ids restored files get, where this machine may give them away at all."""

    BY_NAME = "name"
    """Those that the owner's names have on this machine; the stored ids where it has no such name."""
    BY_ID = "id"


class Placement(Enum):
    """What may happen to something that has the name already."""

    ADD = "add"
    """Nothing: the new one is given up."""
    REPLACE = "replace"
    """It is replaced when the new one appears; a directory only where it is empty."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is set on a restored object. `mode` has no set-id bits unless Special.RESTORE."""

    mode: int
    owner: Owner
    mtime_ns: int
    xattrs: Sequence[tuple[bytes, bytes]] = ()


class StagedFile(Protocol):
    """A large file being written beside its place. Not yet anywhere to be seen."""

    def write(self, data: bytes | memoryview, *, offset: int) -> None:
        """Raises TargetFull."""

    def finish(self, *, size: int, metadata: Metadata, placement: Placement) -> list[str]:
        """Give it its size (unwritten parts are holes) and metadata; from here on as `put_file`.

        Directories asked for before are no longer valid.
        """

    def discard(self) -> None: ...


class TargetDirectory(Protocol):
    """A directory inside the restore target; nothing done through it can leave the target.

    What the `put_…` methods make appears under its name at the next `publish`, complete with its metadata.
    They return what of the metadata could not be set, as short texts, and never raise for lack of rights to
    set it. They raise OSError when this one object cannot be made, TargetFull when none can.
    """

    def existing(self, name: bytes) -> FileStat | None:
        """lstat of what has the name now, put there by nobody's restore or an earlier batch."""

    def make_directory(self, name: bytes, *, placement: Placement) -> None:
        """A new directory, open to this user alone until `set_metadata`."""

    def put_file(
        self,
        name: bytes,
        parts: Sequence[bytes | memoryview],
        *,
        metadata: Metadata,
        placement: Placement,
    ) -> list[str]:
        """A whole file at once, the concatenation of `parts` (the hot path)."""

    def stage_file(self, name: bytes) -> StagedFile:
        """A file that is written piece by piece."""

    def put_link(
        self, name: bytes, *, target: bytes, metadata: Metadata, placement: Placement
    ) -> list[str]: ...

    def put_special(
        self, name: bytes, *, device: tuple[int, int] | None, metadata: Metadata, placement: Placement
    ) -> list[str]:
        """A FIFO or device node, by the type in `metadata.mode`."""

    def put_hard_link(self, name: bytes, *, directory: bytes, existing: bytes, placement: Placement) -> None:
        """Another name of what this restore put as `existing` into the directory with the key `directory`."""

    def set_metadata(self, metadata: Metadata) -> list[str]:
        """Of the directory itself, once nothing more is put into it."""


class TargetDisk(Protocol):
    """The restore target. For one thread at a time."""

    def directory(self, key: bytes) -> TargetDirectory:
        """The directory with this key (`Entry.directory`), missing parts made. Valid until the next call.

        Raises UnsafePath where a component is a link or no directory.
        """

    def existing(self, key: bytes, names: Sequence[bytes]) -> Mapping[bytes, FileStat]:
        """lstat of those of `names` that are in the directory now; makes nothing, follows no link."""

    def publish(self) -> list[tuple[bytes, bytes, str]]:
        """Sync all content once (`syncfs`), then let all that was put appear, each by one rename.

        Returns what could not appear: (directory key, name, why). Raises TargetFull when syncing fails;
        then nothing of the batch appeared.
        """

    def close(self) -> None:
        """Remove whatever was put and not published."""


# --- time and progress


class Clock(Protocol):
    def now_ns(self) -> int:
        """Wall clock, nanoseconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds, for durations."""


class Problem(Enum):
    """Why a path is not, or not fully, protected or restored."""

    UNREADABLE = "could not be read"
    VANISHED = "vanished during the run"
    CHANGED = "changed while it was read"
    UNSUPPORTED = "is of a kind that is not backed up"
    DAMAGED = "its stored content is damaged"
    METADATA = "not all of its metadata could be set"
    EXISTS = "exists already and was left alone"
    SKIPPED = "needs --special"
    WRITE = "could not be written"
    UNSAFE = "has a name or place that would leave the target"


class Progress(Protocol):
    """Told what happens; must be cheap, it is called often."""

    def found(self, *, files: int, content: int) -> None:
        """`files` regular files of `content` bytes were dealt with (changed or not)."""

    def stored(self, *, new: int, sealed: int) -> None:
        """`new` bytes of new content became `sealed` bytes of pack."""

    def at(self, path: bytes) -> None: ...

    def problem(self, path: bytes, problem: Problem, *, detail: str) -> None: ...

    def excluded(self, path: bytes, *, rule: str) -> None: ...


StopRequested = Callable[[], bool]
"""Asked between batches: True once the person pressed Ctrl-C."""


# --- rules


class Excludes(Protocol):
    """Exclusion rules of a set, in gitignore syntax, matched against the path below the root."""

    def rules_for(
        self, directory: bytes, names: Sequence[bytes], *, directories: Collection[bytes]
    ) -> Mapping[bytes, str]:
        """Those of `names` in `directory` (absolute, ending in a slash) that a rule excludes, with the rule.

        `directories` are those of `names` that are directories. The hot path: asked once for a slice of a
        directory, and in most answers an empty mapping.
        """

    @property
    def tag_files(self) -> Collection[bytes]:
        """Names that exclude what their directory holds, unless it is a root: `CACHEDIR.TAG`, `.nobackup`."""

    def is_tagged(self, directory: Directory, names: Collection[bytes]) -> str | None:
        """The tag that excludes this directory's content, if any (of CACHEDIR.TAG, the signature counts)."""
