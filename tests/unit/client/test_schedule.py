"""What schedulers are told: exactly our command, quoted their way."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from configparser import ConfigParser
from dataclasses import replace
from pathlib import Path

import pytest

from muniment.client.home.config import BackupSet, Config, Connection
from muniment.client.home.places import Home
from muniment.client.schedule import plan
from muniment.client.schedule.cron import CronLine, cron_line
from muniment.client.schedule.plan import Schedule, checked_every, program
from muniment.client.schedule.systemd import SystemdTimer, service_unit, timer_unit
from muniment.model.errors import MunimentError, UsageError
from muniment.model.ids import DeviceId, VaultId
from tests.support.machine import Machine

VAULT = VaultId(b"\xab" * 16)


@pytest.fixture
def schedule(tmp_path: Path) -> Schedule:
    home = Home(tmp_path / "my home", tmp_path / "my home" / "state", self_contained=True)
    return Schedule(VAULT, "photos & 100% $music", "daily", home)


def test_the_program_is_called_by_its_full_path() -> None:
    assert os.path.isabs(program()[0])
    done = subprocess.run([*program(), "--version"], capture_output=True, text=True, env={}, check=True)
    assert done.stdout.startswith("muniment ")


def test_the_timer_catches_up_and_the_service_counts_incomplete_as_done(schedule: Schedule) -> None:
    timer, service = timer_unit(schedule), service_unit(schedule)
    assert "Persistent=true" in timer
    assert "OnCalendar=daily" in timer
    assert "SuccessExitStatus=3" in service
    assert '"photos & 100%% $$music"' in service
    assert f'Environment="MUNIMENT_HOME={schedule.home.config}"' in service


def test_systemd_accepts_the_units(schedule: Schedule, tmp_path: Path) -> None:
    units = {".service": service_unit(schedule), ".timer": timer_unit(schedule)}
    for suffix, text in units.items():
        parser = ConfigParser(interpolation=None, strict=False)
        parser.read_string(text)
        assert parser.has_section("Unit")
        (tmp_path / f"{schedule.name}{suffix}").write_text(text)
    if shutil.which("systemd-analyze"):
        files = [str(tmp_path / f"{schedule.name}{suffix}") for suffix in units]
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", *files], capture_output=True, text=True
        )
        assert [line for line in done.stderr.splitlines() if schedule.name in line] == []


def test_cron_runs_the_command_hourly_and_asks_whether_it_is_due(schedule: Schedule) -> None:
    line = cron_line(schedule)
    minute, *fields = line.split(" ", 5)
    assert 0 <= int(minute) < 60
    assert fields[:4] == ["*"] * 4
    command = fields[4].replace(r"\%", "%").partition(" >/dev/null")[0]
    words = shlex.split(command)
    assert words[0] == f"MUNIMENT_HOME={schedule.home.config}"
    assert words[-6:] == ["--vault", VAULT.hex, "--set", schedule.set_name, "--if-due", "1d"]


def test_the_proof_for_cron_runs_with_next_to_nothing(
    schedule: Schedule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nonsense")
    monkeypatch.setenv("HOME", str(tmp_path))
    # Not connected: usage. What matters is that it was found and ran at all.
    assert CronLine().prove(schedule) == 2


def test_the_way_to_the_server_is_the_same_at_night(
    schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("https_proxy", "NO_PROXY", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, "here")
    kept = schedule.environment()
    assert {"https_proxy": "here", "NO_PROXY": "here", "SSL_CERT_FILE": "here"}.items() <= kept.items()
    assert "PATH" not in kept


@pytest.fixture
def fake_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`crontab` and `systemctl` as small programs that keep what they are told."""
    tools = tmp_path / "bin"
    tools.mkdir()
    table = tmp_path / "table"
    listing = f'cat {table} 2>/dev/null || {{ echo "no crontab for me" >&2; exit 1; }}'
    answer = 'case "$*" in *show*) echo NextElapseUSecRealtime=soon;; esac'
    scripts = {
        "crontab": f'if [ "$1" = -l ]; then {listing}; else cat > {table}; fi',
        "systemctl": f'echo "$@" >> {tmp_path}/asked; {answer}',
    }
    for name, script in scripts.items():
        (tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    return tmp_path


def test_cron_lines_of_others_are_left_alone(schedule: Schedule, fake_tools: Path) -> None:
    table = fake_tools / "table"
    cron = CronLine()
    assert cron.is_available()
    assert cron.describe(schedule) is None
    table.write_text("5 4 * * * something else # muniment:not-ours\n")
    cron.install(schedule)
    cron.install(schedule)
    assert len(table.read_text().splitlines()) == 2
    assert cron.describe(schedule) is not None
    cron.remove(schedule)
    assert table.read_text() == "5 4 * * * something else # muniment:not-ours\n"


def test_every_set_has_a_name_of_its_own_that_any_scheduler_takes(schedule: Schedule) -> None:
    sets = ("default", "a b", "a-b", "a_b", "фото", "фото2", "x" * 50, "x" * 51)
    names = [replace(schedule, set_name=name).name for name in sets]
    assert names[0] == f"muniment-{VAULT.hex[:8]}-default"
    assert len(set(names)) == len(sets)
    assert all(re.fullmatch("[A-Za-z0-9-]{1,80}", name) for name in names)


def test_settings_and_the_program_are_not_read_as_having_variables(
    schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "program", lambda: ["/opt/a $b/muniment"])
    home = Home(Path("/home/$ada 5%"), Path("/home/$ada 5%/state"), self_contained=True)
    unit = service_unit(replace(schedule, home=home))
    assert 'ExecStart="/opt/a $b/muniment" "backup"' in unit
    assert 'Environment="MUNIMENT_HOME=/home/$ada 5%%"' in unit


def test_a_timer_that_cannot_be_enabled_leaves_no_units(schedule: Schedule, fake_tools: Path) -> None:
    (fake_tools / "bin" / "systemctl").write_text("#!/bin/sh\necho no such bus >&2\nexit 1\n")
    units = fake_tools / "units"
    with pytest.raises(MunimentError, match="no such bus"):
        SystemdTimer(units).install(schedule)
    assert list(units.iterdir()) == []


def test_the_timer_is_enabled_and_removed(schedule: Schedule, fake_tools: Path) -> None:
    units = fake_tools / "units"
    timer = SystemdTimer(units)
    assert timer.describe(schedule) is None
    timer.install(schedule)
    assert sorted(path.suffix for path in units.iterdir()) == [".service", ".timer"]
    assert timer.describe(schedule) == "soon"
    timer.remove(schedule)
    assert list(units.iterdir()) == []
    asked = (fake_tools / "asked").read_text()
    assert f"enable --now {schedule.name}.timer" in asked
    assert f"disable --now {schedule.name}.timer" in asked


def test_a_set_that_is_removed_is_scheduled_no_more(fake_tools: Path, tmp_path: Path) -> None:
    """Else cron would ask every hour for a set that is gone, and a new one of its name would be scheduled."""
    machine = Machine(tmp_path / "home")
    home = Home(machine.home, machine.home / "state", self_contained=True)
    machine.home.mkdir()
    connection = Connection(
        vault=VAULT, server="http://127.0.0.1:9", server_key_hash=bytes(8), device=DeviceId.random(),
        device_name="desk", pinned=False,
        sets={name: BackupSet(name, (b"/tmp",)) for name in ("kept", "gone")},
        schedule={"kept": "daily", "gone": "hourly"},
    )  # fmt: skip
    Config.load(home).with_connection(connection).save()
    for name in ("kept", "gone"):
        CronLine().install(Schedule(VAULT, name, "daily", home))
    assert machine.muniment("sets", "remove", "gone").code == 0
    (line,) = (fake_tools / "table").read_text().splitlines()
    assert "--set kept" in line
    (shown,) = machine.muniment("schedule", "show").result
    assert (shown["set"], shown["scheduler"]) == ("kept", "cron")


def test_only_known_intervals() -> None:
    assert checked_every("hourly") == "hourly"
    with pytest.raises(UsageError):
        checked_every("sometimes")
