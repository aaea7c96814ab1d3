"""Files that vanish, grow, refuse or change their kind in the moment they are read; a clock that is wrong."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.machine import Machine, Ran, differences
from tests.support.server import Served, shared_server

__all__ = ["shared_server"]


@pytest.fixture
def machine(shared_server: Served, tmp_path: Path) -> Machine:
    code = shared_server.create_account(f"{os.urandom(6).hex()}@source.org")
    return Machine(tmp_path / "home").connect(shared_server.url, code)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    top.mkdir()
    for number in range(8):
        (top / f"file{number}").write_bytes(os.urandom(30_000))
    (top / "victim").write_bytes(os.urandom(1_200_000))
    then = time.time() - 3600
    for path in top.iterdir():
        os.utime(path, (then, then))
    return top


def run_racing(machine: Machine, orders: dict[str, Any], *arguments: str | Path) -> Ran:
    prefix = [sys.executable, "-m", "tests.support.racing", json.dumps(orders), "--"]
    racing = Machine(machine.home, prefix=prefix, environment=machine.environment)
    return racing.run(*arguments)


def problems(ran: Ran) -> dict[str, str]:
    return {Path(problem["path"]).name: problem["problem"] for problem in ran.result["problems"]}


def assert_good_run(machine: Machine, tree: Path, target: Path) -> None:
    machine.done("backup")
    machine.done("restore", f"latest:{tree}", "--target", target)
    assert differences(tree, target / tree.name) == []


@pytest.mark.parametrize(
    ("action", "code", "problem"),
    [
        ("vanish", 0, "vanished"),
        ("directory", 3, None),
        ("fifo", 3, None),
        ("link", 3, None),
        ("refuse", 3, "unreadable"),
        ("grow", 3, "changed"),
        ("rewrite", 0, None),
    ],
)
def test_first_backup_of_a_file_that_does_this(
    machine: Machine, tree: Path, tmp_path: Path, action: str, code: int, problem: str | None
) -> None:
    before = {path.name: path.read_bytes() for path in tree.iterdir() if path.name != "victim"}
    ran = run_racing(machine, {"disk": {"victim": action}}, "backup", tree)
    assert ran.code == code, ran.said
    if code == 3 or problem:
        assert set(problems(ran)) == {"victim"}, "the file is named, and no other"
    if problem:
        assert problems(ran)["victim"] == problem
    machine.run("restore", f"latest:{tree}", "--target", tmp_path / "meanwhile")
    restored = tmp_path / "meanwhile" / tree.name
    assert {name: (restored / name).read_bytes() for name in before} == before
    if action == "rewrite":
        assert (restored / "victim").read_bytes() == (tree / "victim").read_bytes()
    assert_good_run(machine, tree, tmp_path / "after")


@pytest.mark.parametrize("action", ["refuse", "grow", "fifo"])
def test_a_file_that_cannot_be_read_any_more_keeps_what_is_stored_of_it(
    machine: Machine, tree: Path, tmp_path: Path, action: str
) -> None:
    machine.done("backup", tree)
    stored = (tree / "victim").read_bytes()
    changed = os.urandom(900_000)
    (tree / "victim").write_bytes(changed)
    ran = run_racing(machine, {"disk": {"victim": action}}, "backup")
    assert ran.code == 3, ran.said
    assert set(problems(ran)) == {"victim"}
    machine.run("restore", f"latest:{tree}", "--target", tmp_path / "meanwhile")
    restored = tmp_path / "meanwhile" / tree.name / "victim"
    if action == "refuse":
        assert restored.read_bytes() == stored
    elif action == "grow":
        assert restored.read_bytes()[: len(changed)] == changed
    assert_good_run(machine, tree, tmp_path / "after")


@pytest.mark.parametrize("days", [-400, 400])
def test_a_wrong_clock_is_told_and_harms_nothing(
    machine: Machine, tree: Path, tmp_path: Path, days: int
) -> None:
    ran = run_racing(machine, {"clock": days * 86_400}, "backup", tree)
    assert ran.code == 0, ran.said
    assert "clock is" in ran.err
    assert ("ahead of" if days > 0 else "behind") in ran.err
    assert "Set the clock" in ran.err
    (tree / "file1").write_bytes(b"changed under a wrong clock")
    assert_good_run(machine, tree, tmp_path / "after")
    assert [entry["set"] for entry in machine.done("snapshots")] == ["default", "default"]


def test_a_vault_of_a_newer_format_is_left_alone(shared_server: Served, tree: Path, tmp_path: Path) -> None:
    email = f"{os.urandom(6).hex()}@future.org"
    future = Machine(
        tmp_path / "future",
        prefix=[sys.executable, "-m", "tests.support.racing", json.dumps({"future": 2}), "--"],
    ).connect(shared_server.url, shared_server.create_account(email))
    future.done("backup", tree)
    present = Machine(tmp_path / "present")
    ran = present.run("connect", shared_server.url, "--code", shared_server.enrol(email))
    assert ran.code == 1, ran.said
    assert ran.result["error"] == "NewerFormat"
    assert "newer version" in ran.result["advice"]
    reading = present.run(
        "restore", "latest", "--target", tmp_path / "out", more={"MUNIMENT_RECOVERY_KIT": future.kit}
    )
    assert reading.code == 1, reading.said
    assert reading.result["error"] == "NewerFormat"
    assert not (tmp_path / "out").exists()
    # Nothing was added by the present machine, and the one of the future goes on.
    assert len(future.done("snapshots")) == 1
    assert_good_run(future, tree, tmp_path / "after")
