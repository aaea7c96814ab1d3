"""What a long command has done so far: the engine's Progress, read by whoever shows it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from muniment.engine.ports import Problem

KEPT_PROBLEMS = 100_000
"""Of each kind, so that many of a harmless one crowd out none that matters."""

KEPT_EXCLUSIONS = 10_000

HARMLESS = frozenset({Problem.VANISHED, Problem.EXISTS, Problem.SKIPPED, Problem.METADATA})
"""Told, but no reason to call a run incomplete."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """One path that is not, or not fully, protected or restored."""

    path: bytes
    problem: Problem
    detail: str


@dataclass(slots=True)
class RunProgress:
    """Counters that any thread may add to. Sums are exact: additions take the lock, readers need none."""

    total_files: int | None = None
    total_bytes: int | None = None
    files: int = 0
    content: int = 0
    new: int = 0
    sealed: int = 0
    sent: int = 0
    fetched: int = 0
    path: bytes = b""
    troubles: list[Trouble] = field(default_factory=list)
    exclusions: list[tuple[bytes, str]] = field(default_factory=list)
    excluded_by: Counter[str] = field(default_factory=Counter)
    backlog: Callable[[], int] = lambda: 0
    """Bytes sealed and not yet sent."""
    sending_since: tuple[float, int] | None = None
    """When all was sealed and only sending remained, and the backlog of that moment."""
    started: float = field(default_factory=time.monotonic)
    _told: Counter[Problem] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    # --- the engine's port

    def found(self, *, files: int, content: int) -> None:
        with self._lock:
            self.files += files
            self.content += content

    def stored(self, *, new: int, sealed: int) -> None:
        with self._lock:
            self.new += new
            self.sealed += sealed

    def at(self, path: bytes) -> None:
        self.path = path

    def problem(self, path: bytes, problem: Problem, *, detail: str) -> None:
        with self._lock:
            self._told[problem] += 1
            if self._told[problem] <= KEPT_PROBLEMS:
                self.troubles.append(Trouble(path, problem, detail))

    def excluded(self, path: bytes, *, rule: str) -> None:
        with self._lock:
            self.excluded_by[rule] += 1
            if len(self.exclusions) < KEPT_EXCLUSIONS:
                self.exclusions.append((path, rule))

    # --- for transport

    def sent_pack(self, size: int) -> None:
        with self._lock:
            self.sent += size

    def fetched_range(self, size: int) -> None:
        with self._lock:
            self.fetched += size

    def only_sending(self) -> None:
        """All is read and sealed; what the backlog holds is still to be sent."""
        self.sending_since = time.monotonic(), self.backlog()

    def reading_again(self) -> None:
        self.sending_since = None

    # --- for display

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def errors(self) -> list[Trouble]:
        """Those that make the result incomplete."""
        return [trouble for trouble in self.troubles if trouble.problem not in HARMLESS]
