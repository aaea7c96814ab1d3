"""The engine's ports over plain objects: a vault in memory, a page cache, a clock, a recording progress.

Everything here is real but for durability: packs are sealed bytes, and what is read was sent.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from muniment.crypto.keys import VaultKeys
from muniment.engine.ports import Directory, Problem
from muniment.model.errors import DamagedObject
from muniment.model.ids import ChunkId, PackId, PageId, VaultId
from muniment.model.packs import ChunkAddress, PackKind, SealedPack


def new_keys() -> VaultKeys:
    return VaultKeys.generate(VaultId.random())


class MemoryVault:
    """PackSink, BlockSource and ChunkIndex over one dictionary of packs."""

    def __init__(self) -> None:
        self.packs: dict[PackId, tuple[SealedPack, bytes]] = {}
        self.chunks: dict[ChunkId, ChunkAddress] = {}
        self.reads: list[tuple[PackId, int, int]] = []
        self._lock = threading.Lock()

    def send(self, pack: SealedPack, content: memoryview, chunks: Mapping[ChunkId, ChunkAddress]) -> None:
        assert len(content) == pack.size
        with self._lock:
            self.packs[pack.pack_id] = (pack, bytes(content))
            self.chunks.update(chunks)

    def drain(self) -> None:
        """Every pack is here as soon as it was sent."""

    def read(self, pack: PackId, *, offset: int, length: int) -> bytes:
        self.reads.append((pack, offset, length))
        try:
            content = self.packs[pack][1][offset : offset + length]
        except KeyError:
            raise DamagedObject(f"pack {pack}", why="the vault does not hold it") from None
        if len(content) != length:
            raise DamagedObject(f"pack {pack}", why="it is shorter than that")
        return content

    def find(self, ids: Sequence[ChunkId]) -> Mapping[ChunkId, ChunkAddress]:
        chunks = self.chunks
        return {chunk: chunks[chunk] for chunk in ids if chunk in chunks}

    def of_kind(self, *kinds: PackKind) -> list[PackId]:
        return [pack_id for pack_id, (pack, _) in self.packs.items() if pack.kind in kinds]

    @property
    def stored_bytes(self) -> int:
        return sum(pack.size for pack, _ in self.packs.values())


class MemoryPages:
    """A page cache that forgets nothing."""

    def __init__(self) -> None:
        self.pages: dict[PageId, bytes] = {}
        self.packs: dict[PageId, frozenset[PackId]] = {}

    def get(self, page: PageId) -> bytes | None:
        return self.pages.get(page)

    def put(self, page: PageId, content: bytes) -> None:
        self.pages[page] = bytes(content)

    def packs_of(self, page: PageId) -> frozenset[PackId] | None:
        return self.packs.get(page)

    def note_packs(self, page: PageId, packs: frozenset[PackId]) -> None:
        self.packs[page] = packs


class ForgetfulPages(MemoryPages):
    """A page cache that keeps nothing: what a fresh machine has."""

    def get(self, page: PageId) -> bytes | None:
        return None


@dataclass
class RecordingProgress:
    """Remembers all it is told, but of directories only how many: paths can be long."""

    files: int = 0
    content: int = 0
    new: int = 0
    sealed: int = 0
    problems: list[tuple[bytes, Problem]] = field(default_factory=list)
    left_out: dict[bytes, str] = field(default_factory=dict)
    directories: int = 0

    def found(self, *, files: int, content: int) -> None:
        self.files += files
        self.content += content

    def stored(self, *, new: int, sealed: int) -> None:
        self.new += new
        self.sealed += sealed

    def at(self, path: bytes) -> None:
        self.directories += 1

    def problem(self, path: bytes, problem: Problem, *, detail: str) -> None:
        self.problems.append((path, problem))

    def excluded(self, path: bytes, *, rule: str) -> None:
        self.left_out[path] = rule


@dataclass
class SetClock:
    """A clock that stands still until moved. Starts at a moment later than any file a test makes."""

    now: int = 4_000_000_000_000_000_000
    seconds: float = 0.0

    def now_ns(self) -> int:
        return self.now

    def monotonic(self) -> float:
        return self.seconds


@dataclass
class NamedExcludes:
    """Excludes by bare names; tag files by name alone."""

    names: Collection[bytes] = ()
    tag_files: Collection[bytes] = ()

    def rules_for(
        self, directory: bytes, names: Sequence[bytes], *, directories: Collection[bytes]
    ) -> Mapping[bytes, str]:
        return {name: name.decode() for name in names if name in self.names}

    def is_tagged(self, directory: Directory, names: Collection[bytes]) -> str | None:
        return next((tag.decode() for tag in self.tag_files if tag in names), None)
