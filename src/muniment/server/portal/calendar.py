"""Half a year of days as a picture: a column a week, a row a weekday. The table beside it says the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from muniment.server.vaults.overview import Day, DayState

CELL, GAP = 20, 3
WORDS = {
    DayState.COMPLETE: "backed up",
    DayState.PARTIAL: "backed up in part",
    DayState.FAILED: "failed",
    DayState.EMPTY: "no run",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """Places are text: a template takes ten times as long to write a number in the reader's own way."""

    x: str
    y: str
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Calendar:
    cells: tuple[Cell, ...]
    width: int
    height: int
    summary: str
    """For those who do not see the picture."""


def calendar_of(days: Sequence[Day]) -> Calendar:
    """`days` begin on a Monday."""
    step = CELL + GAP
    cells = tuple(
        Cell(
            str((number // 7) * step),
            str((number % 7) * step),
            day.state.value,
            f"{day.day:%-d %B %Y}: {WORDS[day.state]}",
        )
        for number, day in enumerate(days)
    )
    kept = sum(day.state in (DayState.COMPLETE, DayState.PARTIAL) for day in days)
    weeks = (len(days) + 6) // 7
    return Calendar(
        cells,
        weeks * step - GAP + 2,
        7 * step - GAP + 2,
        f"Backups arrived on {kept} of the last {len(days)} days.",
    )
