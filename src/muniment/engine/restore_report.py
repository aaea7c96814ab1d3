"""What a restore did, and the telling of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from muniment.engine.pieces import Lost
from muniment.engine.ports import Problem, Progress
from muniment.model.entry import Entry
from muniment.model.errors import Outcome, UnsafePath
from muniment.model.ids import PackId


@dataclass(slots=True)
class RestoreReport:
    """What a restore did. `files` counts every name of a file, `bytes` what was written for them."""

    files: int = 0
    directories: int = 0
    others: int = 0
    bytes: int = 0
    errors: int = 0
    """Entries that are not there though they should be, each told to the progress."""
    kept: int = 0
    """Existing paths that were left alone, as asked."""
    skipped: int = 0
    """Sockets, and devices without `Special.RESTORE`."""
    metadata: int = 0
    """Entries of which not all metadata could be set."""
    damaged_packs: set[PackId] = field(default_factory=set)
    integrity: int = 0
    """How many of the errors come from damaged or hostile data."""

    @property
    def outcome(self) -> Outcome:
        if self.integrity:
            return Outcome.INTEGRITY
        return Outcome.INCOMPLETE if self.errors else Outcome.DONE


class Teller:
    """Counts in the report, and tells the progress, what did not go as it should."""

    def __init__(self, report: RestoreReport, progress: Progress) -> None:
        self._report = report
        self._progress = progress

    def kept(self, entry: Entry) -> None:
        self._report.kept += 1
        self._progress.problem(entry.path, Problem.EXISTS, detail="")

    def skipped(self, entry: Entry, problem: Problem, detail: str) -> None:
        self._report.skipped += 1
        self._progress.problem(entry.path, problem, detail=detail)

    def lost(self, lost: Lost) -> None:
        """A part of the tree that cannot be known."""
        if lost.pack is not None:
            self._report.damaged_packs.add(lost.pack)
        self._report.errors += lost.entries - 1
        self._report.integrity += lost.entries - 1
        problem = Problem.UNSAFE if isinstance(lost.error, UnsafePath) else Problem.DAMAGED
        self.broken(lost.path, problem, str(lost.error))

    def unset(self, path: bytes, problems: Iterable[str]) -> None:
        """Metadata that could not be set."""
        self._report.metadata += 1
        self._progress.problem(path, Problem.METADATA, detail="; ".join(problems))

    def failed(self, path: bytes, problem: Problem, detail: str) -> None:
        self._report.errors += 1
        self._progress.problem(path, problem, detail=detail)

    def broken(self, path: bytes, problem: Problem, detail: str) -> None:
        """Failed because of damaged or hostile data."""
        self._report.integrity += 1
        self.failed(path, problem, detail)
