"""The directory of sealed packs that the vault has not acknowledged yet.

A file is complete once it has its name. It is not synced: after a power cut a torn file is recognised,
and all that is lost is the work of sealing it, for nothing is committed before the vault has acknowledged.
What survives a killed process needs no sync.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from muniment.model.ids import PackId
from muniment.model.packs import PackKind, SealedPack, is_permitted_size

_MAGIC = b"MUNIPACK"
_HEADER = 32


@dataclass(frozen=True, slots=True)
class SpooledPack:
    """A sealed pack and the file that holds it."""

    pack: SealedPack
    path: Path


class SpoolDirectory:
    """The spool of one set. Those of other sets of the vault lie beside it, and may be in use."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = path

    def path_of(self, pack: PackId) -> Path:
        return self.path / f"{pack}.pack"

    def write(self, pack: SealedPack, content: memoryview) -> SpooledPack:
        """Put the pack into its file; OSError when there is no room."""
        path = self.path_of(pack.pack_id)
        unfinished = path.with_suffix(".part")
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            written = 0
            while written < len(content):
                written += os.write(descriptor, content[written:])
        except BaseException:
            os.close(descriptor)
            unfinished.unlink(missing_ok=True)
            raise
        os.close(descriptor)
        unfinished.rename(path)
        return SpooledPack(pack, path)

    def read(self, pack: PackId, *, offset: int, length: int) -> bytes | None:
        """A range of a spooled pack; None where it is not (or no longer) here."""
        try:
            with self.path_of(pack).open("rb", buffering=0) as file:
                content = os.pread(file.fileno(), length, offset)
        except FileNotFoundError:
            return None
        return content if len(content) == length else None

    def kept_for_any_set(self) -> set[PackId]:
        """Packs that lie sealed here or in the spool of another set."""
        found = set()
        for path in self.path.parent.glob("*/*.pack"):
            try:
                found.add(PackId.parse(path.stem))
            except ValueError:
                continue  # not ours; the set that owns the spool removes it
        return found

    def adopt(self, pack: PackId) -> SpooledPack | None:
        """Give a pack of another set's spool a name here, too; None where none (or no longer) has it."""
        own = self.path_of(pack)
        for path in self.path.parent.glob(f"*/{own.name}"):
            try:
                os.link(path, own)
            except FileExistsError:
                pass
            except OSError:
                continue  # sent and removed meanwhile, or a file system without links
            spooled = _recognise(own)
            if spooled is not None:
                return spooled
            own.unlink(missing_ok=True)
        return None

    def leftovers(self) -> list[SpooledPack]:
        """Packs that an earlier run left, oldest first; unfinished and damaged files are removed."""
        found: list[tuple[float, SpooledPack]] = []
        for path in self.path.iterdir():
            spooled = _recognise(path)
            if spooled is None:
                path.unlink(missing_ok=True)
            else:
                found.append((path.stat().st_mtime, spooled))
        return [spooled for _, spooled in sorted(found, key=lambda item: item[0])]


def _recognise(path: Path) -> SpooledPack | None:
    """What the clear header says; whether it is true, `check_pack` or the vault's hash will tell."""
    if path.suffix != ".pack":
        return None
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER)
            size = path.stat().st_size
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").digest()
        pack_id = PackId.parse(path.stem)
        kind = PackKind(header[9])
    except (OSError, ValueError, IndexError):
        return None
    if header[:8] != _MAGIC or header[16:] != pack_id.raw or not is_permitted_size(size):
        return None
    return SpooledPack(SealedPack(pack_id, kind, int.from_bytes(header[12:16]), size, digest), path)
