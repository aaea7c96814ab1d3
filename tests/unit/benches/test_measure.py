"""A command's cost is its own: not the memory of whoever started it, and its children's CPU too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benches.measure import CommandFailed, ServerProbe, run_measured

EATS = "b = bytearray({0} << 20)\nfor i in range(0, len(b), 4096): b[i] = 1\n"


def test_peak_memory_is_the_commands(tmp_path: Path) -> None:
    ballast = bytearray(200 << 20)
    ballast[::4096] = b"x" * len(ballast[::4096])
    command = [sys.executable, "-I", "-S", "-c"]
    little = run_measured([*command, "pass"], env=os.environ, log=tmp_path / "log")
    much = run_measured([*command, EATS.format(90)], env=os.environ, log=tmp_path / "log")
    assert little.peak < 60 << 20 < 90 << 20 < much.peak < 150 << 20


def test_cpu_counts_children(tmp_path: Path) -> None:
    spin = "import time\nwhile time.process_time() < 0.3: pass"
    cost = run_measured(
        ["sh", "-c", f"'{sys.executable}' -c '{spin}'; :"], env=os.environ, log=tmp_path / "log"
    )
    assert cost.cpu >= 0.3
    assert cost.seconds >= 0.3


def test_failure_is_told_with_its_output(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="so it is"):
        run_measured(["sh", "-c", "echo so it is; exit 3"], env=os.environ, log=tmp_path / "log")


def test_a_server_is_measured_beside_the_command(tmp_path: Path) -> None:
    waits = "import sys\n" + EATS + "print('ready', flush=True)\nsys.stdin.read()"
    server = subprocess.Popen(
        [sys.executable, "-c", waits.format(80)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        cost = run_measured(["true"], env=os.environ, log=tmp_path / "log", server=ServerProbe(server.pid))
        server.terminate()
    assert (cost.server_peak or 0) > 80 << 20
    assert cost.server_cpu is not None
    assert cost.server_cpu < 0.2
