"""Making a snapshot exist: head, reference set, compare-and-swap. docs/design/protocol.md, "Commit".

The sealed head lies on disk before it is sent. A run killed in between leaves it there; the next run finds
that snapshot among the newest heads, or not at all, for the server takes all of a commit or nothing.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from muniment import __version__
from muniment.client.home.places import write_private
from muniment.client.state.chunk_index import LocalChunkIndex
from muniment.client.state.database import Database
from muniment.client.state.known_heads import KnownHeads, OpenedHead, testimony
from muniment.client.transport.refusals import CommitRefused, NotOnServer
from muniment.client.transport.session import Session
from muniment.client.vault.opening import OpenVault, examine
from muniment.engine.archive import ArchiveResult
from muniment.format.head import seal_head, snapshot_id
from muniment.model.errors import DamagedObject, DeviceCloned, SessionExpired
from muniment.model.ids import DeviceId, PackId, SetId, SnapshotId
from muniment.model.snapshot import Head
from muniment.wire import messages as wire

_REBASES = 10
_WRONG_BASE = frozenset({"parent", "packs_hash"})


@dataclass(frozen=True, slots=True)
class Committing:
    """What stays the same for all commits of a run."""

    vault: OpenVault
    device: DeviceId
    database: Database
    index: LocalChunkIndex
    session: Session
    set_name: str
    roots: tuple[bytes, ...]
    excluded: tuple[str, ...]
    started_ns: int
    now_ns: Callable[[], int]
    spooled_head: Path

    @property
    def set_id(self) -> SetId:
        return self.vault.keys.set_id(self.device, self.set_name)


@dataclass(slots=True)
class Commits:
    """The commits of one run, each the child of the one before."""

    run: Committing
    heads: tuple[OpenedHead, ...]
    newest: OpenedHead | None
    """Of this device and set: what the run compares with, then what it committed last."""
    lost: frozenset[PackId] = frozenset()
    """Packs known to be lost. What still needs one (a kept entry) carries it on, said to be damaged."""
    names_all_packs: bool = False
    """Whether commits name their whole reference set instead of what changed."""

    @classmethod
    def begin(cls, run: Committing) -> Commits:
        return cls(run, run.vault.heads, run.vault.newest_of(run.device, run.set_id))

    def commit(self, result: ArchiveResult) -> OpenedHead:
        """Commit a drained result. Raises CommitRefused (`missing`) where packs have to be made again."""
        for _ in range(_REBASES):
            head = self._head(result)
            try:
                return self._send(head, result)
            except CommitRefused as refusal:
                if refusal.reason == "counter":
                    self._catch_up()
                elif refusal.reason in _WRONG_BASE and not self.names_all_packs:
                    # What the server has for the parent is gone or another: no delta, then.
                    self.names_all_packs = True
                else:
                    raise
        raise DeviceCloned(
            "other runs keep committing as this device faster than this one can follow",
            advice="See that no copy of this machine runs elsewhere; enrol it anew if one does.",
        )

    # --- inside

    def _head(self, result: ArchiveResult) -> Head:
        run = self.run
        last = self._last_of_device()
        return Head(
            device=run.device,
            installation=run.database.installation,
            counter=last.head.counter + 1 if last else 1,
            set_id=run.set_id,
            set_name=run.set_name,
            started_ns=run.started_ns,
            ended_ns=run.now_ns(),
            roots=run.roots,
            root=result.root,
            counts=result.counts,
            parent=self.newest.snapshot if self.newest else None,
            slot_list_number=run.vault.slots.number,
            slot_list_hash=run.vault.slots.hash,
            partial=result.partial,
            seen=testimony(self.heads, besides=run.device),
            file_systems=result.file_systems,
            excluded=run.excluded,
            host=socket.gethostname(),
            client_version=__version__,
        )

    def _send(self, head: Head, result: ArchiveResult) -> OpenedHead:
        run = self.run
        sealed = seal_head(run.vault.keys, head)
        snapshot = snapshot_id(sealed)
        base, held = self._base()
        last = self._last_of_device()
        foreign = last is not None and last.head.installation != head.installation
        message = wire.Commit(
            session=run.session.current.hex,
            installation=head.installation.hex,
            counter=head.counter,
            set_id=run.set_id.hex,
            parent=base.hex if base else None,
            head=sealed,
            add=sorted(pack.hex for pack in result.packs - held),
            remove=sorted(pack.hex for pack in held - result.packs),
            packs_hash=hash_of_packs(result.packs),
            partial=head.partial,
            slot_list_number=head.slot_list_number,
            index_packs=[
                wire.IndexPackInfo(
                    pack=index_pack.pack.pack_id.hex,
                    epoch=index_pack.pack.epoch,
                    size=index_pack.pack.size,
                    covers=[covered.hex for covered in index_pack.covers],
                )
                for index_pack in result.index_packs
            ],
            continues=last.snapshot.hex if foreign and last else None,
            damaged=sorted(pack.hex for pack in self.lost & held & result.packs),
        )
        write_private(run.spooled_head, sealed)
        committed = self._send_in_session(message)
        if committed.snapshot != snapshot.hex:
            raise DamagedObject("the answer to a commit", why="it names another snapshot than was sent")
        opened = OpenedHead(snapshot, head, committed.received_at)
        self._settle(opened, result, instead_of=base)
        return opened

    def _send_in_session(self, message: wire.Commit) -> wire.Committed:
        run = self.run
        try:
            return run.vault.server.commit(run.vault.vault, message)
        except SessionExpired:
            renewed = run.session.renew(run.session.current)
            fields = {name: getattr(message, name) for name in message.__struct_fields__}
            return run.vault.server.commit(run.vault.vault, wire.Commit(**fields | {"session": renewed.hex}))

    def _settle(self, opened: OpenedHead, result: ArchiveResult, *, instead_of: SnapshotId | None) -> None:
        run = self.run
        known = KnownHeads(run.database)
        with run.database.transaction():
            known.remember([opened])
            known.note_reference_set(opened.snapshot, result.packs, instead_of=instead_of)
            run.index.mark_committed(result.packs | {item.pack.pack_id for item in result.index_packs})
        run.spooled_head.unlink(missing_ok=True)
        place = (opened.head.device, opened.head.set_id)
        others = [old for old in self.heads if (old.head.device, old.head.set_id) != place]
        self.heads = (*others, opened)
        self.newest = opened

    def _base(self) -> tuple[SnapshotId | None, frozenset[PackId]]:
        """The snapshot whose reference set the delta starts from, and that set."""
        if self.newest is None or self.names_all_packs:
            return None, frozenset()
        snapshot = self.newest.snapshot
        known = KnownHeads(self.run.database).reference_set(snapshot)
        if known is not None:
            return snapshot, known
        try:
            infos = self.run.vault.server.snapshot_packs(self.run.vault.vault, snapshot)
        except NotOnServer:
            return None, frozenset()  # forgotten meanwhile: name every pack
        return snapshot, frozenset(PackId.parse(info.pack) for info in infos)

    def _last_of_device(self) -> OpenedHead | None:
        own = [opened for opened in self.heads if opened.head.device == self.run.device]
        return max(own, key=lambda opened: opened.head.counter, default=None)

    def _catch_up(self) -> None:
        """Another set of this device committed meanwhile (or an answer was lost): go on from there."""
        run = self.run
        reply = run.vault.server.keys(run.vault.vault)
        # With the same distrust as at the start: a refusal must not make an older history believed.
        _, shown = examine(run.vault.server, run.vault.keys, reply, device=run.device, database=run.database)
        self.heads = shown.opened
        self.newest = replace(run.vault, heads=self.heads).newest_of(run.device, run.set_id)


def hash_of_packs(packs: frozenset[PackId]) -> bytes:
    """SHA-256 of the sorted pack ids, concatenated: what a reference set is compared by."""
    return hashlib.sha256(b"".join(sorted(pack.raw for pack in packs))).digest()
