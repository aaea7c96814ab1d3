"""A systemd user timer. `Persistent=true` makes up for runs missed while the machine was off."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from muniment.client.schedule.plan import Schedule, ask_system
from muniment.model.errors import MunimentError

# No network target: a user's own systemd has none. The run itself waits for the network.
_SERVICE = """\
[Unit]
Description=Muniment backup of the set "{set_name}"

[Service]
Type=oneshot
ExecStart={command}
{environment}Nice=10
IOSchedulingClass=idle
# 3: a snapshot was made, some files could not be read. `muniment status` names the run.
SuccessExitStatus=3
"""

_TIMER = """\
[Unit]
Description=Muniment backup of the set "{set_name}", {every}

[Timer]
OnCalendar={every}
Persistent=true
RandomizedDelaySec=15min

[Install]
WantedBy=timers.target
"""

_NO_MANAGER = "Timers of a user need that user's systemd: log in once, or `loginctl enable-linger`."
_NO_BUS = "The user's message bus may be missing: on Debian, install dbus-user-session and log in again."


class SystemdTimer:
    """Timers of this user's own systemd."""

    name = "systemd"
    label = "a systemd user timer"

    def __init__(self, directory: Path | None = None) -> None:
        config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
        self._directory = directory or Path(config) / "systemd" / "user"

    @staticmethod
    def is_available() -> bool:
        """Whether this user has a systemd instance that answers."""
        return ask_system(["systemctl", "--user", "show-environment"]).returncode == 0

    def prove(self, schedule: Schedule) -> int:
        """A transient service: the same manager, environment and rights as the timer's runs will have."""
        transient = ["systemd-run", "--user", "--wait", "--pipe", "--quiet", "--collect"]
        _must([*transient, "true"], advice=_NO_BUS)
        settings = [f"--setenv={name}={value}" for name, value in schedule.environment().items()]
        return _run_long([*transient, *settings, "--", *_words(schedule)])

    def install(self, schedule: Schedule) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        service, timer = self._units(schedule)
        service.write_text(service_unit(schedule), encoding="utf-8")
        timer.write_text(timer_unit(schedule), encoding="utf-8")
        try:
            _must(["systemctl", "--user", "daemon-reload"])
            _must(["systemctl", "--user", "enable", "--now", timer.name])
        except MunimentError:
            service.unlink()
            timer.unlink()
            raise

    def remove(self, schedule: Schedule) -> None:
        service, timer = self._units(schedule)
        if timer.exists():
            _must(["systemctl", "--user", "disable", "--now", timer.name])
        service.unlink(missing_ok=True)
        timer.unlink(missing_ok=True)
        _must(["systemctl", "--user", "daemon-reload"])

    def describe(self, schedule: Schedule) -> str | None:
        timer = self._units(schedule)[1]
        if not timer.exists():
            return None
        shown = ask_system(["systemctl", "--user", "show", timer.name, "--property=NextElapseUSecRealtime"])
        return shown.stdout.partition("=")[2].strip() or "not active"

    def _units(self, schedule: Schedule) -> tuple[Path, Path]:
        base = self._directory / schedule.name
        return base.with_name(f"{base.name}.service"), base.with_name(f"{base.name}.timer")


def service_unit(schedule: Schedule) -> str:
    """The service file. Words are quoted the way systemd reads them, which is not the shell's."""
    environment = "".join(
        f"Environment={_quoted(f'{name}={value}')}\n" for name, value in schedule.environment().items()
    )
    command = " ".join(_quoted(word) for word in _words(schedule))
    return _SERVICE.format(set_name=_plain(schedule.set_name), command=command, environment=environment)


def timer_unit(schedule: Schedule) -> str:
    return _TIMER.format(set_name=_plain(schedule.set_name), every=schedule.every)


def _run_long(command: list[str]) -> int:
    """A whole backup may take hours; what it says goes beside our own answer, not into it."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
        return done.returncode
    except FileNotFoundError:
        raise MunimentError(f"{command[0]} is missing") from None


def _quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _words(schedule: Schedule) -> list[str]:
    """The command, for systemd to fill no variable in: it looks for them in all words but the first."""
    program, *arguments = schedule.command()
    return [program, *(word.replace("$", "$$") for word in arguments)]


def _plain(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable()).replace("%", "%%")


def _must(command: list[str], *, advice: str = _NO_MANAGER) -> None:
    done = ask_system(command)
    if done.returncode != 0:
        raise MunimentError(
            f"`{' '.join(command)}` failed: {done.stderr.strip() or done.returncode}",
            advice=advice,
        )
