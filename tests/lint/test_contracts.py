"""The import contracts hold, and each notices a planted violation, also an indirect one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")


def lint_imports(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    # The copy's own source comes before the editable install.
    env = os.environ | {"PYTHONPATH": str(root / "src"), "COLUMNS": "200"}
    command = [str(LINT_IMPORTS), "--no-cache", *options]
    return subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False, timeout=99)


@dataclass(frozen=True, slots=True)
class Planted:
    """Lines appended to modules (made where there are none) that one contract must refuse."""

    name: str
    contract: str
    lines: dict[str, str]


PLANTED = (
    Planted("upwards", "layers", {"model/planted": "import muniment.engine.ports"}),
    Planted("sideways", "layers", {"wire/planted": "import muniment.format"}),
    Planted("client in server", "layers", {"client/planted": "import muniment.server"}),
    Planted("server reads keys", "blind-server", {"server/planted": "import muniment.crypto"}),
    Planted("server reads formats", "blind-server", {"server/planted": "from muniment.format import x"}),
    Planted(
        "server reads keys through the composition root",
        "blind-server",
        {"server/planted": "import muniment.main.planted", "main/planted": "import muniment.crypto"},
    ),
    Planted(
        "server reads keys through a module of its own and the wire",
        "blind-server",
        {
            "server/planted": "import muniment.server.planted_too",
            "server/planted_too": "import muniment.wire.planted",
            "wire/planted": "import muniment.engine.planted",
            "engine/planted": "import muniment.crypto",
        },
    ),
    Planted("server chunks", "blind-server", {"server/planted": "import pyfastcdc"}),
    Planted("engine dials", "engine-no-network", {"engine/planted": "import socket"}),
    Planted("engine fetches", "engine-no-network", {"engine/planted": "from httpx2 import Client"}),
    Planted("format writes", "pure", {"format/planted": "import tempfile"}),
    Planted("crypto sleeps", "pure", {"crypto/planted": "from time import sleep"}),
    Planted("wire dials", "wire-no-network", {"wire/planted": "import ssl"}),
    Planted("client needs Django", "client-without-server-stack", {"client/planted": "import django"}),
    Planted(
        "cycle between packages",
        "no-cycles",
        {"server/planted_a/one": "import muniment.server.planted_b.two",
         "server/planted_b/two": "import muniment.server.planted_a.one"},
    ),
)  # fmt: skip


def test_contracts_hold() -> None:
    outcome = lint_imports(ROOT)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copy(ROOT / ".importlinter", tmp_path)
    ignored = shutil.ignore_patterns("__pycache__", "static", "templates")
    shutil.copytree(ROOT / "src" / "muniment", tmp_path / "src" / "muniment", ignore=ignored)
    return tmp_path


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
def test_a_planted_violation_is_found(planted: Planted, copy: Path) -> None:
    for name, line in planted.lines.items():
        module = copy / "src" / "muniment" / f"{name}.py"
        module.parent.mkdir(exist_ok=True)
        (module.parent / "__init__.py").touch()
        with module.open("a", encoding="utf-8") as out:
            out.write(f"{line}\n")
    outcome = lint_imports(copy, "--contract", planted.contract)
    assert outcome.returncode == 1, outcome.stdout + outcome.stderr
    assert "BROKEN" in outcome.stdout
