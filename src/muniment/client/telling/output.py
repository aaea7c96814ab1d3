"""What commands say, to people or to programs.

People get lines on standard output and warnings on standard error. Programs (`--json`) get JSON lines on
standard output: progress of long commands while they run, then exactly one result, or one error, as the last
line.
"""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TextIO

from muniment.model.errors import MunimentError, Outcome

_TOGETHER = re.compile(r"`[^`]*`|\d (?:[KMGT]iB|B|s|min)\b")
"""A command to be copied; a number and its unit."""


@dataclass(slots=True)
class Output:
    as_json: bool
    out: TextIO
    err: TextIO
    _live: bool = False

    @classmethod
    def of_process(cls, *, as_json: bool) -> Output:
        return cls(as_json, sys.stdout, sys.stderr)

    @property
    def is_terminal(self) -> bool:
        """Whether a live line makes sense."""
        return not self.as_json and self.err.isatty() and os.environ.get("TERM", "") not in ("", "dumb")

    def result(self, document: Mapping[str, Any] | Sequence[Any], lines: Iterable[str]) -> None:
        """The one result of a command: `document` for programs, `lines` for people."""
        if self.as_json:
            self._write_json(document)
        else:
            for line in lines:
                self.say(line)

    def say(self, line: str = "") -> None:
        """For people only."""
        if not self.as_json:
            print(_set(_harmless(line), self.out), file=self.out)

    @property
    def columns(self) -> int:
        """How wide the live line may be."""
        return _columns(self.err)

    def event(self, document: Mapping[str, Any]) -> None:
        """For programs only: one line of progress."""
        if self.as_json:
            self._write_json(document)

    def draw(self, line: str) -> None:
        """The live line, in place of what it said before. Only where `is_terminal`."""
        self._live = True
        self.err.write(f"\r\x1b[2K{_harmless(line, keep='')}")
        self.err.flush()

    def clear(self) -> None:
        """Take the live line away, so that what is said next does not run into it."""
        if self._live:
            self._live = False
            self.err.write("\r\x1b[2K")
            self.err.flush()

    def note(self, line: str) -> None:
        """For people, beside the result."""
        self.clear()
        if not self.as_json:
            print(_set(_harmless(line), self.err), file=self.err, flush=True)

    def warn(self, line: str) -> None:
        self.clear()
        print(_set(_harmless(f"muniment: {line}"), self.err), file=self.err, flush=True)

    def error(self, error: MunimentError) -> None:
        if self.as_json:
            self._write_json(
                {
                    "error": type(error).__name__,
                    "message": error.message,
                    "advice": error.advice,
                    "exit": int(error.outcome),
                }
            )
            return
        self.warn(error.message)
        if error.advice:
            print(_set(_harmless(error.advice), self.err), file=self.err, flush=True)

    def _write_json(self, document: object) -> None:
        print(json.dumps(document, ensure_ascii=True), file=self.out, flush=True)


def failure(message: str, *, outcome: Outcome, advice: str = "") -> MunimentError:
    """An error that is not worth a class of its own, with its exit code."""
    error = MunimentError(message, advice=advice)
    error.outcome = outcome
    return error


# --- how people read numbers, times and names


def plural(number: int, one: str, many: str = "") -> str:
    """ "1 file", "2 files", "1,024 entries"."""
    return f"1 {one}" if number == 1 else f"{number:,} {many or one + 's'}"


def human_size(size: float) -> str:
    if size < 1024:
        return f"{int(size)} B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        size /= 1024
        if size < 1024 or unit == "TiB":
            return f"{size:.0f} {unit}" if size >= 100 else f"{size:.1f} {unit}"
    raise AssertionError("unreachable")


def human_seconds(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def human_age(seconds: float) -> str:
    """As people say it: "3 hours", "6 days"."""
    for size, word in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            number = int(seconds // size)
            return f"{number} {word}" if number == 1 else f"{number} {word}s"
    return "a moment"


def human_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def iso_time(seconds: float) -> str:
    """For programs: UTC, to the second."""
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def printable_path(path: bytes) -> str:
    """A path for people: never anything that a terminal would obey."""
    return _harmless(path.decode("utf-8", "backslashreplace"), keep="")


def _harmless(text: str, *, keep: str = "\n") -> str:
    """`text` with whatever a terminal would obey made visible: some of it was written by others."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in keep else letter.encode("unicode_escape").decode()
        for letter in text
    )


def _columns(stream: TextIO) -> int:
    """Of the terminal that `stream` is, whatever the others are; COLUMNS goes before."""
    try:
        return int(os.environ.get("COLUMNS") or os.get_terminal_size(stream.fileno()).columns) or 80
    except (OSError, ValueError):
        return 80


def _set(text: str, stream: TextIO) -> str:
    """Prose broken between words where a terminal would break it within one.

    What is indented or set in columns stays as it is, and so does what goes elsewhere: programs read lines.
    Commands in backquotes and numbers with their units stay in one piece.
    """
    if "  " in text or "\n" in text or text.startswith(" ") or not stream.isatty():
        return text
    whole = _TOGETHER.sub(lambda found: found[0].replace(" ", "\0"), text)
    lines = textwrap.wrap(whole, _columns(stream), break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace("\0", " ")


def json_path(path: bytes) -> str:
    """A path for programs: `os.fsencode` gives the bytes back."""
    return path.decode("utf-8", "surrogateescape")


def rooted(path: bytes) -> bytes:
    """The path of an entry as it was on its machine: trees leave out the slash that it begins with."""
    return path if path.startswith(b"/") else b"/" + path


def table(rows: Sequence[Sequence[str]], *, heads: Sequence[str], right: Iterable[int] = ()) -> list[str]:
    """Rows under heads, in columns as wide as they need; columns in `right` are set flush right."""
    everything = [list(heads), *[[_harmless(cell, keep="") for cell in row] for row in rows]]
    widths = [max(len(row[place]) for row in everything) for place in range(len(heads))]
    flush = set(right)
    lines = []
    for row in everything:
        cells = [
            cell.rjust(width) if place in flush else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
