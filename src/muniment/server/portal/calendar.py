"""Half a year of days as a picture: a column a week, a row a weekday. The table beside it says the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.safestring import SafeString, mark_safe

from muniment.server.vaults.overview import Day, DayState

CELL, GAP = 20, 3
WORDS = {
    DayState.COMPLETE: "backed up",
    DayState.PARTIAL: "backed up in part",
    DayState.FAILED: "failed",
    DayState.EMPTY: "no run",
}

_RECTANGLE = (
    f'<rect class="day day-{{}}" x="{{}}" y="{{}}" width="{CELL}" height="{CELL}" rx="3">'
    "<title>{}</title></rect>"
)


@dataclass(frozen=True, slots=True)
class Cell:
    x: int
    y: int
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Calendar:
    cells: tuple[Cell, ...]
    width: int
    height: int
    summary: str
    """For those who do not see the picture."""

    @property
    def drawing(self) -> SafeString:
        """The days as rectangles, all at once: a template would take a turn for each of them.

        Nothing in it needs escaping: numbers, and words of ours.
        """
        return mark_safe("\n".join(_RECTANGLE.format(one.kind, one.x, one.y, one.text) for one in self.cells))


def calendar_of(days: Sequence[Day]) -> Calendar:
    """`days` begin on a Monday."""
    step = CELL + GAP
    cells = tuple(
        Cell(
            (number // 7) * step,
            (number % 7) * step,
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
