"""A systemd user instance of its own, as a login starts one, in a mount namespace where `/run` is private.

What talks to it runs inside: `UserSystemd.inside` goes before a command. Nothing that runs on this machine
beside it is seen or touched. Needs rights that tests often lack; `why_not` says which.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.support.server import wait_until

MANAGER = Path("/lib/systemd/systemd")
_CGROUPS = Path("/sys/fs/cgroup")
_START = """\
set -e
for group in "$@"; do echo $$ > "$group/cgroup.procs"; done
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/systemd/system "$XDG_RUNTIME_DIR"
chmod 700 "$XDG_RUNTIME_DIR"
exec /lib/systemd/systemd --user --unit=basic.target
"""


def _hierarchies() -> list[Path]:
    """Where systemd keeps its groups: one unified tree, or those of the hybrid and the old layout."""
    old = [path for path in (_CGROUPS / "systemd", _CGROUPS / "unified") if path.is_dir()]
    return old or [_CGROUPS]


@cache
def why_not() -> str | None:
    """Why no systemd user instance can be started here; None where it can."""
    if os.geteuid() != 0:
        return "it needs root, for a control group and a mount namespace"
    if not MANAGER.exists():
        return f"{MANAGER} is not installed"
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
        return "no mount namespace can be made"
    for hierarchy in _hierarchies():
        probe = hierarchy / f"muniment-probe-{os.getpid()}"
        try:
            probe.mkdir()
            probe.rmdir()
        except OSError as error:
            return f"no control group can be made: {error}"
    return None


@dataclass
class UserSystemd:
    """`home` is that of the user, who is ourselves; what the manager says is in `log`."""

    home: Path
    process: subprocess.Popen[bytes] | None = None
    _groups: list[Path] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What a login would set."""
        return {"HOME": str(self.home), "PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": "/run/user/0"}

    @property
    def inside(self) -> list[str]:
        assert self.process is not None
        return ["nsenter", "--mount", f"--target={self.process.pid}", "--", sys.executable]

    @property
    def log(self) -> Path:
        return self.home.with_name("user-systemd.log")

    @property
    def units(self) -> Path:
        return self.home / ".config" / "systemd" / "user"

    def stamp(self, timer: str) -> Path:
        """The file whose time says when a persistent timer last ran."""
        return self.home / ".local" / "share" / "systemd" / "timers" / f"stamp-{timer}"

    def start(self) -> UserSystemd:
        self.home.mkdir(exist_ok=True)
        self._groups = [hierarchy / f"muniment-test-{os.getpid()}" for hierarchy in _hierarchies()]
        for group in self._groups:
            group.mkdir(exist_ok=True)
        command = ["unshare", "--mount", "--propagation", "private", "bash", "-c", _START, "start"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self._groups], env=self.environment | {"SYSTEMD_LOG_TARGET": "console"},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        wait_until(lambda: self.ask("is-active", "basic.target").returncode == 0)
        return self

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`systemctl --user WORDS`, inside."""
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        command = [*self.inside[:-1], "systemctl", "--user", *words]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True)

    def stop(self) -> None:
        """As at logout: the manager ends all that it started, then itself."""
        if self.process is None:
            return
        process, self.process = self.process, None
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        for group in self._groups:
            for inner in sorted(group.rglob("*/"), reverse=True):
                inner.rmdir()
            group.rmdir()
