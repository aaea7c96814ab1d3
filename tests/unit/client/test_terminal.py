"""What is said on a terminal, at its width; elsewhere a line stays a line."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import pytest

from muniment.client.cli.invocation import make_invocation
from muniment.client.disk.posix import PosixDisk
from muniment.client.telling.display import progress_line
from muniment.client.telling.output import Output
from muniment.client.telling.progress import RunProgress
from muniment.client.transport import retry
from muniment.model.errors import Interrupted, ServerUnreachable

PROSE = "This is the recovery kit. With it alone, everything can be restored on any machine."
COLUMNS = 60


@contextmanager
def terminal(columns: int = COLUMNS) -> Iterator[tuple[TextIO, int]]:
    """Something to write to, and where what was written is read."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    try:
        with os.fdopen(follower, "w") as stream:
            yield stream, leader
    finally:
        os.close(leader)


def shown(line: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.delenv("COLUMNS", raising=False)
    with terminal() as (stream, leader):
        Output(False, stream, stream).say(line)
        stream.flush()
        return os.read(leader, 65536).decode().splitlines()


def test_prose_is_broken_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(PROSE, monkeypatch)
    assert " ".join(lines) == PROSE
    assert len(lines) == 2
    assert all(len(line) <= COLUMNS for line in lines)


def test_a_command_to_be_copied_stays_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    command = "`muniment restore latest --target DIR`"
    lines = shown(f"What you asked for is here now; if it is not, say {command} again.", monkeypatch)
    assert any(command in line for line in lines)
    assert len(lines) == 2


def test_a_number_stays_with_its_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "2 entries are new or changed: 0 B of new content, about 64.0 KiB stored, in 12 min."
    assert any(end.endswith("about") for end in shown(line, monkeypatch))


@pytest.mark.parametrize(
    "line",
    [
        "aabdeb8fcc39  2026-11-22 20:07:20  vm      default     37  23.5 MiB",
        "  /home/me/a file with blanks in a long name/that somebody wants to copy: unreadable",
        "MUNIK1-02J1H-5WJ3Z-6DBA6-AETWV-EXTBZ-YEC5D-99P21-HNYZB-63PXF-QS8XF",
        "",
    ],
)
def test_columns_paths_and_codes_stay_as_they_are(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(line, monkeypatch) == [line]


def test_a_line_is_a_line_for_programs() -> None:
    said = io.StringIO()
    output = Output(False, said, said)
    output.say(PROSE)
    output.error(Interrupted(PROSE, advice=PROSE))
    assert said.getvalue() == f"{PROSE}\nmuniment: {PROSE}\n{PROSE}\n"


def test_the_live_line_is_as_wide_as_where_it_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the result goes to a file."""
    monkeypatch.delenv("COLUMNS", raising=False)
    with terminal(columns=47) as (stream, _):
        assert Output(False, io.StringIO(), stream).columns == 47
    assert Output(False, io.StringIO(), io.StringIO()).columns == 80


def test_a_restore_shows_that_it_goes_on_before_the_first_file_is_whole() -> None:
    progress = RunProgress()
    progress.fetched_range(3 << 20)
    line = progress_line(progress, verb="Restoring")
    assert "3.0 MiB fetched" in line
    assert " 0 B/s" not in line


def test_a_person_is_told_what_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "TOLD_AFTER", 0.0)
    monkeypatch.setenv("MUNIMENT_PATIENCE", "0.1")
    said = io.StringIO()
    invocation = make_invocation(
        output=Output(False, io.StringIO(), said), open_disk=PosixDisk, keep_buffers=lambda: None,
        vault=None, kit=None, server="", ca_file="", insecure=False, limit_up=None, limit_down=None,
    )  # fmt: skip
    server = invocation.reach.open("http://127.0.0.1:9", key_hash=b"", pinned=False)
    with pytest.raises(ServerUnreachable):
        server.info()
    assert said.getvalue() == "Waiting for the server (Connection refused), for 0.1 s more at most.\n"
