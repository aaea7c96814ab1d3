"""The vault as ordinary files, still sealed. docs/design/export.md has the layout; `tests/conformance` a
reader.

Repeating an export into the same directory fetches only what is not there yet.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec

from muniment.client.output import iso_time
from muniment.client.progress import RunProgress
from muniment.client.vault import OpenVault, open_heads
from muniment.format.pack import read_index
from muniment.model.errors import DamagedObject, Interrupted, TargetFull
from muniment.model.ids import PackId, SnapshotId
from muniment.model.packs import PACK_CEILING, is_permitted_size
from muniment.wire import messages as wire

FORMAT = 1
FETCHES = 4

_README = """\
This is a Muniment vault as ordinary files. Everything that matters is sealed: without the vault's passphrase
or a recovery kit, nobody can read it.

To restore without Muniment: tests/conformance/restore_export.py in Muniment's source is one file that needs
only public libraries. docs/design/format.md and docs/design/export.md there describe every byte.

vault.json   which vault this is
slots/       the list of key slots, and the wrapped keys
heads/       one sealed record per snapshot, named by its id
sets/        the packs each snapshot needs: their ids, 16 bytes each, sorted
packs/       sealed packs, by the first two digits of their ids
"""


@dataclass(slots=True)
class ExportReport:
    snapshots: int = 0
    packs: int = 0
    fetched: int = 0
    bytes: int = 0
    """Of packs fetched by this export."""


@dataclass(frozen=True, slots=True)
class Exporter:
    """Writes below `place`. `now`: seconds since the epoch; `stop`: asked between packs."""

    vault: OpenVault
    place: Path
    progress: RunProgress
    now: Callable[[], float]
    stop: Callable[[], bool]

    def export(self) -> ExportReport:
        """Raises TargetFull, and DamagedObject for a pack that is not what the vault says."""
        try:
            return self._export()
        except OSError as error:
            raise TargetFull(
                f"the export cannot be written to {self.place}: {error.strerror}",
                advice="Make room, or name another directory; the same export again goes on from here.",
            ) from error

    def _export(self) -> ExportReport:
        vault, server = self.vault.vault, self.vault.server
        for name in ("slots", "heads", "sets", "packs"):
            (self.place / name).mkdir(parents=True, exist_ok=True)
        report = ExportReport()
        reply = server.keys(vault)
        if reply.signed is not None:
            self._write(self.place / "slots" / "list", msgspec.msgpack.encode(reply.signed))
        for slot in reply.slots:
            self._write(self.place / "slots" / slot.slot, slot.wrapped)
        needed: dict[PackId, wire.PackInfo] = {}
        snapshots: list[tuple[SnapshotId, bytes, bytes]] = []
        for record in server.snapshots(vault):
            opened = open_heads(self.vault.keys, [record])[0]
            packs = server.snapshot_packs(vault, opened.snapshot).packs
            needed |= {PackId.parse(info.pack): info for info in packs}
            packs_of_it = b"".join(sorted(bytes.fromhex(info.pack) for info in packs))
            snapshots.append((opened.snapshot, record.head, packs_of_it))
        self.progress.total_bytes = sum(info.size for info in needed.values())
        self._fetch_all(needed, report)
        # Only now: a head promises its set, and a set its packs.
        for snapshot, head, packs_of_it in snapshots:
            self._write(self.place / "sets" / snapshot.hex, packs_of_it)
            self._write(self.place / "heads" / snapshot.hex, head)
        report.snapshots, report.packs = len(snapshots), len(needed)
        self._write(self.place / "README.txt", _README.encode())
        about = {
            "format": FORMAT,
            "vault": vault.hex,
            "server": server.address,
            "exported_at": iso_time(self.now()),
        }
        self._write(self.place / "vault.json", json.dumps(about, indent=1).encode() + b"\n")
        return report

    def _fetch_all(self, needed: dict[PackId, wire.PackInfo], report: ExportReport) -> None:
        with ThreadPoolExecutor(FETCHES, thread_name_prefix="export") as pool:
            pending = [pool.submit(self._fetch, pack, info) for pack, info in sorted(needed.items())]
            try:
                for future in pending:
                    size = future.result()
                    report.fetched += size > 0
                    report.bytes += size
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _fetch(self, pack: PackId, info: wire.PackInfo) -> int:
        """Bytes fetched; 0 where the file is there and right."""
        if self.stop():
            raise Interrupted("stopped", advice="Export into the same directory again to go on.")
        path = self.place / "packs" / pack.hex[:2] / pack.hex
        path.parent.mkdir(exist_ok=True)
        self.progress.at(pack.hex.encode())
        if path.exists() and _hash_of(path) == info.sha256:
            self.progress.found(files=1, content=info.size)
            return 0
        if not is_permitted_size(info.size) or info.size > PACK_CEILING:
            raise DamagedObject(f"pack {pack}", why=f"the server says that it has {info.size} bytes")
        content = self.vault.server.read_pack(self.vault.vault, pack, offset=0, length=info.size)
        if hashlib.sha256(content).digest() != info.sha256:
            raise DamagedObject(f"pack {pack}", why="what the server gave has another hash")
        read_index(self.vault.keys, content, pack_id=pack)
        self._write(path, content)
        self.progress.found(files=1, content=info.size)
        return info.size

    def _write(self, path: Path, content: bytes) -> None:
        unfinished = path.with_name(f".{path.name}.part")
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)


def _hash_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
