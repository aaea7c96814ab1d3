"""A run that stores nothing: walk, reading, cutting and sealing as ever, into a sink that keeps addresses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backports import zstd

from muniment.client.backup.run import BackupRequest
from muniment.client.spool.uploads import VaultPacks
from muniment.client.state.chunk_index import LocalChunkIndex
from muniment.client.state.page_cache import LocalPageCache
from muniment.client.telling.progress import RunProgress
from muniment.client.vault.opening import OpenVault
from muniment.engine.archive import ArchiveRequest, ArchiveResult, archive
from muniment.engine.ports import Clock, SourceDisk, StopRequested
from muniment.model.errors import UsageError
from muniment.model.ids import ChunkId, PackId, PageId
from muniment.model.packs import ChunkAddress, SealedPack


class _Nowhere:
    """Sink and index in one: chunks that were 'sent' are found again, the real index knows the others."""

    def __init__(self, index: LocalChunkIndex) -> None:
        self._index = index
        self._sent: dict[ChunkId, ChunkAddress] = {}

    def send(self, pack: SealedPack, content: memoryview, chunks: Mapping[ChunkId, ChunkAddress]) -> None:
        self._sent.update(chunks)

    def drain(self) -> None:
        pass

    def find(self, ids: Sequence[ChunkId]) -> Mapping[ChunkId, ChunkAddress]:
        found = {chunk: self._sent[chunk] for chunk in ids if chunk in self._sent}
        return {**self._index.find([chunk for chunk in ids if chunk not in found]), **found}


class _FleetingPages:
    """The page cache, into which nothing of this try goes; new pages are kept, compressed, while it lasts."""

    def __init__(self, pages: LocalPageCache) -> None:
        self._pages = pages
        self._new: dict[PageId, bytes] = {}
        self._noted: dict[PageId, frozenset[PackId]] = {}

    def get(self, page: PageId) -> bytes | None:
        frame = self._new.get(page)
        return self._pages.get(page) if frame is None else zstd.decompress(frame)

    def put(self, page: PageId, content: bytes) -> None:
        self._new[page] = zstd.compress(content, level=1)

    def packs_of(self, page: PageId) -> frozenset[PackId] | None:
        return self._noted.get(page) or self._pages.packs_of(page)

    def note_packs(self, page: PageId, packs: frozenset[PackId]) -> None:
        self._noted[page] = packs


def try_out(
    request: BackupRequest,
    *,
    vault: OpenVault,
    disk: SourceDisk,
    clock: Clock,
    progress: RunProgress,
    stop: StopRequested,
) -> ArchiveResult:
    """What `BackupRun.back_up` would do; no pack, page or snapshot comes of it."""
    if vault.database is None or vault.device is None:
        raise UsageError("a backup needs a connected machine")
    newest = vault.newest_of(vault.device, vault.keys.set_id(vault.device, request.set_name))
    nowhere = _Nowhere(LocalChunkIndex(vault.database))
    return archive(
        ArchiveRequest(
            roots=request.roots,
            excludes=request.excludes,
            parent=newest.head.root if newest else None,
            file_systems=newest.head.file_systems if newest else (),
            mounts=request.mounts,
            network_roots=request.network_roots,
            compression_level=request.compression_level,
            partial_after_bytes=1 << 62,
            partial_after_seconds=float("inf"),
        ),
        keys=vault.keys,
        disk=disk,
        sink=nowhere,
        source=VaultPacks(vault.server, vault.vault, None),
        index=nowhere,
        pages=_FleetingPages(LocalPageCache(vault.database, vault.keys)),
        clock=clock,
        progress=progress,
        stop=stop,
        on_partial=lambda _partial: None,
    )
