"""The run of a backup set: lock, session, spool, archive, commit, report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from muniment import __version__
from muniment.client.backup.commits import Commits, Committing
from muniment.client.backup.last_runs import note_run
from muniment.client.backup.learning import learn_index_packs
from muniment.client.home.locks import run_lock
from muniment.client.spool.directory import SpoolDirectory
from muniment.client.spool.uploads import Spool, VaultPacks
from muniment.client.state.chunk_index import LocalChunkIndex
from muniment.client.state.database import Database
from muniment.client.state.known_heads import OpenedHead
from muniment.client.state.page_cache import LocalPageCache
from muniment.client.telling.progress import RunProgress
from muniment.client.transport.refusals import CommitRefused
from muniment.client.transport.server import clock_warning
from muniment.client.transport.session import Session
from muniment.client.vault.holders import fold_due_removals
from muniment.client.vault.opening import OpenVault
from muniment.client.vault.snapshots import set_aside_lines
from muniment.engine.archive import ArchiveRequest, ArchiveResult, archive
from muniment.engine.ports import Clock, Excludes, SourceDisk, StopRequested
from muniment.engine.roots import MountRule
from muniment.format.block import DEFAULT_LEVEL
from muniment.model.errors import DamagedObject, Interrupted, MunimentError
from muniment.model.ids import DeviceId, PackId
from muniment.wire import messages as wire

_PASSES = 3
"""Times an archive pass is repeated because the vault turned out to lack packs."""

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class BackupRequest:
    """What to back up. `roots` are resolved, absolute paths."""

    set_name: str
    roots: tuple[bytes, ...]
    excludes: Excludes
    excluded_rules: tuple[str, ...] = ()
    mounts: MountRule = MountRule.CROSS
    network_roots: tuple[bytes, ...] = ()
    compression_level: int = DEFAULT_LEVEL
    partial_after_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class BackupOutcome:
    snapshot: OpenedHead
    result: ArchiveResult
    resumed_packs: int
    warnings: tuple[str, ...]


@dataclass(slots=True)
class BackupRun:
    """Everything a run works with. `back_up` is called once."""

    vault: OpenVault
    device: DeviceId
    database: Database
    state: Path
    disk: SourceDisk
    clock: Clock
    progress: RunProgress
    stop: StopRequested
    warnings: list[str] = field(default_factory=list)
    warn: Callable[[str], None] = lambda _text: None

    def back_up(self, request: BackupRequest) -> BackupOutcome:
        """Raises the errors of transport and engine; Interrupted after what was sealed is safe."""
        set_id = self.vault.keys.set_id(self.device, request.set_name)
        with run_lock(self.state / "locks" / f"{set_id}.lock", name=request.set_name):
            cursor = int.from_bytes(self.database.get("cursor") or b"")
            session = Session(
                self.vault.server, self.vault.vault, purpose="backup", version=__version__, cursor=cursor
            )
            begun = self.clock.monotonic()
            try:
                outcome = self._run(request, session, set_id.hex)
            except Interrupted:
                self._report(session, set_id.hex, "interrupted", None, begun)
                session.close()
                raise
            except MunimentError:
                session.abandon()
                raise
            verdict: Literal["done", "incomplete"] = "incomplete" if outcome.result.problems else "done"
            self._report(session, set_id.hex, verdict, outcome.result, begun)
            session.close()
            return outcome

    def tell(self, warning: str | None) -> None:
        """Keep a warning for the result, and say it now."""
        if warning:
            self.warnings.append(warning)
            self.warn(warning)

    # --- inside

    def _run(self, request: BackupRequest, session: Session, set_name: str) -> BackupOutcome:
        self.vault = fold_due_removals(self.vault)
        self.warnings += set_aside_lines(self.vault, self.vault.set_aside)  # said when it was opened
        self.tell(clock_warning(session.opened.server_time, now=self.clock.now_ns() / 1e9))
        self.database.begin_run()
        index = LocalChunkIndex(self.database)
        lost = frozenset(PackId.parse(text) for text in session.opened.quarantined)
        index.drop_packs(lost)
        pages = LocalPageCache(self.database, self.vault.keys)
        directory = SpoolDirectory(self.state / "spool" / set_name)
        source = VaultPacks(self.vault.server, self.vault.vault, directory)
        self._learn(session, index, source)
        run = Committing(
            vault=self.vault,
            device=self.device,
            database=self.database,
            index=index,
            session=session,
            set_name=request.set_name,
            roots=request.roots,
            excluded=request.excluded_rules,
            started_ns=self.clock.now_ns(),
            now_ns=self.clock.now_ns,
            spooled_head=directory.path / "head",
        )
        commits = Commits.begin(run)
        commits.lost = lost
        spool = Spool(
            directory,
            index=index,
            keys=self.vault.keys,
            server=self.vault.server,
            session=session,
            sent=self.progress.sent_pack,
            stop=self.stop,
        )
        self.progress.backlog = lambda: spool.backlog
        with spool:
            resumed = spool.resume()
            work = _Work(self, request, spool, source, index, pages, commits)
            result, snapshot = work.archive_and_commit()
        with self.database.transaction():
            pages.drop_unused()
            self.database.end_run()
            self.database.put("cursor", session.opened.cursor.to_bytes(8))
            note_run(self.database, request.set_name, started=run.started_ns / 1e9, problems=result.problems)
        return BackupOutcome(snapshot, result, resumed, tuple(self.warnings))

    def _learn(self, session: Session, index: LocalChunkIndex, source: VaultPacks) -> None:
        learned = learn_index_packs(
            session.opened.index_packs, index=index, keys=self.vault.keys, source=source
        )
        for pack, why in learned.refused:
            self.tell(f"the index pack {pack} is not believed: {why}. Its chunks will be stored again.")

    def _report(
        self,
        session: Session,
        set_id: str,
        outcome: Literal["done", "incomplete", "interrupted"],
        result: ArchiveResult | None,
        begun: float,
    ) -> None:
        coverage = result.coverage if result else None
        counts = (
            {name: getattr(coverage, name) for name in wire.Coverage.__struct_fields__} if coverage else {}
        )
        report = wire.RunReport(
            session=session.current.hex,
            set_id=set_id,
            outcome=outcome,
            coverage=wire.Coverage(**counts),
            bytes_bound=bound_of(self.progress.content),
            seconds=round(self.clock.monotonic() - begun, 3),
            client_version=__version__,
        )
        try:
            self.vault.server.report_run(self.vault.vault, report)
        except MunimentError as error:
            # The snapshot is there; that the report is not takes nothing from it.
            self.tell(f"the run could not be reported: {error.message}")


@dataclass(slots=True)
class _Work:
    """Archive passes until one could be committed."""

    run: BackupRun
    request: BackupRequest
    spool: Spool
    source: VaultPacks
    index: LocalChunkIndex
    pages: LocalPageCache
    commits: Commits
    compare_with_parent: bool = True

    def archive_and_commit(self) -> tuple[ArchiveResult, OpenedHead]:
        for attempt in range(_PASSES):
            try:
                result = self._archive()
                self._drain()
                return result, self._commit(result)
            except CommitRefused as refusal:
                if attempt == _PASSES - 1:
                    raise
                self._forget_missing(refusal)
            except DamagedObject as error:
                if not self.compare_with_parent or self.commits.newest is None:
                    raise
                # The parent cannot be read through: without it every file is opened, and nothing is missed.
                self.run.tell(f"the newest snapshot cannot be compared with: {error.message}")
                self.compare_with_parent = False
        raise AssertionError("unreachable")

    def _archive(self) -> ArchiveResult:
        run, request = self.run, self.request
        newest = self.commits.newest
        parent = newest.head if newest and self.compare_with_parent else None
        wanted = ArchiveRequest(
            roots=request.roots,
            excludes=request.excludes,
            parent=parent.root if parent else None,
            file_systems=parent.file_systems if parent else (),
            lost_packs=self.commits.lost,
            mounts=request.mounts,
            network_roots=request.network_roots,
            compression_level=request.compression_level,
        )
        if request.partial_after_bytes:
            wanted = replace(wanted, partial_after_bytes=request.partial_after_bytes)
        try:
            return archive(
                wanted,
                keys=run.vault.keys,
                disk=run.disk,
                sink=self.spool,
                source=self.source,
                index=self.index,
                pages=self.pages,
                clock=run.clock,
                progress=run.progress,
                stop=run.stop,
                on_partial=self._commit_partial,
            )
        finally:
            self.pages.flush()

    def _commit_partial(self, partial: ArchiveResult) -> None:
        self._drain()
        self._commit(partial)

    def _commit(self, result: ArchiveResult) -> OpenedHead:
        try:
            return self.commits.commit(result)
        except CommitRefused as refusal:
            if not self.spool.adopt([PackId.parse(text) for text in refusal.missing]):
                raise
            self._drain()
            return self.commits.commit(result)

    def _drain(self) -> None:
        self.pages.flush()
        self.run.progress.only_sending()
        try:
            self.spool.drain()
        finally:
            self.run.progress.reading_again()

    def _forget_missing(self, refusal: CommitRefused) -> None:
        """The vault lacks packs that this machine believed to be there: store their chunks anew."""
        missing = frozenset(PackId.parse(text) for text in refusal.missing)
        if not missing:
            raise refusal
        self.index.drop_packs(missing)
        self.commits.lost |= missing
        self.run.tell(f"the vault lacked {len(missing)} packs; what they held is read and stored again")


def bound_of(size: int) -> int:
    """`size` rounded up to a power of two of at least 1 MiB: all that the server is told of it."""
    return max(_MIB, 1 << max(0, size - 1).bit_length())
