"""Runs the program with every port watched, and ends it at a chosen call as a power switch would: SIGKILL.

    python -m tests.support.killing ORDER -- muniment serve --data DIR
    python -m tests.support.killing ORDER -- -m muniment.main.serve --data DIR

ORDER is the path of a file. While it exists it names one moment of one point, such as `after 2 Spool.send`;
the process that reaches the moment for the second time removes the file and kills itself. So one process can
be given an order while it runs, and the one that is started next lives. A point may name its caller:
`inside 1 writing@_make_live`. Moments: before a call, after it, and for contexts inside, before they end.

A composition root of the tests: it wraps the real adapters, and nothing in the program knows of it.
`MUNIMENT_TEST_INTERRUPT` makes the order a Ctrl-C instead: the process goes on, and hears SIGINT.
`MUNIMENT_TEST_CENSUS` names a file to which the process appends each point when it first reaches it;
`MUNIMENT_TEST_RECORD` one to which the server appends what it was offered and what it stored;
`MUNIMENT_TEST_SMALL_PACKS` closes packs early, so that a small tree makes many.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import inspect
import os
import runpy
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from types import FunctionType, ModuleType
from typing import Any

CENSUS = "MUNIMENT_TEST_CENSUS"
INTERRUPT = "MUNIMENT_TEST_INTERRUPT"
RECORD = "MUNIMENT_TEST_RECORD"
SMALL_PACKS = "MUNIMENT_TEST_SMALL_PACKS"

WATCHED: dict[str, tuple[str, ...]] = {
    "muniment.client.spool.uploads": ("Spool", "VaultPacks", "Spool._upload"),
    "muniment.client.spool.directory": ("SpoolDirectory",),
    "muniment.client.state.chunk_index": ("LocalChunkIndex",),
    "muniment.client.state.page_cache": ("LocalPageCache",),
    "muniment.client.state.known_heads": ("KnownHeads",),
    "muniment.client.state.database": ("Database",),
    "muniment.client.transport.server": ("Server",),
    "muniment.client.backup.commits": ("Commits", "Commits._head", "Commits._send", "Commits._settle"),
    "muniment.client.disk.posix": ("PosixDisk", "PosixDirectory", "PosixFile"),
    "muniment.client.disk.target": ("PosixTarget", "PosixTargetDirectory", "PosixStagedFile"),
    "muniment.client.home.places": ("write_private",),
    "muniment.server.store.local": ("LocalObjects", "LocalWriter", "LocalReader"),
    "muniment.server.transactions": ("writing",),
    "muniment.server.vaults.receive": ("Receipt", "begin_receipt", "known_packs"),
}
"""By module: classes, of which every public method is a point; single methods and functions."""

_SMALL = {"muniment.format.pack": {"PACK_TARGET": 256 * 1024, "MIXED_PACK_TARGET": 128 * 1024}}

_RECORDED = {
    "Receipt.finish": lambda self, stored: f"stored {self.offer.pack.hex} {stored.created}",
    "begin_receipt": lambda _deployment, _access, offer, begun: (
        f"offered {offer.pack.hex} {type(begun).__name__}"
    ),
}


class Orders:
    """The order file, as the process under test reads it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._census = os.environ.get(CENSUS)
        self._counted: set[tuple[str, str]] = set()

    def reach(self, moment: str, point: str, caller: str) -> None:
        """Die here if that is the order."""
        if self._census is not None and (point, caller) not in self._counted:
            self._counted.add((point, caller))
            _append(self._census, f"{point}@{caller}")
        try:
            with open(self._path, encoding="ascii") as file:
                order = file.read()
        except FileNotFoundError:
            return
        wanted, number, name = order.split(maxsplit=2)
        if wanted != moment or name not in (point, f"{point}@{caller}"):
            return
        with self._lock:
            self._seen[order] += 1
            if self._seen[order] == int(number):
                os.unlink(self._path)
                if INTERRUPT in os.environ:
                    os.kill(os.getpid(), signal.SIGINT)
                    return
                os.kill(os.getpid(), signal.SIGKILL)
                signal.pause()


def watch(function: Callable[..., Any], point: str, orders: Orders) -> Callable[..., Any]:
    """`function`, which dies before, inside or after a call when ordered to."""
    record = os.environ.get(RECORD)
    recorded = _RECORDED.get(point)
    is_context = inspect.isgeneratorfunction(inspect.unwrap(function)) and hasattr(function, "__wrapped__")

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        caller = sys._getframe(1).f_code.co_name
        if is_context:
            return _watched_context(function, arguments, named, point, caller, orders)
        orders.reach("before", point, caller)
        result = function(*arguments, **named)
        if record is not None and recorded is not None:
            _append(record, recorded(*arguments, result))
        orders.reach("after", point, caller)
        return result

    return call


@contextmanager
def _watched_context(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    named: dict[str, Any],
    point: str,
    caller: str,
    orders: Orders,
) -> Iterator[Any]:
    orders.reach("before", point, caller)
    with function(*arguments, **named) as value:
        yield value
        orders.reach("inside", point, caller)
    orders.reach("after", point, caller)


def points_of(name: str, module: ModuleType) -> Iterator[tuple[Any, str, str]]:
    """(owner, attribute, point) of everything that one name of `WATCHED` stands for."""
    owner_name, _, attribute = name.rpartition(".")
    if owner_name:
        yield getattr(module, owner_name), attribute, name
        return
    subject = getattr(module, name)
    if not inspect.isclass(subject):
        yield module, name, name
        return
    for attribute, value in vars(subject).items():
        if isinstance(value, FunctionType) and not attribute.startswith("_"):
            yield subject, attribute, f"{name}.{attribute}"


class _WatchingFinder(importlib.abc.MetaPathFinder):
    """Wraps the points of a module the moment it is loaded, before anybody can take a name from it."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in WATCHED and fullname not in _SMALL:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = functools.partial(self._execute, spec.loader.exec_module)  # type: ignore[method-assign]
        return spec

    def _execute(self, execute: Callable[[ModuleType], None], module: ModuleType) -> None:
        execute(module)
        for name in WATCHED.get(module.__name__, ()):
            for owner, attribute, point in list(points_of(name, module)):
                setattr(owner, attribute, watch(getattr(owner, attribute), point, self._orders))
        if SMALL_PACKS in os.environ:
            vars(module).update(_SMALL.get(module.__name__, {}))


def _append(path: str, line: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode("ascii") + b"\n")
    finally:
        os.close(descriptor)


def watch_imports(orders: Orders) -> None:
    """From here on, every module of `WATCHED` is wrapped when it is imported."""
    sys.meta_path.insert(0, _WatchingFinder(orders))


def main() -> None:
    order, separator, *argv = sys.argv[1:]
    assert separator == "--"
    watch_imports(Orders(order))
    if argv[0] == sys.executable:
        argv = argv[1:]
    if argv[0] == "-m":
        sys.argv = argv[1:]
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
        return
    (script,) = entry_points(group="console_scripts", name=os.path.basename(argv[0]))
    sys.argv = argv
    sys.exit(script.load()())


if __name__ == "__main__":
    main()
