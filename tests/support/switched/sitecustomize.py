"""On PYTHONPATH, this switches one function off in every Python that a test starts, as soon as it is loaded.

MUNIMENT_SWITCH_OFF names it by its dotted path, MUNIMENT_SWITCHED_TO is the text of the lambda it becomes,
MUNIMENT_SWITCHED a file that is made once it happened. `tests.support.switch_off` sets them.
"""

from __future__ import annotations

import os
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_PATH = os.environ.get("MUNIMENT_SWITCH_OFF", "")


class _Switching(Loader):
    """Loads as the module's own loader does, then switches."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        rest = _PATH.removeprefix(module.__name__ + ".").split(".")
        found = module
        for name in rest:
            found = getattr(found, name, None)
        if found is not None:
            _switch(found)

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        if not _PATH.startswith(name + ".") or name not in (_PATH.rsplit(".", 1)[0], _PATH.rsplit(".", 2)[0]):
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None and spec.origin and spec.origin.endswith(".py"):
            spec.loader = _Switching(spec.loader)
        return spec


def _switch(found: object) -> None:
    found = getattr(found, "__func__", found)
    while hasattr(found, "__wrapped__"):
        found = found.__wrapped__
    stub = eval(os.environ["MUNIMENT_SWITCHED_TO"], found.__globals__)
    found.__code__, found.__defaults__, found.__kwdefaults__ = (
        stub.__code__, stub.__defaults__, stub.__kwdefaults__
    )  # fmt: skip
    Path(os.environ["MUNIMENT_SWITCHED"]).touch()


if _PATH:
    sys.meta_path.insert(0, _Finder())
