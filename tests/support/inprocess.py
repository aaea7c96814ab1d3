"""A machine with Muniment on it, whose commands run in this process: hundreds of them in a test's time.

They go through the very entry point that the installed program has; `apart` runs one in a process of its own.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from muniment.client.home.config import Config, Connection
from muniment.client.home.keychain import DeviceSecrets, recall
from muniment.client.home.places import Home
from muniment.main.cli import run

PASSPHRASE = "four words and a horse"


@dataclass
class Ran:
    """What a command came to. `documents`: the JSON lines of standard output."""

    code: int
    out: str
    err: str

    @property
    def documents(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines() if line]

    @property
    def result(self) -> Any:
        assert self.documents, f"no result; exit {self.code}\n{self.err}"
        return self.documents[-1]

    @property
    def error(self) -> str | None:
        """The class of the error that ended it."""
        last = self.documents[-1] if self.documents else None
        return last.get("error") if isinstance(last, dict) else None

    def expect(self, code: int) -> Ran:
        assert self.code == code, f"exit {self.code}, not {code}\n{self.out}\n{self.err}"
        return self


@dataclass
class Machine:
    """`home` is its MUNIMENT_HOME. A copy of it is another life of the same device."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    def muniment(self, *arguments: object, server: str = "", **environment: str) -> Ran:
        """Run a command with `--json`; `server` goes before the configured address."""
        words = ["--json", *(["--server", server] if server else []), *map(str, arguments)]
        out, err = io.StringIO(), io.StringIO()
        code: object = None
        with self._as_process(environment), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                run(words)
            except SystemExit as leave:
                code = leave.code
        assert isinstance(code, int)
        return Ran(code, out.getvalue(), err.getvalue())

    def apart(self, *arguments: object, as_json: bool = True, **environment: str) -> Ran:
        """The same in a process of its own."""
        words = [*(["--json"] if as_json else []), *map(str, arguments)]
        done = subprocess.run(
            [sys.executable, "-m", "muniment.main.cli", *words],
            env={**os.environ, **self._variables(environment)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def connect(self, url: str, code: str, *options: object) -> Ran:
        return self.muniment("connect", url, "--code", code, *options)

    def copy_to(self, home: Path) -> Machine:
        """As if the disk had been cloned."""
        shutil.copytree(self.home, home)
        return Machine(home, dict(self.environment))

    @property
    def connection(self) -> Connection:
        return Config.load(self._home).connection(None)

    @property
    def secrets(self) -> DeviceSecrets:
        return recall(self.connection.credentials, home=self._home, vault=self.connection.vault)

    @property
    def _home(self) -> Home:
        return Home(self.home, self.home / "state", self_contained=True)

    def _variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        return {
            "MUNIMENT_HOME": str(self.home),
            "MUNIMENT_PASSPHRASE": PASSPHRASE,
            "MUNIMENT_PATIENCE": "2",
            **self.environment,
            **environment,
        }

    @contextlib.contextmanager
    def _as_process(self, environment: Mapping[str, str]) -> Iterator[None]:
        before = dict(os.environ)
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        os.environ.update(self._variables(environment))
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)
            for number, handler in handlers.items():
                signal.signal(number, handler)
