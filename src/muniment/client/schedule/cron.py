"""A line in the user's crontab. Cron forgets missed runs, so it runs hourly and asks whether one is due."""

from __future__ import annotations

import os
import subprocess
import sys

from muniment.client.schedule.plan import CALENDAR, Schedule, ask_system, shell_line
from muniment.model.errors import MunimentError

_MARK = "# muniment:"


class CronLine:
    """The crontab of this user."""

    name = "cron"
    label = "a line in your crontab"

    @staticmethod
    def is_available() -> bool:
        listed = ask_system(["crontab", "-l"])
        # "no crontab for NAME" is exit code 1, and fine.
        return listed.returncode == 0 or (listed.returncode == 1 and "no crontab" in listed.stderr.lower())

    def prove(self, schedule: Schedule) -> int:
        """The exact command, by the shell and with the little environment that cron gives."""
        bare = {"HOME": os.path.expanduser("~"), "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"}
        bare["LOGNAME"] = os.environ.get("LOGNAME") or os.environ.get("USER") or str(os.getuid())
        command = _shell_command(schedule, due=False)
        try:
            # Beside our own answer, not in it: a script may be reading that.
            done = subprocess.run(
                ["/bin/sh", "-c", command],
                env=bare, cwd=bare["HOME"], stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False,
            )  # fmt: skip
        except OSError as error:
            why = error.strerror or str(error)
            raise MunimentError(f"the command could not be run as cron would: {why}") from None
        return done.returncode

    def install(self, schedule: Schedule) -> None:
        lines = [line for line in _read() if not line.endswith(f"{_MARK}{schedule.name}")]
        _write([*lines, cron_line(schedule)])

    def remove(self, schedule: Schedule) -> None:
        lines = _read()
        kept = [line for line in lines if not line.endswith(f"{_MARK}{schedule.name}")]
        if kept != lines:
            _write(kept)

    def describe(self, schedule: Schedule) -> str | None:
        if any(line.endswith(f"{_MARK}{schedule.name}") for line in _read()):
            return f"every hour, when the last run is {CALENDAR[schedule.every]} old"
        return None


def cron_line(schedule: Schedule) -> str:
    """Minute from the name, so that not all machines call at once. `%` means newline to cron."""
    minute = sum(schedule.name.encode()) % 60
    command = _shell_command(schedule, due=True).replace("%", r"\%")
    return f"{minute} * * * * {command} >/dev/null 2>&1 {_MARK}{schedule.name}"


def _shell_command(schedule: Schedule, *, due: bool) -> str:
    settings = [f"{name}={shell_line([value])}" for name, value in schedule.environment().items()]
    words = schedule.command() + (["--if-due", CALENDAR[schedule.every]] if due else [])
    return " ".join([*settings, shell_line(words)])


def _read() -> list[str]:
    listed = ask_system(["crontab", "-l"])
    return listed.stdout.splitlines() if listed.returncode == 0 else []


def _write(lines: list[str]) -> None:
    done = ask_system(["crontab", "-"], given="".join(line + "\n" for line in lines))
    if done.returncode != 0:
        raise MunimentError(f"the crontab could not be changed: {done.stderr.strip()}")
