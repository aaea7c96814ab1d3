"""What `status` says of sets as time passes: kept by a schedule, by hand, by nobody."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.machine import Machine, Ran
from tests.support.server import Served, shared_server

__all__ = ["shared_server"]

DAY = 86_400


@pytest.fixture
def machine(shared_server: Served, tmp_path: Path) -> Machine:
    code = shared_server.create_account(f"{os.urandom(6).hex()}@standing.org")
    return Machine(tmp_path / "home").connect(shared_server.url, code)


def at(machine: Machine, days: float) -> Machine:
    """The machine, whose clock is ahead by so much."""
    prefix = (sys.executable, "-m", "tests.support.racing", json.dumps({"clock": days * DAY}), "--")
    return replace(machine, prefix=prefix)


def status_after(machine: Machine, days: float) -> Ran:
    return at(machine, days).run("status", "--check")


def verdicts(ran: Ran) -> dict[str, str]:
    return {one["name"]: one["verdict"] for one in ran.result["sets"]}


def test_a_set_is_good_only_while_something_keeps_it_so(machine: Machine, tmp_path: Path) -> None:
    for name in ("daily", "papers"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
        machine.done("backup", tmp_path / name, "--set", name)
    config = machine.home / "config.toml"
    config.write_text(f'{config.read_text()}\n[vaults.{machine.vault}.schedule]\ndaily = "daily"\n')

    fresh = status_after(machine, 0)
    assert verdicts(fresh) == {"daily": "good", "papers": "unscheduled"}
    assert (fresh.code, fresh.result["verdict"]) == (0, "unscheduled")
    assert fresh.result["message"] == "Everything is backed up, papers by hand only."

    days = status_after(machine, 4)
    assert verdicts(days) == {"daily": "bad", "papers": "unscheduled"}
    assert (days.code, days.result["verdict"]) == (3, "bad")

    week = status_after(machine, 7.1)
    assert verdicts(week) == {"daily": "bad", "papers": "bad"}
    assert {one["name"]: one["reason"] for one in week.result["sets"]} == {
        "daily": "no backup for too long",
        "papers": "no backup for too long, and none is scheduled",
    }


def test_a_set_that_was_never_backed_up_is_bad(machine: Machine, tmp_path: Path) -> None:
    nothing = machine.run("status", "--check")
    assert (nothing.code, nothing.result["verdict"]) == (3, "bad")
    machine.done("sets", "add", "later", tmp_path)
    named = machine.run("status", "--check")
    assert (named.code, verdicts(named)) == (3, {"later": "bad"})


def test_a_run_of_the_future_neither_counts_as_fresh_nor_stops_the_schedule(
    machine: Machine, tmp_path: Path
) -> None:
    """The clock was ahead for one run, then set: until then cron's line would find nothing due, for years."""
    (tmp_path / "tree").mkdir()
    at(machine, 1500).done("backup", tmp_path / "tree")
    (named,) = machine.run("status", "--check").expect(3).result["sets"]
    assert (named["verdict"], named["age_seconds"]) == ("attention", None)
    assert "clock" in named["reason"]
    assert "nobody knows when; its time lies in the future" in machine.told("status").out
    assert "snapshot" in machine.done("backup", "--if-due", "1h")
    assert machine.done("backup", "--if-due", "1h") == {"skipped": True, "set": "default"}
    assert verdicts(machine.run("status", "--check").expect(0)) == {"default": "unscheduled"}
