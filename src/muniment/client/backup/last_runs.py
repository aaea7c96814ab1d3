"""When each set was last backed up by this machine: for schedules that catch up, and for `status`."""

from __future__ import annotations

import json

from muniment.client.state.database import Database
from muniment.model.errors import UsageError

_UNITS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def note_run(database: Database, set_name: str, *, started: float, problems: int) -> None:
    content = json.dumps({"started": started, "problems": problems})
    database.put(f"last run {set_name}", content.encode())


def last_run(database: Database, set_name: str) -> float | None:
    """Seconds since the epoch at which the last run that made a complete snapshot began; None if unknown."""
    raw = database.get(f"last run {set_name}")
    return None if raw is None else float(json.loads(raw)["started"])


def last_problems(database: Database, set_name: str) -> int:
    raw = database.get(f"last run {set_name}")
    return 0 if raw is None else int(json.loads(raw)["problems"])


def seconds_of(text: str) -> float:
    """Of a duration like 30m, 6h, 1d, 1w."""
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not number.isdigit() or int(number) == 0:
        raise UsageError(f"{text!r} is no length of time", advice="Write it like 30m, 6h, 1d or 1w.")
    return int(number) * _UNITS[unit]
