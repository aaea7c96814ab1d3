"""Showing a long command at work: a live line on a terminal, now and then a line elsewhere, or JSON."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from muniment.client.telling.output import (
    Output,
    human_seconds,
    human_size,
    json_path,
    plural,
    printable_path,
)
from muniment.client.telling.progress import RunProgress

LIVE_EVERY = 0.2
JSON_EVERY = 1.0
LINES_EVERY = 30.0
MEASURED = 0.1
"""Share of what was to be sent that must have gone before its pace is a measurement."""


class LiveDisplay:
    """Shows `progress` while its `with` block runs. `verb`: "Backing up", "Restoring"."""

    def __init__(self, output: Output, progress: RunProgress, *, verb: str) -> None:
        self._output, self._progress, self._verb = output, progress, verb
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._show, name="display", daemon=True)

    def __enter__(self) -> LiveDisplay:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._output.clear()

    def _show(self) -> None:
        every, show = self._way()
        while not self._over.wait(every):
            show()

    def _way(self) -> tuple[float, Callable[[], None]]:
        if self._output.as_json:
            return JSON_EVERY, lambda: self._output.event(progress_event(self._progress))
        if self._output.is_terminal:
            return LIVE_EVERY, self._draw
        return LINES_EVERY, lambda: self._output.note(progress_line(self._progress, verb=self._verb))

    def _draw(self) -> None:
        room = self._output.columns - 1
        line = progress_line(self._progress, verb=self._verb, room=room)
        path = printable_path(self._progress.path) if self._progress.sending_since is None else ""
        room -= len(line) + 2
        if room > 10 and path:
            line += "  " + (path if len(path) <= room else "…" + path[1 - room :])
        self._output.draw(line)


def progress_event(progress: RunProgress) -> dict[str, Any]:
    """The documented progress line for programs."""
    return {
        "event": "progress",
        "seconds": round(progress.seconds, 1),
        "files": progress.files,
        "bytes": progress.content,
        "new_bytes": progress.new,
        "stored_bytes": progress.sealed,
        "sent_bytes": progress.sent,
        "fetched_bytes": progress.fetched,
        "total_files": progress.total_files,
        "total_bytes": progress.total_bytes,
        "errors": len(progress.errors),
        "path": json_path(progress.path),
    }


def progress_line(progress: RunProgress, *, verb: str, room: int = 1000) -> str:
    """What matters, in `room` columns: where they are too few, the least important goes first."""
    errors = len(progress.errors)
    troubles = plural(errors, "problem") if errors else ""
    left = time_left(progress)
    remaining = f"about {human_seconds(left)} left" if left is not None else ""
    done = f"{plural(progress.files, 'file')}, {human_size(progress.content)}"
    backlog = progress.backlog()
    waiting = f"{human_size(backlog)} to send" if backlog else ""
    if progress.sending_since is not None and waiting:
        return _fitting([f"{verb}: {waiting}", remaining, done, troubles], dropped=(2, 3), room=room)
    # A restore counts whole stretches of files; what arrived for the next of them shows that it goes on.
    pace = max(progress.content, progress.fetched) / max(progress.seconds, 0.001)
    rate = f"{human_size(pace)}/s"
    if progress.fetched > progress.content:
        waiting = waiting or f"{human_size(progress.fetched)} fetched"
    saved = ""
    if progress.sealed and progress.content:
        saved = f"{100 * max(0, progress.content - progress.sealed) // progress.content}% saved"
    parts = [f"{verb}: {done}", rate, saved, waiting, remaining, troubles]
    return _fitting(parts, dropped=(3, 2, 1), room=room)


def _fitting(parts: list[str], *, dropped: tuple[int, ...], room: int) -> str:
    """The parts as one line; those at the places `dropped` go, one by one, until it fits."""
    kept = list(parts)
    for place in dropped:
        if len(_joined(kept)) <= room:
            break
        kept[place] = ""
    return _joined(kept)[:room]


def _joined(parts: list[str]) -> str:
    return " · ".join(part for part in parts if part)


def time_left(progress: RunProgress) -> float | None:
    """Seconds, from what is known to come; None while a guess would be worth nothing."""
    if progress.sending_since is not None:
        return _sending_left(progress)
    seconds = progress.seconds
    if seconds < 3:
        return None
    shares = []
    if progress.total_bytes:
        shares.append(progress.content / progress.total_bytes)
    if progress.total_files:
        shares.append(progress.files / progress.total_files)
    share = min(shares, default=0.0)
    if not 0.02 < share < 1:
        return None
    return seconds / share - seconds


def _sending_left(progress: RunProgress) -> float | None:
    """From how fast the backlog shrank since nothing is added to it: by whole packs, so one tells little."""
    since = progress.sending_since
    if since is None:
        return None
    began, waiting = since
    seconds, backlog = time.monotonic() - began, progress.backlog()
    if seconds < 3 or waiting - backlog < MEASURED * waiting:
        return None
    return backlog * seconds / (waiting - backlog)
