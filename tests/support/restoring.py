"""Restores into real directories, from packs in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from muniment.client.disk.target import PosixTarget
from muniment.crypto.keys import VaultKeys
from muniment.engine.plan_restore import RestoreRequest
from muniment.engine.ports import BlockSource, Ownership, PageCache, Problem, StopRequested
from muniment.engine.restore import RestoreReport, restore
from muniment.model.entry import PageRef
from muniment.model.errors import DamagedObject
from muniment.model.ids import PackId
from tests.support.memory_vault import RecordingProgress


@dataclass
class PackBytes:
    """A BlockSource over plain bytes, counting what is read; `before` may interfere."""

    packs: Mapping[PackId, bytes]
    reads: list[tuple[PackId, int, int]] = field(default_factory=list)
    before: Callable[[PackId, int], object] = lambda pack, offset: None

    def read(self, pack: PackId, *, offset: int, length: int) -> bytes:
        self.before(pack, offset)
        self.reads.append((pack, offset, length))
        content = self.packs.get(pack)
        if content is None or offset + length > len(content):
            raise DamagedObject(f"pack {pack}", why="the vault does not hold that range")
        return content[offset : offset + length]


def restore_into(
    target: Path | bytes,
    root: PageRef | None,
    *,
    keys: VaultKeys,
    source: BlockSource,
    pages: PageCache | None = None,
    stop: StopRequested = lambda: False,
    ownership: Ownership = Ownership.BY_ID,
    **request: Any,
) -> tuple[RestoreReport, dict[bytes, Problem]]:
    """The report, and the problems by path."""
    progress = RecordingProgress()
    disk = PosixTarget(os.fsencode(target), ownership=ownership)
    try:
        report = restore(
            RestoreRequest(root=root, **request),
            keys=keys,
            source=source,
            pages=pages,
            target=disk,
            progress=progress,
            stop=stop,
        )
    finally:
        disk.close()
    return report, dict(progress.problems)
