"""Schedules with a real systemd: its timers run the backup, make up for missed runs, and go when told.

`tests/conftest.py` leaves this out, and says so, where no systemd user instance can be started.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.machine import Machine
from tests.support.server import Served, server, wait_until
from tests.support.user_systemd import UserSystemd

__all__ = ["server"]

SET_NAME = 'фото & 100% ${HOME} $USER "q" \\b'
DAYS = 86_400


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[UserSystemd]:
    manager = UserSystemd(tmp_path / "user")
    try:
        yield manager.start()
    finally:
        manager.stop()


@pytest.fixture
def machine(manager: UserSystemd, server: Served, tmp_path: Path) -> Machine:
    machine = Machine(tmp_path / "ho me $HOME 5%", prefix=manager.inside, environment=manager.environment)
    return machine.connect(server.url, server.create_account())


def in_place_of(manager: UserSystemd, timer: str, settings: str) -> None:
    """Settings of the timer as a person would override them; a test cannot wait for an hour."""
    override = manager.units / f"{timer}.d" / "override.conf"
    override.parent.mkdir(exist_ok=True)
    override.write_text(f"[Timer]\nAccuracySec=100ms\nRandomizedDelaySec=0\n{settings}\n")


def test_the_timer_runs_the_backup_and_makes_up_for_a_missed_one(
    manager: UserSystemd, machine: Machine, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "first").write_text("first")
    machine.done("backup", "--set", SET_NAME, source)

    on = machine.done("schedule", "on", "--set", SET_NAME, "--every", "hourly")
    assert (on["scheduler"], on["proved"], on["exit"]) == ("systemd", True, 0)
    proved = machine.done("snapshots")
    assert [one["set"] for one in proved] == [SET_NAME] * 2
    (shown,) = machine.done("schedule", "show")
    assert (shown["set"], shown["every"], shown["scheduler"]) == (SET_NAME, "hourly", "systemd")
    assert shown["next"]
    (timer,) = (path.name for path in manager.units.glob("*.timer"))

    in_place_of(manager, timer, "OnCalendar=\nOnCalendar=*:*:*")
    assert manager.ask("daemon-reload").returncode == 0
    wait_until(lambda: len(machine.done("snapshots")) > len(proved))

    in_place_of(manager, timer, "")
    manager.stop()
    machine.prefix = ()
    before = len(machine.done("snapshots"))
    then = time.time() - 3 * DAYS
    os.utime(manager.stamp(timer), (then, then))
    manager.start()
    wait_until(lambda: len(machine.done("snapshots")) > before)
    # Once, for however many were missed.
    assert manager.ask("show", timer, "--property=Result").stdout == "Result=success\n"
    time.sleep(1)
    assert len(machine.done("snapshots")) == before + 1

    machine.prefix = manager.inside
    machine.done("schedule", "off", "--set", SET_NAME)
    assert machine.done("schedule", "show") == []
    assert [path.name for path in manager.units.rglob("*") if path.is_file()] == ["override.conf"]
    assert timer not in manager.ask("list-timers", "--all").stdout
