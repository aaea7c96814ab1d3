"""The vault as ordinary files, still sealed. docs/design/export.md has the layout; `tests/conformance` a
reader.

Repeating an export into the same directory fetches only what is not there yet.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from muniment.client.spool.uploads import VaultPacks
from muniment.client.state.known_heads import OpenedHead
from muniment.client.state.page_cache import decode_packs, encode_packs
from muniment.client.telling.output import iso_time
from muniment.client.telling.progress import RunProgress
from muniment.client.vault.history import check_history
from muniment.client.vault.opening import OpenVault, open_heads
from muniment.client.vault.set_aside import SetAside
from muniment.client.vault.slots import WAYS_IN, SeenList, check_wrapped_slots, read_slot_list
from muniment.format.pack import IndexedBlock, check_pack, open_block, read_index
from muniment.format.tree import TreeReader
from muniment.model.entry import PageRef
from muniment.model.errors import DamagedObject, Interrupted, MunimentError, TargetFull
from muniment.model.ids import PackId, PageId, SlotId, SnapshotId
from muniment.model.packs import PACK_CEILING, BlockAddress, BlockRole, is_permitted_size
from muniment.wire import messages as wire

FORMAT = 1
FETCHES = 4

_DIRECTORY, _FILE = 0o700, 0o600
_CANNOT_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS})
"""What file systems say, of other machines mostly, that do not sync directories."""

_README = """\
This is a Muniment vault as ordinary files. Everything that matters is sealed: without the vault's passphrase
or a recovery kit, nobody can read it.

To restore without Muniment: tests/conformance/restore_export.py in Muniment's source is one file that needs
only public libraries. docs/design/format.md and docs/design/export.md there describe every byte.

vault.json   which vault this is
slots/       the list of key slots, and the wrapped keys
heads/       one sealed record per snapshot, named by its id
sets/        the packs each snapshot needs: their ids, 16 bytes each, sorted
packs/       sealed packs, by the first two digits of their ids; ID.damaged is one that was not whole on the
             server, as it came: what is whole in it can be restored
