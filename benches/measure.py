"""What a command cost: wall time, CPU seconds and peak memory, its own and the service's beside it."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LAUNCHER = Path(__file__).with_name("launch.py")
TICKS = os.sysconf("SC_CLK_TCK")


class CommandFailed(Exception):
    """A measured command did not do its work; a bench that hides this measures nothing."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds and bytes of one command; `server_*` are the service's share while it ran."""

    seconds: float
    cpu: float
    peak: int
    server_cpu: float | None = None
    server_peak: int | None = None


@dataclass(frozen=True, slots=True)
class ServerProbe:
    """CPU and peak memory of a process that runs beside the measured command."""

    pid: int

    def cpu(self) -> float:
        """User and system seconds so far. proc(5): fields 14 and 15, counted after the name."""
        text = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8")
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def peak(self) -> int:
        """VmHWM in bytes: the most that was resident since `forget_peak`."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
        return int(found[1]) * 1024 if found else 0

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5", encoding="ascii")


def run_measured(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    log: Path,
    server: ServerProbe | None = None,
) -> Cost:
    """Run `command` to its end and say what it cost, children included; its output goes to `log`.

    Peak memory is that of the command's largest single process. CommandFailed carries the log's end.
    """
    before = server.cpu() if server else 0.0
    if server:
        server.forget_peak()
    report = log.with_suffix(".cost")
    launched = [sys.executable, "-I", "-S", str(LAUNCHER), str(report), *map(str, command)]
    with log.open("wb") as out:
        done = subprocess.run(
            launched, env=dict(env), stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False
        )
    if done.returncode != 0:
        tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise CommandFailed(f"{command} ended with exit code {done.returncode}:\n{tail}")
    seconds, cpu, peak = report.read_text(encoding="ascii").split()
    return Cost(
        seconds=float(seconds),
        cpu=float(cpu),
        peak=int(peak),
        server_cpu=server.cpu() - before if server else None,
        server_peak=server.peak() if server else None,
    )


def machine(place: Path) -> dict[str, str]:
    """What the figures were measured on, without naming the machine."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    # Not `stat -f`: it cannot tell ext4 from its elders.
    kind = subprocess.run(
        ["findmnt", "-n", "-o", "FSTYPE", "--target", place], capture_output=True, text=True, check=True
    ).stdout.strip()
    return {
        "cpu": model[1].strip() if model else platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory / (1 << 30):.0f} GiB",
        "kernel": ".".join(platform.release().split(".")[:2]),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", platform.system()),
        "file system": kind,
        "python": platform.python_version(),
    }
