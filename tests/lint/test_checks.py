"""Lint, types and locks, as tests: `make test` is all that CI runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

CHECKS: dict[str, list[object]] = {
    "ruff": [BIN / "ruff", "check", "--no-cache", "."],
    "mypy": [BIN / "mypy"],
    "mypy of the server": [BIN / "mypy", "--config-file", "lint/mypy-server.ini"],
    "basedpyright": [BIN / "basedpyright"],
    "locks": ["scripts/check-locks"],
}


def run(*command: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    line = [str(part) for part in command]
    return subprocess.run(line, cwd=cwd, capture_output=True, text=True, check=False, timeout=280)


@pytest.mark.parametrize("name", CHECKS)
def test_check_passes(name: str) -> None:
    outcome = run(*CHECKS[name])
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("requirements/client.txt", "rich @ https" + "://example.invalid/rich.whl"),
        ("requirements/client.txt", "--index-url mirror"),
        ("requirements/client.txt", "rich==15.0.0"),
        ("uv.lock", "version = 1"),
        ("browser/package-lock.json", '{"resolved": "x"}'),
    ],
)
def test_a_bad_lock_is_refused(tmp_path: Path, file: str, line: str) -> None:
    for part in ("requirements", "scripts"):
        shutil.copytree(ROOT / part, tmp_path / part)
    run("git", "init", "-q", cwd=tmp_path)
    assert run("scripts/check-locks", cwd=tmp_path).returncode == 0
    target = tmp_path / file
    target.parent.mkdir(exist_ok=True)
    with target.open("a", encoding="utf-8") as out:
        out.write(f"{line}\n")
    run("git", "add", "-f", file, cwd=tmp_path)
    assert run("scripts/check-locks", cwd=tmp_path).returncode == 1


def test_commands_the_readme_names_exist() -> None:
    targets = run("make", "help").stdout
    for target in ("quickstart", "serve", "test", "bench", "lint"):
        assert f"make {target}" in targets
