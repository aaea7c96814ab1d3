"""Showing a long command at work: a live line on a terminal, now and then a line elsewhere, or JSON."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from muniment.client.output import Output, human_seconds, human_size, json_path, plural, printable_path
from muniment.client.progress import RunProgress

LIVE_EVERY = 0.2
JSON_EVERY = 1.0
LINES_EVERY = 30.0


class LiveDisplay:
    """Shows `progress` while its `with` block runs. `verb`: "Backing up", "Restoring"."""

    def __init__(self, output: Output, progress: RunProgress, *, verb: str) -> None:
        self._output, self._progress, self._verb = output, progress, verb
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._show, name="display", daemon=True)
        self._shown = False

    def __enter__(self) -> LiveDisplay:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._clear()

    def warn(self, text: str) -> None:
        """A warning that does not garble the live line."""
        self._clear()
        self._output.warn(text)

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
        width = shutil.get_terminal_size().columns
        line = progress_line(self._progress, verb=self._verb)
        path = printable_path(self._progress.path)
        room = width - len(line) - 3
        if room > 10 and path:
            line += "  " + (path if len(path) <= room else "…" + path[1 - room :])
        self._output.err.write("\r\x1b[2K" + line[: width - 1])
        self._output.err.flush()
        self._shown = True

    def _clear(self) -> None:
        if self._shown:
            self._output.err.write("\r\x1b[2K")
            self._output.err.flush()
            self._shown = False


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
        "total_files": progress.total_files,
        "total_bytes": progress.total_bytes,
        "errors": len(progress.errors),
        "path": json_path(progress.path),
    }


def progress_line(progress: RunProgress, *, verb: str) -> str:
    seconds = max(progress.seconds, 0.001)
    parts = [f"{verb}: {plural(progress.files, 'file')}, {human_size(progress.content)}"]
    parts.append(f"{human_size(progress.content / seconds)}/s")
    if progress.sealed and progress.content:
        saved = max(0, progress.content - progress.sealed)
        parts.append(f"{100 * saved // progress.content}% saved")
    left = time_left(progress)
    if left is not None:
        parts.append(f"about {human_seconds(left)} left")
    if progress.errors:
        parts.append(plural(len(progress.errors), "problem"))
    return " · ".join(parts)


def time_left(progress: RunProgress) -> float | None:
    """Seconds, from what is known to come; None while a guess would be worth nothing."""
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
