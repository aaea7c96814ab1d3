"""A customer's machine: a home of its own, and the command line run in processes of its own."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.nursery import Child, Nursery

Running = subprocess.Popen[str] | Child

PASSPHRASE = "correct horse battery staple"
RUN_SECONDS = 240


@dataclass(frozen=True)
class Ran:
    """A finished command. `document` is the object it printed last: its result, or its error."""

    code: int
    document: Any
    stderr: str

    @property
    def said(self) -> str:
        """Everything it told a person or script, for looking for names and advice in it."""
        return f"{json.dumps(self.document, ensure_ascii=False)}\n{self.stderr}"


@dataclass
class Machine:
    """`prefix` runs the command line under another program; `environment` adds to ours."""

    home: Path
    prefix: Sequence[str] = ()
    environment: dict[str, str] = field(default_factory=dict)
    nursery: Nursery | None = None
    """Where its processes come from, for tests that need many."""
    vault: str = ""
    device: str = ""
    kit: str = ""

    def command(self, *arguments: str | Path) -> list[str]:
        program = ["-m", "muniment.main.cli"]
        return [*(self.prefix or [sys.executable]), *program, "--json", *map(str, arguments)]

    def surroundings(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        cleaned = {name: value for name, value in os.environ.items() if not name.startswith("MUNIMENT_")}
        return {
            **cleaned,
            "MUNIMENT_HOME": str(self.home),
            "MUNIMENT_PASSPHRASE": PASSPHRASE,
            "MUNIMENT_PATIENCE": "20",
            **self.environment,
            **(more or {}),
        }

    def begin(self, *arguments: str | Path, more: Mapping[str, str] | None = None) -> Running:
        """Start a command and do not wait for it."""
        if self.nursery is not None:
            words = ["--json", *map(str, arguments)]
            return self.nursery.begin(words, environment=self.surroundings(more))
        return subprocess.Popen(
            self.command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.surroundings(more),
        )

    def end(self, process: Running) -> Ran:
        """Wait for a command that was begun."""
        try:
            stdout, stderr = process.communicate(timeout=RUN_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            stdout, stderr = process.communicate()
            raise AssertionError(f"the command did not end; it said:\n{stderr[-4000:]}") from None
        lines = stdout.strip().splitlines()
        return Ran(process.returncode, json.loads(lines[-1]) if lines else None, stderr)

    def run(self, *arguments: str | Path, more: Mapping[str, str] | None = None) -> Ran:
        return self.end(self.begin(*arguments, more=more))

    def done(self, *arguments: str | Path, more: Mapping[str, str] | None = None) -> Any:
        """The result of a command that must succeed."""
        ran = self.run(*arguments, more=more)
        assert ran.code == 0, f"{arguments} ended with {ran.code}: {ran.said}"
        return ran.document

    def connect(self, url: str, code: str, *arguments: str) -> Machine:
        connected = self.done("connect", url, "--code", code, *arguments)
        self.vault, self.device = connected["vault"], connected["device"]
        self.kit = connected["recovery_kit"] or self.kit
        return self

    def state(self) -> Path:
        """The directory of this machine's local state of the vault."""
        return self.home / "state" / self.vault


def differences(source: Path, restored: Path) -> list[str]:
    """What of `source` is not the same in `restored`: names, types, modes, times, contents, link targets."""
    found: list[str] = []
    ours, theirs = _listing(source), _listing(restored)
    found += [f"missing: {name}" for name in sorted(ours.keys() - theirs.keys())]
    found += [f"surplus: {name}" for name in sorted(theirs.keys() - ours.keys())]
    for name in sorted(ours.keys() & theirs.keys()):
        if ours[name] != theirs[name]:
            found.append(f"differs: {name}: {ours[name][:3]} {theirs[name][:3]}")
    return found


def _listing(top: Path) -> dict[str, tuple[Any, ...]]:
    listing: dict[str, tuple[Any, ...]] = {}
    pending = [top]
    while pending:
        path = pending.pop()
        status = path.lstat()
        content: Any = None
        if stat.S_ISDIR(status.st_mode):
            pending += path.iterdir()
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
        listing[str(path.relative_to(top))] = (status.st_mode, status.st_mtime_ns, status.st_uid, content)
    return listing
