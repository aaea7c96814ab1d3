"""A customer's machine: a home of its own, and the command line as it is run there."""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from muniment.client.home.config import Config, Connection
from muniment.client.home.keychain import DeviceSecrets, recall
from muniment.client.home.places import Home
from muniment.main.cli import run
from tests.support.nursery import Child, Nursery

Running = subprocess.Popen[str] | Child

PASSPHRASE = "correct horse battery staple"
RUN_SECONDS = 240


@dataclass(frozen=True)
class Ran:
    """A finished command: its exit code, and what it wrote to its two outputs."""

    code: int
    out: str
    err: str

    @property
    def documents(self) -> list[Any]:
        """The JSON lines of its output."""
        return [json.loads(line) for line in self.out.splitlines() if line]

    @property
    def result(self) -> Any:
        """The object it printed last: its result, or its error."""
        assert self.documents, f"no result; exit {self.code}\n{self.err}"
        return self.documents[-1]

    @property
    def error(self) -> str | None:
        """The class of the error that ended it."""
        last = self.documents[-1] if self.documents else None
        return last.get("error") if isinstance(last, dict) else None

    @property
    def said(self) -> str:
        """Everything it told a person or script, for looking for names and advice in it."""
        told = "\n".join(json.dumps(document, ensure_ascii=False) for document in self.documents)
        return f"{told}\n{self.err}"

    def expect(self, code: int) -> Ran:
        assert self.code == code, f"exit {self.code}, not {code}\n{self.out}\n{self.err}"
        return self


@cache
def warm_clients() -> Nursery:
    """Where the commands of all tests of this process are born, so that none spends its life importing."""
    nursery = Nursery(None, "client")
    atexit.register(nursery.close)
    return nursery


@dataclass
class Machine:
    """`home` is its MUNIMENT_HOME; `environment` adds to ours; `prefix` runs its processes under a program.

    `run` and what builds on it start a process; `muniment` does the same within this one.
    """

    home: Path
    prefix: Sequence[str] = ()
    environment: dict[str, str] = field(default_factory=dict)
    nursery: Nursery | None = None
    """Where its processes come from; the one of all tests unless they are to be watched, or have a prefix."""
    vault: str = ""
    device: str = ""
    kit: str = ""

    # --- in processes of their own

    def command(self, *arguments: object) -> list[str]:
        program = ["-m", "muniment.main.cli"]
        return [*(self.prefix or [sys.executable]), *program, *map(str, arguments)]

    def surroundings(self, more: Mapping[str, str] | None = None, *, patience: int = 20) -> dict[str, str]:
        """The whole environment of a command. `patience`: seconds, where nobody says otherwise."""
        cleaned = {name: value for name, value in os.environ.items() if not name.startswith("MUNIMENT_")}
        return {
            **cleaned,
            "MUNIMENT_HOME": str(self.home),
            "MUNIMENT_PASSPHRASE": PASSPHRASE,
            "MUNIMENT_PATIENCE": str(patience),
            **self.environment,
            **(more or {}),
        }

    def begin(self, *arguments: object, more: Mapping[str, str] | None = None) -> Running:
        """Start a command with `--json` and do not wait for it."""
        return self._begin(["--json", *map(str, arguments)], self.surroundings(more))

    def end(self, process: Running) -> Ran:
        """Wait for a command that was begun."""
        try:
            stdout, stderr = process.communicate(timeout=RUN_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            stdout, stderr = process.communicate()
            raise AssertionError(f"the command did not end; it said:\n{stderr[-4000:]}") from None
        assert process.returncode is not None
        return Ran(process.returncode, stdout, stderr)

    def run(self, *arguments: object, more: Mapping[str, str] | None = None) -> Ran:
        return self.end(self.begin(*arguments, more=more))

    def done(self, *arguments: object, more: Mapping[str, str] | None = None) -> Any:
        """The result of a command that must succeed."""
        ran = self.run(*arguments, more=more)
        assert ran.code == 0, f"{arguments} ended with {ran.code}: {ran.said}"
        return ran.result if ran.documents else None

    def told(self, *arguments: object, **environment: str) -> Ran:
        """Run without `--json`: what a person is told."""
        return self.end(self._begin(list(map(str, arguments)), self.surroundings(environment, patience=2)))

    def connect(self, url: str, code: str, *arguments: str) -> Machine:
        connected = self.done("connect", url, "--code", code, *arguments)
        self.vault, self.device = connected["vault"], connected["device"]
        self.kit = connected["recovery_kit"] or self.kit
        return self

    def _begin(self, words: list[str], environment: dict[str, str]) -> Running:
        if not self.prefix:
            return (self.nursery or warm_clients()).begin(words, environment=environment)
        return subprocess.Popen(
            self.command(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    # --- within this process, for hundreds in a test's time

    def muniment(self, *arguments: object, server: str = "", **environment: str) -> Ran:
        """Run a command by the very entry point that the installed program has.

        `server` goes before the configured address.
        """
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

    def join(self, url: str, code: str, *options: object) -> Ran:
        """Connect, within this process."""
        return self.muniment("connect", url, "--code", code, *options)

    @contextlib.contextmanager
    def _as_process(self, environment: Mapping[str, str]) -> Iterator[None]:
        before = dict(os.environ)
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        surroundings = self.surroundings(environment, patience=2)
        os.environ.clear()
        os.environ.update(surroundings)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)
            for number, handler in handlers.items():
                signal.signal(number, handler)

    # --- what it knows

    def copy_to(self, home: Path) -> Machine:
        """As if the disk had been cloned."""
        shutil.copytree(self.home, home)
        return Machine(home, environment=dict(self.environment))

    def state(self) -> Path:
        """The directory of this machine's local state of the vault."""
        return self.home / "state" / self.vault

    @property
    def connection(self) -> Connection:
        return Config.load(self._home).connection(None)

    @property
    def secrets(self) -> DeviceSecrets:
        return recall(self.connection.credentials, home=self._home, vault=self.connection.vault)

    @property
    def _home(self) -> Home:
        return Home(self.home, self.home / "state", self_contained=True)


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
