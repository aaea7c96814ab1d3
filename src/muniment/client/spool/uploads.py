"""The engine's PackSink: spool, record, upload in the background, remove what is acknowledged.

| beside | send | upload thread | drain |
|---|---|---|---|
| send | one lock around the queue; a file each | a file has its name before it is queued | drain waits |
| upload thread | – | each takes another pack | counted as under way until acknowledged |
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping

from muniment.client.spool.directory import SpoolDirectory, SpooledPack
from muniment.client.state.chunk_index import LocalChunkIndex
from muniment.client.transport.connections import FileBody
from muniment.client.transport.refusals import NotOnServer
from muniment.client.transport.server import Server
from muniment.client.transport.session import Session
from muniment.crypto.keys import VaultKeys
from muniment.engine.ports import StopRequested
from muniment.format.pack import check_pack
from muniment.model.errors import DamagedObject, Interrupted, MunimentError, SessionExpired, TargetFull
from muniment.model.ids import ChunkId, PackId, VaultId
from muniment.model.packs import ChunkAddress, SealedPack
from muniment.wire import messages as wire

UPLOADS = 4
SPOOL_MOST = 1 << 30
"""`send` waits while more bytes than this lie in the spool."""

STOP_PATIENCE = 10.0
"""Seconds that a stopped run goes on sending, so that what it has can be committed, before it gives up."""

_ASK_AT_ONCE = 1000


class Spool:
    """One run's way to the vault. Leaving its `with` block stops the threads after their current pack."""

    def __init__(
        self,
        directory: SpoolDirectory,
        *,
        index: LocalChunkIndex,
        keys: VaultKeys,
        server: Server,
        session: Session,
        uploads: int = UPLOADS,
        most: int = SPOOL_MOST,
        sent: Callable[[int], None] = lambda _size: None,
        stop: StopRequested = lambda: False,
    ) -> None:
        self._directory, self._index, self._keys = directory, index, keys
        self._server, self._session, self._sent, self._most = server, session, sent, most
        self._stop = stop
        self._waiting: deque[SpooledPack] = deque()
        self._changed = threading.Condition()
        self._bytes = 0
        self._under_way = 0
        self._failure: MunimentError | None = None
        self._closing = False
        self.sent_packs: set[PackId] = set()
        """Acknowledged during this run."""
        self._threads = [
            threading.Thread(target=self._upload_all, name=f"upload-{number}", daemon=True)
            for number in range(uploads)
        ]

    def __enter__(self) -> Spool:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closing = True
            self._waiting.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    @property
    def vault(self) -> VaultId:
        return self._keys.vault

    @property
    def backlog(self) -> int:
        """Bytes sealed and not acknowledged."""
        return self._bytes

    # --- the engine's port

    def send(self, pack: SealedPack, content: memoryview, chunks: Mapping[ChunkId, ChunkAddress]) -> None:
        with self._changed:
            while self._bytes and self._bytes + pack.size > self._most and self._failure is None:
                if self._stop():
                    break  # one pack more than fits is soon written; room on a slow line is not soon made
                self._changed.wait(1.0)
            self._raise_failure()
            self._bytes += pack.size
        try:
            spooled = self._write(pack, content)
            # A page pack is recorded too: an acknowledged pack that no snapshot holds yet must be asked for.
            self._index.add_pack(pack.pack_id, kind=pack.kind, epoch=pack.epoch, chunks=chunks)
        except BaseException:
            with self._changed:
                self._bytes -= pack.size
            raise
        self._queue(spooled)

    def drain(self) -> None:
        """As the port says; Interrupted where a stop was asked for and much is left to send."""
        give_up: float | None = None
        with self._changed:
            while (self._waiting or self._under_way) and self._failure is None:
                self._changed.wait(1.0)
                if give_up is None and self._stop():
                    give_up = time.monotonic() + STOP_PATIENCE
                if give_up is not None and self._waiting and time.monotonic() >= give_up:
                    raise Interrupted(
                        f"stopped with {len(self._waiting)} sealed packs not yet sent",
                        advice="They stay on this machine; run the same command again to go on from here.",
                    )
            self._raise_failure()

    # --- resuming

    def resume(self) -> int:
        """Queue what an earlier run sealed and the vault lacks; returns how many packs that is."""
        leftovers = self._directory.leftovers()
        unknown = self._index.unknown_of(spooled.pack.pack_id for spooled in leftovers)
        held = self._held([spooled.pack.pack_id for spooled in leftovers])
        queued = 0
        for spooled in leftovers:
            pack = spooled.pack
            stored = held.get(pack.pack_id) == pack.sha256
            # Its hash was taken just now, from a file that was never synced: that it is whole shows here.
            needs_look = pack.pack_id in unknown or not stored
            if needs_look and self._admit(spooled, unknown) and not stored:
                self._queue_again(spooled)
                queued += 1
            else:
                spooled.path.unlink(missing_ok=True)
        self._drop_lost()
        return queued

    def adopt(self, missing: Collection[PackId]) -> set[PackId]:
        """Queue those of `missing` that another set sealed and has not sent; returns them.

        The index is one for all sets of a vault, so a run may lean on what the run of another set, at work or
        killed, has only sealed.
        """
        adopted: set[PackId] = set()
        for pack in missing:
            spooled = self._directory.adopt(pack)
            if spooled is None:
                continue
            if self._admit(spooled, set()):
                self._queue_again(spooled)
                adopted.add(pack)
            else:
                spooled.path.unlink(missing_ok=True)
        return adopted

    def _admit(self, spooled: SpooledPack, unknown: set[PackId]) -> bool:
        """Whether a pack is whole. Where the state does not know it, its own index tells of its chunks."""
        pack = spooled.pack
        try:
            index = check_pack(self._keys, spooled.path.read_bytes(), pack_id=pack.pack_id)
        except (MunimentError, OSError):
            return False
        if pack.pack_id in unknown:
            chunks = dict(index.chunks())
            self._index.add_pack(pack.pack_id, kind=pack.kind, epoch=pack.epoch, chunks=chunks)
        return True

    def _drop_lost(self) -> None:
        """Packs recorded, not committed, in no set's spool: the vault may have let them go meanwhile."""
        recorded = self._index.uncommitted()
        # Looked at after: a run of another set spools a pack before it records it, and removes it once held.
        spooled = self._directory.kept_for_any_set()
        doubtful = [pack for pack in recorded if pack not in spooled]
        held = self._held(doubtful)
        self._index.drop_packs([pack for pack in doubtful if pack not in held])

    def _held(self, packs: list[PackId]) -> dict[PackId, bytes]:
        held: dict[PackId, bytes] = {}
        for start in range(0, len(packs), _ASK_AT_ONCE):
            part = [pack.hex for pack in packs[start : start + _ASK_AT_ONCE]]
            request = wire.KnownPacksRequest(session=self._session.current.hex, packs=part)
            answer = self._server.known_packs(self.vault, request)
            held |= {PackId.parse(text): digest for text, digest in answer.held.items()}
        return held

    # --- inside

    def _write(self, pack: SealedPack, content: memoryview) -> SpooledPack:
        while True:
            try:
                return self._directory.write(pack, content)
            except OSError as error:
                with self._changed:
                    # Uploads free room; only when nothing is left to upload is the disk really full.
                    if self._waiting or self._under_way:
                        self._changed.wait(1.0)
                        self._raise_failure()
                        continue
                raise TargetFull(
                    f"sealed packs cannot be kept in {self._directory.path}: {error.strerror}",
                    advice="Make room on that disk, or move it with MUNIMENT_HOME, and run again.",
                ) from error

    def _queue_again(self, spooled: SpooledPack) -> None:
        with self._changed:
            self._bytes += spooled.pack.size
        self._queue(spooled)

    def _queue(self, spooled: SpooledPack) -> None:
        with self._changed:
            self._waiting.append(spooled)
            self._changed.notify()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _upload_all(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if self._closing or self._failure is not None:
                    return
                spooled = self._waiting.popleft()
                self._under_way += 1
            failure: MunimentError | None = None
            try:
                self._upload(spooled)
            except MunimentError as error:
                failure = error
            except Exception as error:
                failure = MunimentError(f"pack {spooled.pack.pack_id} could not be sent: {error!r}")
            with self._changed:
                self._under_way -= 1
                if failure is None:
                    self._bytes -= spooled.pack.size
                elif self._failure is None:
                    self._failure = failure
                self._changed.notify_all()

    def _upload(self, spooled: SpooledPack) -> None:
        session = self._session.current
        for attempt in range(3):
            try:
                with spooled.path.open("rb") as file:
                    body = FileBody(file, spooled.pack.size)
                    self._server.put_pack(self.vault, session, spooled.pack, body)
                break
            except SessionExpired:
                if attempt == 2:
                    raise
                session = self._session.renew(session)
            except DamagedObject:
                # The vault holds other bytes under this id; ours can never be stored.
                spooled.path.unlink(missing_ok=True)
                self._index.drop_packs([spooled.pack.pack_id])
                raise
        self.sent_packs.add(spooled.pack.pack_id)
        spooled.path.unlink(missing_ok=True)
        self._sent(spooled.pack.size)


class VaultPacks:
    """The engine's BlockSource: ranges of packs, from the spool while they are there, else from the vault."""

    def __init__(
        self,
        server: Server,
        vault: VaultId,
        spool: SpoolDirectory | None,
        *,
        fetched: Callable[[int], None] = lambda _size: None,
    ) -> None:
        self._server, self._vault, self._spool, self._fetched = server, vault, spool, fetched

    def read(self, pack: PackId, *, offset: int, length: int) -> bytes:
        if self._spool is not None:
            local = self._spool.read(pack, offset=offset, length=length)
            if local is not None:
                return local
        try:
            content = self._server.read_pack(self._vault, pack, offset=offset, length=length)
        except NotOnServer as error:
            # It was acknowledged once. This costs what needs the pack, and nothing else.
            raise DamagedObject(f"pack {pack}", why=f"the vault no longer has it ({error.message})") from None
        self._fetched(length)
        return content
