"""A real `muniment serve` in a process of its own, on a directory of its own, for tests.

    def test_it(server: Served) -> None:          # conftest: from tests.support.server import server
        code = server.create_account("a@example.org")
        ... server.url ...

The process is ended by its id, and only that process.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import begin, environment_for
from tests.support.nursery import REPOSITORY, Child, Nursery

START_SECONDS = 60


@cache
def warm_servers() -> Nursery:
    """Where the servers of all tests of this process are born, so that none spends its life importing."""
    nursery = Nursery(None, "server")
    atexit.register(nursery.close)
    return nursery


@dataclass
class Served:
    """`options` go to `muniment serve`, `environment` adds to ours, `prefix` runs it, cold, under a program.

    `config` sets fields of ServerConfig that no option sets (`{"removal_delay": 1}`), for `admin` too.
    """

    data: Path
    options: Sequence[str] = ()
    environment: dict[str, str] = field(default_factory=dict)
    prefix: Sequence[str] = ()
    config: dict[str, float] = field(default_factory=dict)
    nursery: Nursery | None = None
    """Where its processes come from; the one of all tests unless they are to be watched, or start cold."""
    url: str = ""
    process: subprocess.Popen[str] | Child | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def log(self) -> Path:
        """Where the server's standard error goes."""
        return self.data.with_name(self.data.name + ".log")

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def start(self, *, port: int = 0) -> Served:
        """Start, and wait until it says that it listens. A restarted server keeps its port."""
        begin(self.data)
        arguments = ["--data", str(self.data), "--port", str(port), "--json", *self.options]
        environment = {**os.environ, **environment_for(self.data), **self.environment}
        if not self.prefix:
            self.process = self._warm().begin(
                ["serve", *arguments], environment=environment, stderr=self.log, config=self.config
            )
        else:
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    [*self.prefix, sys.executable, "-m", "muniment.main.serve", *arguments],
                    stdout=subprocess.PIPE, stderr=log, cwd=REPOSITORY, env=environment, text=True,
                )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait(timeout=START_SECONDS)
            raise AssertionError(f"the server did not start:\n{self.log.read_text()[-4000:]}")
        self.url = json.loads(line)["url"]
        return self

    def _warm(self) -> Nursery:
        return self.nursery or warm_servers()

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: no farewell."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """SIGKILL, and nothing more of it afterwards."""
        self.kill()
        if self.nursery is not None:
            self.nursery.close()

    def restart(self) -> Served:
        """Start again on the same directory and port, after `stop` or `kill`."""
        if self.process is not None:
            self.stop()
        return self.start(port=self.port)

    @contextmanager
    def absent(self, *, how: signal.Signals = signal.SIGTERM) -> Iterator[None]:
        """Stopped, and started again at the end. Nobody else answers on its port meanwhile: the system gives
        a free one to whoever asks next, and tests beside this one ask.
        """
        self._end(how)
        with socket.socket() as held:
            # Bound and not listening: connections are refused, and the server can bind again beside it.
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind(("127.0.0.1", self.port))
            yield
            self.start(port=self.port)

    def _end(self, number: signal.Signals) -> int:
        if self.process is None:
            return 0
        process, self.process = self.process, None
        if process.poll() is None:
            process.send_signal(number)
        code = process.wait(timeout=30)
        if process.stdout is not None:
            process.stdout.close()
        return code

    def admin(self, *arguments: str) -> dict[str, Any]:
        """The JSON that `muniment admin …` answers; AssertionError when it fails."""
        done = self.try_admin(*arguments)
        assert done.returncode == 0, f"{arguments} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout)

    def try_admin(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        words = [*arguments, "--data", str(self.data), "--json"]
        environment = {**os.environ, **environment_for(self.data)}
        child = self._warm().begin(["admin", *words], environment=environment, config=self.config)
        said, errors = child.communicate(120)
        return subprocess.CompletedProcess(words, child.wait(), said, errors)

    def create_account(self, email: str = "owner@example.org") -> str:
        """The enrolment code of a new account."""
        return self.admin("create-account", email)["code"]

    def enrol(self, email: str = "owner@example.org") -> str:
        """A code for a further device."""
        return self.admin("enrol", email)["code"]

    def confirm(self, request: str) -> dict[str, Any]:
        return self.admin("confirm", request, "--reason", "the owner asked by telephone")

    def peak_memory(self) -> int:
        """Bytes: the most that the process ever had resident."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024


def wait_until(condition: Any, *, seconds: float = 60.0) -> None:
    """Return once `condition()` holds; AssertionError when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    """A fresh server over plain HTTP on a free loopback port."""
    served = Served(tmp_path / "server").start()
    try:
        yield served
    finally:
        served.close()


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for a module's tests, which make accounts of their own."""
    served = Served(tmp_path_factory.mktemp("shared") / "server").start()
    try:
        yield served
    finally:
        served.close()
