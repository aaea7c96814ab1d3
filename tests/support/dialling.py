"""Ends a process that reaches out from anywhere but a choke point; what `lint.rules` reads, this sees happen.

Every server of the tests runs under it. Python tells an audit hook of each connection, each name looked up
and each program started, in whatever way the code came to it. `MUNIMENT_TEST_DIALS` plants one connection.
"""

from __future__ import annotations

import os
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

from lint.rules import CHOKE_POINTS

EXIT_CODE = 97
PLANTED = "MUNIMENT_TEST_DIALS"
_REACHES_OUT = {
    "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "socket.connect",
    "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "subprocess.Popen",
}  # fmt: skip
_OURS = f"{Path(__file__).parents[2] / 'src' / 'muniment'}/"


def end_if_it_dials() -> None:
    """From here on, for the rest of the process."""
    sys.addaudithook(_look)
    if PLANTED in os.environ:
        socket.socket().connect_ex(("127.0.0.1", 1))


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _REACHES_OUT and not _is_by_choke_point():
        print(f"reached out beside the choke points: {event} {arguments}", file=sys.stderr)
        traceback.print_stack()
        sys.stderr.flush()
        os._exit(EXIT_CODE)  # an exception might be caught, and nobody would know


def _is_by_choke_point() -> bool:
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.removeprefix(_OURS).startswith(CHOKE_POINTS):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False
