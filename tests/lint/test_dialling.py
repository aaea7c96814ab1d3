"""A server of the tests ends when anything but a choke point reaches out, in whatever way it is written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.dialling import EXIT_CODE, PLANTED
from tests.support.server import Served

ROOT = Path(__file__).parents[2]
WAYS = {
    "a socket": "import socket; socket.socket().connect_ex(('127.0.0.1', 1))",
    "a name": "import socket; socket.getaddrinfo('localhost', 1)",
    "a client by a computed name": (
        "import importlib; client = importlib.import_module('http.' + 'client')\n"
        "try: client.HTTPConnection('127.0.0.1', 1).connect()\n"
        "except OSError: pass"
    ),
    "a program": "getattr(__import__('subprocess'), 'run')(['true'])",
    "a shell": "import os; os.system('true')",
    "a thread": (
        "import socket, threading\n"
        "thread = threading.Thread(target=lambda: socket.socket().connect_ex(('127.0.0.1', 1)))\n"
        "thread.start(); thread.join()"
    ),
}


def run_as(module: str, code: str) -> subprocess.CompletedProcess[str]:
    """As if it stood in that module of the program."""
    place = ROOT / "src" / "muniment" / module
    program = (
        "from tests.support.dialling import end_if_it_dials; end_if_it_dials()\n"
        f"exec(compile({code!r}, {str(place)!r}, 'exec'))"
    )
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("way", WAYS)
def test_only_a_choke_point_reaches_out(way: str) -> None:
    ended = run_as("server/site/planted.py", WAYS[way])
    assert ended.returncode == EXIT_CODE, ended.stderr
    assert "server/site/planted.py" in ended.stderr
    assert run_as("server/mail/planted.py", WAYS[way]).returncode == 0


def test_servers_of_the_tests_are_held_to_it(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="reached out beside the choke points"):
        Served(tmp_path / "server", environment={PLANTED: "1"}).start()
