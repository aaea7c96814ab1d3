"""Processes that are born warm: forked from one that has imported everything, each starts in an instant.

Hundreds of kills need thousands of processes; most of the life of each would be importing. A child is a
process like any other: it has its own environment and output, and can be killed.

    python -m tests.support.nursery ORDER client          # watched as in tests.support.killing
    python -m tests.support.nursery ORDER server
    python -m tests.support.nursery - client              # not watched: the program as it is
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from tests.support.dialling import end_if_it_dials
from tests.support.killing import Orders, watch_imports

REPOSITORY = Path(__file__).parents[2]
_UNKNOWN = 255 << 8
"""The wait status given to children whose end nobody saw: exit code 255."""


class Child:
    """As much of `subprocess.Popen` as tests need."""

    def __init__(self, nursery: Nursery, pid: int, stdout: TextIOWrapper, stderr: Path) -> None:
        self.pid, self.stdout, self._stderr = pid, stdout, stderr
        self._nursery = nursery
        self._ended = threading.Event()
        self.returncode: int | None = None
        self._reached = threading.Lock()
        try:
            # By handle: an id may be somebody else's by the time a test gets to use it.
            self._handle: int | None = os.pidfd_open(pid)
        except ProcessLookupError:
            self._handle = None

    def send_signal(self, number: int) -> None:
        with self._reached:
            if self._handle is not None:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        killer = threading.Timer(timeout or 600, self.kill)
        killer.start()
        try:
            said = self.stdout.read()
            self.stdout.close()
            self.wait(timeout)
        finally:
            killer.cancel()
        return said, self._stderr.read_text()

    def end(self, status: int) -> None:
        """Told by the nursery."""
        with self._reached:
            if self._handle is not None:
                os.close(self._handle)
                self._handle = None
        self.returncode = os.waitstatus_to_exitcode(status)
        self._ended.set()


class Nursery:
    """The parent, as a test sees it. `begin` may be called from one thread at a time."""

    def __init__(
        self, order: Path | None, role: str, *, environment: Mapping[str, str] | None = None
    ) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="nursery-", dir=order.parent if order else None))
        self._births = 0
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.support.nursery", str(order or "-"), role],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self._children: dict[int, Child] = {}
        self._born: dict[str, int] = {}
        self._news = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()

    def begin(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        stderr: Path | None = None,
        config: Mapping[str, float] | None = None,
    ) -> Child:
        """Run `muniment` with these arguments in a fresh child; `config` as in tests.support.configured."""
        self._births += 1
        name = f"{self._births}"
        fifo = self._directory / f"{name}.out"
        errors = stderr or self._directory / f"{name}.err"
        os.mkfifo(fifo)
        request = {"name": name, "argv": list(argv), "env": dict(environment)}
        request |= {"config": dict(config or {})}
        request |= {"stdout": str(fifo), "stderr": str(errors), "cwd": os.getcwd()}
        assert self._parent.stdin is not None
        self._parent.stdin.write(json.dumps(request) + "\n")
        self._parent.stdin.flush()
        stdout = fifo.open(encoding="utf-8")
        fifo.unlink()
        with self._news:
            assert self._news.wait_for(lambda: name in self._born, timeout=60), "nothing was born"
            child = self._children[self._born[name]] = Child(self, self._born[name], stdout, errors)
            self._news.notify_all()
        return child

    def close(self) -> None:
        """End the parent and every child that is left."""
        for child in list(self._children.values()):
            child.kill()
        assert self._parent.stdin is not None
        self._parent.stdin.close()
        self._parent.wait(30)
        shutil.rmtree(self._directory)

    def _listen(self) -> None:
        assert self._parent.stdout is not None
        for line in self._parent.stdout:
            news = json.loads(line)
            with self._news:
                if "name" in news:
                    self._born[news["name"]] = news["pid"]
                    self._news.notify_all()
                else:
                    self._news.wait_for(lambda pid=news["pid"]: pid in self._children, timeout=60)
                    self._children.pop(news["pid"]).end(news["status"])
        with self._news:
            # The parent is gone: nobody shall wait for what it can no longer tell.
            for child in self._children.values():
                child.kill()
                child.end(_UNKNOWN)
            self._children.clear()


# --- the parent itself


def _preload(role: str) -> None:
    if role == "client":
        cli = import_module("muniment.main.cli")
        import_module("muniment.main.client")
        for name in cli.COMMANDS.keys() - cli.SERVER_COMMANDS:
            import_module(cli.COMMANDS[name][0].partition(":")[0])
        return
    serve = import_module("muniment.main.serve")
    with tempfile.TemporaryDirectory() as nowhere:
        config = import_module("muniment.server.config").ServerConfig(data=Path(nowhere))
        serve.load_embedded("serve", config)
    import_module("muniment.main.admin")
    import_module("uvicorn.protocols.http.httptools_impl")
    _forget_settings()


def _forget_settings() -> None:
    """What is imported stays; each child sets Django up for its own data directory, as a cold one does."""
    from django.conf import empty, settings
    from django.db import connections

    connections.close_all()
    for alias in list(connections):
        del connections[alias]
    connections._settings = None
    connections.__dict__.pop("settings", None)
    settings._wrapped = empty


def _live(request: Any) -> None:
    """What the child is; never returns."""
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    devnull = os.open(os.devnull, os.O_RDONLY)
    stdout = os.open(request["stdout"], os.O_WRONLY)
    stderr = os.open(request["stderr"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number, descriptor in enumerate((devnull, stdout, stderr)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    code = 1
    try:
        if request["config"]:
            import_module("tests.support.configured").configure(request["config"])
        if request["argv"][0] == "serve":
            end_if_it_dials()
        import_module("muniment.main.cli").run(request["argv"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _tell(**news: Any) -> None:
    os.write(1, json.dumps(news).encode() + b"\n")


def main() -> None:
    order, role = sys.argv[1:]
    if order != "-":
        watch_imports(Orders(order))
    _preload(role)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: set[int] = set()
    waiting = b""
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            for pid in list(children):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    children.remove(pid)
                    _tell(pid=pid, status=status)
        if 0 in ready:
            received = os.read(0, 1 << 20)
            if not received:
                for pid in children:
                    os.kill(pid, signal.SIGKILL)
                return
            *lines, waiting = (waiting + received).split(b"\n")
            for line in lines:
                request = json.loads(line)
                pid = os.fork()
                if pid == 0:
                    _live(request)
                children.add(pid)
                _tell(name=request["name"], pid=pid)


if __name__ == "__main__":
    main()