"""


@dataclass(slots=True)
class ExportReport:
    snapshots: int = 0
    packs: int = 0
    fetched: int = 0
    bytes: int = 0
    """Of packs fetched by this export."""
    set_aside: tuple[SetAside, ...] = ()
    """Snapshots that the export does not hold, because they cannot be read."""
    damaged: list[PackId] = field(default_factory=list)
    """Packs that the server does not give whole: all else is exported."""


@dataclass(frozen=True, slots=True)
class Exporter:
    """Writes below `place`. `now`: seconds since the epoch; `stop`: asked between packs."""

    vault: OpenVault
    place: Path
    progress: RunProgress
    now: Callable[[], float]
    stop: Callable[[], bool]

    def export(self) -> ExportReport:
        """Raises TargetFull; RollbackDetected and DamagedObject where the server hides or alters what every
        restore would need. Packs that are damaged are reported, and cost what is in them alone."""
        try:
            return self._export()
        except OSError as error:
            raise TargetFull(
                f"the export cannot be written to {self.place}: {error.strerror}",
                advice="Make room, or name another directory; the same export again goes on from here.",
            ) from error

    def _export(self) -> ExportReport:
        vault, server = self.vault.vault, self.vault.server
        self.place.mkdir(mode=_DIRECTORY, parents=True, exist_ok=True)
        for name in ("slots", "heads", "sets", "packs"):
            (self.place / name).mkdir(mode=_DIRECTORY, exist_ok=True)
        self._write_slots(server.keys(vault))
        records = list(server.snapshots(vault))
        shown = open_heads(self.vault.keys, records, own=self.vault.device)
        listed = shown.opened
        check_history(listed, newest=self.vault.heads, set_aside=shown.set_aside)
        needed: dict[PackId, wire.PackInfo] = {}
        for opened in listed:
            infos = {PackId.parse(info.pack): info for info in server.snapshot_packs(vault, opened.snapshot)}
            needed |= infos
            # Thousands of snapshots may each name a hundred thousand packs: none of the lists is kept here.
            self._write(self._listed_path(opened.snapshot), encode_packs(frozenset(infos)))
        report = ExportReport(snapshots=len(listed), packs=len(needed), set_aside=shown.set_aside)
        self.progress.total_bytes = sum(info.size for info in needed.values())
        self._fetch_all(needed, report)
        memo = _PackMemo()
        for opened in listed:
            self._check_set(opened, memo, damaged=report.damaged)
        _sync(*(self.place / "packs").iterdir(), self.place / "packs")
        # Only now, and on the disk one after the other: a head promises its set, and a set its packs.
        for opened in listed:
            self._listed_path(opened.snapshot).replace(self.place / "sets" / opened.snapshot.hex)
        _sync(self.place / "sets")
        sealed = {record.snapshot: record.head for record in records}
        for opened in listed:
            self._write(self.place / "heads" / opened.snapshot.hex, sealed[opened.snapshot.hex])
        _sync(self.place / "heads", self.place / "slots", self.place)
        self._write(self.place / "README.txt", _README.encode())
        about = {
            "format": FORMAT,
            "vault": vault.hex,
            "server": server.address,
            "exported_at": iso_time(self.now()),
        }
        self._write(self.place / "vault.json", json.dumps(about, indent=1).encode() + b"\n")
        _sync(self.place, self.place.parent)
        return report

    def _write_slots(self, reply: wire.VaultKeys) -> None:
        """The list of key slots and the wrapped keys, held against the list that was believed on opening."""
        known = self.vault.slots
        state = read_slot_list(self.vault.keys, reply.signed, seen=SeenList(known.number, known.hash))
        wrapped = check_wrapped_slots(state, reply.slots)
        if not any(info.kind in WAYS_IN and SlotId.parse(info.slot) in wrapped for info in state.slots):
            raise DamagedObject(
                "the export", why="the server gives out no slot that a passphrase or a recovery kit opens"
            )
        self._write(self.place / "slots" / "list", msgspec.msgpack.encode(reply.signed))
        for slot, content in wrapped.items():
            self._write(self.place / "slots" / slot.hex, content)

    def _listed_path(self, snapshot: SnapshotId) -> Path:
        """A snapshot's set, until all its packs are there."""
        return self.place / "sets" / f".{snapshot.hex}.listed"

    def _check_set(self, opened: OpenedHead, memo: _PackMemo, *, damaged: Collection[PackId]) -> None:
        """What a snapshot needs, its own sealed pages say: read from the export, which so proves it has them.

        More than that in the server's list does no harm. Pages lost with a damaged pack prove nothing.
        """
        listed = decode_packs(self._listed_path(opened.snapshot).read_bytes())

        def load(ref: PageRef) -> bytes:
            self._heed_stop()
            block = ref.block
            if block.pack_id not in listed:
                raise _left_out(opened.snapshot, block.pack_id)
            sealed = self._read(block, is_damaged=block.pack_id in damaged)
            return bytes(open_block(sealed, block, BlockRole.PAGE, self.vault.keys))

        reader = TreeReader(self.vault.keys, load)
        lacking = reader.reachable_packs(opened.head.root, memo, lost=damaged) - listed
        if lacking:
            raise _left_out(opened.snapshot, min(lacking))

    def _read(self, block: BlockAddress, *, is_damaged: bool) -> bytes:
        path = self._path_of(block.pack_id)
        try:
            with (_as_it_came(path) if is_damaged else path).open("rb") as file:
                file.seek(block.offset)
                return file.read(block.length)
        except FileNotFoundError:
            if not is_damaged:
                raise
            raise DamagedObject(f"pack {block.pack_id}", why="the server gave nothing of it") from None

    def _fetch_all(self, needed: dict[PackId, wire.PackInfo], report: ExportReport) -> None:
        with ThreadPoolExecutor(FETCHES, thread_name_prefix="export") as pool:
            pending = {pack: pool.submit(self._fetch, pack, info) for pack, info in sorted(needed.items())}
            try:
                for pack, future in pending.items():
                    try:
                        size = future.result()
                    except DamagedObject:
                        # It costs what needs it. Whoever leaves must not lose all else with it.
                        report.damaged.append(pack)
                        continue
                    report.fetched += size > 0
                    report.bytes += size
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _fetch(self, pack: PackId, info: wire.PackInfo) -> int:
        """Bytes fetched; 0 where the file is there and right. DamagedObject where it cannot be had whole."""
        self._heed_stop()
        path = self._path_of(pack)
        path.parent.mkdir(mode=_DIRECTORY, exist_ok=True)
        self.progress.at(pack.hex.encode())
        if path.exists() and _hash_of(path) == info.sha256:
            self.progress.found(files=1, content=info.size)
            return 0
        try:
            content = self._whole(pack, info)
        except DamagedObject:
            # An export made while the server had it right is not given up for what it says now.
            if not self._opens(pack):
                self._set_aside(pack)
                path.unlink(missing_ok=True)
                raise
            _as_it_came(path).unlink(missing_ok=True)
            self.progress.found(files=1, content=info.size)
            return 0
        self._write(path, content)
        _as_it_came(path).unlink(missing_ok=True)
        self.progress.found(files=1, content=info.size)
        return info.size

    def _whole(self, pack: PackId, info: wire.PackInfo) -> bytes:
        """A pack that opens in all its parts; one that does not is left beside its place."""
        if not is_permitted_size(info.size) or info.size > PACK_CEILING:
            raise DamagedObject(f"pack {pack}", why=f"the server says that it has {info.size} bytes")
        content = VaultPacks(self.vault.server, self.vault.vault, None).read(pack, offset=0, length=info.size)
        try:
            if hashlib.sha256(content).digest() != info.sha256:
                raise DamagedObject(f"pack {pack}", why="what the server gave has another hash")
            # The hash is the server's own word. What a restore will read must open, down to each chunk.
            check_pack(self.vault.keys, content, pack_id=pack)
        except DamagedObject:
            self._set_aside(pack, content)
            raise
        return content

    def _set_aside(self, pack: PackId, *given: bytes) -> None:
        """Keep the best of what there is of a damaged pack: whoever reads an export checks every block.

        That may be what an earlier export left, under either name: a server loses more as time goes by.
        """
        path = self._path_of(pack)
        copies = [place.read_bytes() for place in (_as_it_came(path), path) if place.exists()] + [*given]
        if copies:
            best = max(copies, key=lambda copy: self._whole_blocks(pack, copy))
            self._write(_as_it_came(path), best)

    def _whole_blocks(self, pack: PackId, content: bytes) -> int:
        """How many blocks of a copy open; none where its index does not."""
        try:
            blocks = read_index(self.vault.keys, content, pack_id=pack).blocks
        except MunimentError:
            return 0
        return sum(self._is_whole(block, content) for block in blocks)

    def _is_whole(self, block: IndexedBlock, content: bytes) -> bool:
        at = block.address
        try:
            open_block(content[at.offset : at.offset + at.length], at, block.role, self.vault.keys)
        except MunimentError:
            return False
        return True

    def _opens(self, pack: PackId) -> bool:
        """Whether what an earlier export left under this id is that pack."""
        try:
            check_pack(self.vault.keys, self._path_of(pack).read_bytes(), pack_id=pack)
        except (FileNotFoundError, MunimentError):
            return False
        return True

    def _path_of(self, pack: PackId) -> Path:
        return self.place / "packs" / pack.hex[:2] / pack.hex

    def _heed_stop(self) -> None:
        if self.stop():
            raise Interrupted("stopped", advice="Export into the same directory again to go on.")

    def _write(self, path: Path, content: bytes) -> None:
        """For the owner alone: whoever has the slot of a passphrase can guess at it without end."""
        unfinished = path.with_name(f".{path.name}.part")
        unfinished.unlink(missing_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE)
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)


class _PackMemo:
    """What pages need, for the time of an export: snapshots share most of theirs."""

    def __init__(self) -> None:
        self._packs: dict[PageId, frozenset[PackId]] = {}

    def packs_of(self, page: PageId) -> frozenset[PackId] | None:
        return self._packs.get(page)

    def note_packs(self, page: PageId, packs: frozenset[PackId]) -> None:
        self._packs[page] = packs


def _as_it_came(path: Path) -> Path:
    """Where what the server gave of a damaged pack is: under its id there are only whole ones."""
    return path.with_name(path.name + ".damaged")


def _left_out(snapshot: SnapshotId, pack: PackId) -> DamagedObject:
    return DamagedObject(
        f"snapshot {snapshot}",
        why=f"it needs pack {pack}, and the server does not list that among its packs",
        advice="Tell the operator. What was fetched stays: the same export again goes on from here.",
    )


def _sync(*directories: Path) -> None:
    """Names that were given are on the disk, where the file system can promise that."""
    for path in directories:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except PermissionError:
            continue  # the parent of the export may be writable and not readable
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _CANNOT_SYNC:
                raise
        finally:
            os.close(descriptor)


def _hash_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
