"""What a schedule runs and how often, whichever scheduler runs it."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import Protocol

from muniment.client.home.places import Home
from muniment.model.errors import UsageError
from muniment.model.ids import VaultId

CALENDAR = {"hourly": "1h", "daily": "1d", "weekly": "7d"}
"""How often → how old the last run must be."""

COMMAND_SECONDS = 60

_PROXIES = {"https_proxy", "http_proxy", "all_proxy", "no_proxy"}
"""Read in capitals and in small letters."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """One set of one vault, backed up `every` hourly, daily or weekly."""

    vault: VaultId
    set_name: str
    every: str
    home: Home

    @property
    def name(self) -> str:
        """Of units and lines: one per vault and set, of letters that any scheduler takes."""
        safe = re.sub("[^A-Za-z0-9]", "-", self.set_name)[:40]
        if safe != self.set_name:
            safe += "-" + hashlib.sha256(self.set_name.encode()).hexdigest()[:8]
        return f"muniment-{self.vault.hex[:8]}-{safe}"

    def command(self) -> list[str]:
        """Exactly what the scheduler will run."""
        return [*program(), "backup", "--vault", self.vault.hex, "--set", self.set_name]

    def environment(self) -> dict[str, str]:
        """All that the scheduled run may rely on, beside what the scheduler itself gives it."""
        kept = {"MUNIMENT_HOME": str(self.home.config)} if self.home.self_contained else {}
        for name, value in os.environ.items():
            if name in ("MUNIMENT_PATIENCE", "SSL_CERT_FILE") or name.lower() in _PROXIES:
                kept[name] = value
        return kept


class Scheduler(Protocol):
    """Puts a schedule into effect. Each method raises MunimentError with what the system said."""

    @property
    def label(self) -> str:
        """How to call it to people."""

    @property
    def name(self) -> str:
        """How programs know it: "systemd" or "cron"."""

    def prove(self, schedule: Schedule) -> int:
        """Run the command once the way the scheduler will; its exit code."""

    def install(self, schedule: Schedule) -> None: ...

    def remove(self, schedule: Schedule) -> None: ...

    def describe(self, schedule: Schedule) -> str | None:
        """When it runs next, as the scheduler tells it; None where it is not installed."""


def program() -> list[str]:
    """How to call ourselves from anywhere: the installed command, else the interpreter's module."""
    beside = os.path.join(os.path.dirname(sys.executable), "muniment")
    found = beside if os.access(beside, os.X_OK) else shutil.which("muniment")
    return [os.path.abspath(found)] if found else [sys.executable, "-m", "muniment.main.cli"]


def shell_line(words: list[str]) -> str:
    return " ".join(shlex.quote(word) for word in words)


def checked_every(every: str) -> str:
    if every not in CALENDAR:
        raise UsageError(f"a schedule runs {', '.join(CALENDAR)}, not {every!r}")
    return every


def ask_system(command: list[str], *, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a tool of the system; its absence is an answer like any other (exit code 127)."""
    try:
        return subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )
    except FileNotFoundError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"{command[0]} did not answer")
