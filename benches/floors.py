"""Figures that are held to a floor, and where they are kept: benches/results/NAME.{json,md}."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benches.measure import machine


@dataclass(frozen=True)
class Figure:
    """The median of some repetitions and the slowest; `most` is the floor that the median is held to."""

    name: str
    median: float
    slowest: float
    most: float
    unit: str = "ms"

    @property
    def holds(self) -> bool:
        return self.median <= self.most

    def line(self) -> str:
        values = f"{self.median:10.3f} {self.unit:3}  slowest {self.slowest:10.3f}  at most {self.most:8.1f}"
        return f"{self.name:48} {values}  {'holds' if self.holds else 'MISSED'}"


def measure(name: str, most: float, times: int, act: Callable[[], object]) -> Figure:
    """Milliseconds of `act`."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        act()
        taken.append((time.perf_counter() - start) * 1000)
    return Figure(name, statistics.median(taken), max(taken), most)


def keep(found: Iterable[Figure], into: Path, *, place: Path, title: str) -> None:
    """Write `into`.json and `into`.md. Figures of other names that are there stay, with their dates."""
    file, date = into.with_suffix(".json"), time.strftime("%Y-%m-%d", time.gmtime())
    kept: list[dict[str, Any]] = json.loads(file.read_text())["figures"] if file.exists() else []
    fresh = [{**asdict(figure), "holds": figure.holds, "date": date} for figure in found]
    names = {figure["name"] for figure in fresh}
    figures = [figure for figure in kept if figure["name"] not in names] + fresh
    content = {"machine": machine(place), "figures": figures}
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    into.with_suffix(".md").write_text(_table(title, content["machine"], figures), encoding="utf-8")


def _table(title: str, on: dict[str, str], figures: list[dict[str, Any]]) -> str:
    lines = [f"# {title}", "", ", ".join(on.values()), ""]
    lines += ["| | Median | Slowest | At most | | Measured |", "|---|---:|---:|---:|---|---|"]
    for one in figures:
        median, slowest, most = (f"{one[name]:,.2f} {one['unit']}" for name in ("median", "slowest", "most"))
        verdict = "holds" if one["holds"] else "**missed**"
        lines.append(f"| {one['name']} | {median} | {slowest} | {most} | {verdict} | {one['date']} |")
    return "\n".join(lines) + "\n"
