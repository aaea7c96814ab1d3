"""What a run has seen so far: counts for the head, and for the report what was not protected and why."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import dataclass

from muniment.engine.ports import Problem, Progress
from muniment.model.snapshot import Counts


@dataclass(frozen=True, slots=True)
class CoverageCounts:
    """Entries by what became of them."""

    read: int = 0
    unchanged: int = 0
    excluded: int = 0
    unreadable: int = 0
    changed: int = 0
    unsupported: int = 0


class Tally:
    """Counts of one run. For the walking thread only."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.files = self.directories = self.others = self.content = 0
        self.new_content = 0
        self.read = self.unchanged = 0
        self._excluded = self._unreadable = self._changed = self._unsupported = 0

    def add(self, mode: int, size: int) -> None:
        """One entry of the new tree that was read, or kept."""
        if stat.S_ISREG(mode):
            self.files += 1
            self.content += size
            self._progress.found(files=1, content=size)
        elif stat.S_ISDIR(mode):
            self.directories += 1
        else:
            self.others += 1

    def add_read(self, modes: Sequence[int], *, content: int) -> None:
        """Entries of the new tree that were read together."""
        self._add_all(modes, content)

    def add_unchanged(self, modes: Sequence[int], *, content: int) -> None:
        """Entries carried over from the parent."""
        self.unchanged += len(modes)
        self._add_all(modes, content)

    def _add_all(self, modes: Sequence[int], content: int) -> None:
        files = sum(map(stat.S_ISREG, modes))
        directories = sum(map(stat.S_ISDIR, modes)) if files < len(modes) else 0
        self.files += files
        self.directories += directories
        self.others += len(modes) - files - directories
        self.content += content
        self._progress.found(files=files, content=content)

    def unreadable(self, path: bytes, error: OSError) -> None:
        self._unreadable += 1
        self._progress.problem(path, Problem.UNREADABLE, detail=error.strerror or str(error))

    def vanished(self, path: bytes) -> None:
        self._progress.problem(path, Problem.VANISHED, detail="")

    def changed(self, path: bytes) -> None:
        self._changed += 1
        self._progress.problem(path, Problem.CHANGED, detail="")

    def unsupported(self, path: bytes, why: str) -> None:
        self._unsupported += 1
        self._progress.problem(path, Problem.UNSUPPORTED, detail=why)

    def left_out(self, path: bytes, rule: str) -> None:
        self._excluded += 1
        self._progress.excluded(path, rule=rule)

    @property
    def problems(self) -> int:
        """What makes a run incomplete. A file that vanished is told, but is none: it is no longer there."""
        return self._unreadable + self._changed + self._unsupported

    def counts(self) -> Counts:
        return Counts(
            files=self.files,
            directories=self.directories,
            others=self.others,
            bytes=self.content,
            new_bytes=self.new_content,
            errors=self.problems,
        )

    def coverage(self) -> CoverageCounts:
        return CoverageCounts(
            read=self.read,
            unchanged=self.unchanged,
            excluded=self._excluded,
            unreadable=self._unreadable,
            changed=self._changed,
            unsupported=self._unsupported,
        )
