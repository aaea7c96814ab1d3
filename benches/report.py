"""Samples into a report: raw JSON, tables in Markdown, a picture in SVG.

A bar is what was promised before anything was measured; it is printed whether it holds or not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import msgspec

from benches.figures import US, Results
from benches.picture import draw
from benches.runs import REFERENCES, Sample, Work

NO_BAR = float("inf")
MIB = 1 << 20
METHOD = """\
Same data, one run, rounds paired and interleaved, medians. Page cache warm, `sync` before each work.
Default encryption and compression each (borg: repokey-blake2, lz4). Peers write a local repository;
Muniment goes over loopback HTTP into its real server, which syncs every pack before it answers; its CPU
and memory are given as client + server."""
TIMED = (Work.FIRST, Work.RESCAN, Work.CHANGED, Work.RESTORE, Work.ONE)


@dataclass(frozen=True, slots=True)
class Bar:
    """`measured` must be at most `first`; `goal` is what we aim for."""

    what: str
    measured: float
    first: float
    goal: float
    unit: str = "×"

    @property
    def verdict(self) -> str:
        if self.measured <= self.goal:
            return "goal reached"
        return "holds" if self.measured <= self.first else "**missed**"


RATIO_BARS = (
    ("linux", Work.FIRST, 0.5, 0.33),
    ("linux", Work.STORED, 0.85, 0.77),
    ("linux", Work.RESCAN, 0.4, 0.2),
    ("linux", Work.RESTORE, 0.8, 0.8),
    ("many", Work.RESCAN, 0.4, 0.2),
    ("flat", Work.RESCAN, 0.4, 0.2),
    ("large", Work.FIRST, 1 / 1.5, 1 / 1.5),
)


def bars(results: Results) -> Iterator[Bar]:
    for name, work, first, goal in RATIO_BARS:
        peers = [tool for tool in results.tools(name) if tool != US]
        measured = results.ratio(name, work, peers)
        if measured is not None:
            yield Bar(f"{results.titles[name]}: {work}, of the best peer's", measured, first, goal)
    yardsticks = ((Work.FIRST, 1.3), (Work.RESTORE, 1.2))
    for work, goal in yardsticks:
        measured = results.ratio("linux", work, [REFERENCES[work]])
        if measured is not None:
            what = f"{results.titles['linux']}: {work}, of `{REFERENCES[work]}`"
            yield Bar(what, measured, NO_BAR, goal)
    ceiling = results.seconds("large", Work.CEILING, "ceiling")
    ours = results.seconds("large", Work.FIRST, US)
    if ceiling and ours:
        what = f"{results.titles['large']}: first backup, of the ceiling"
        yield Bar(what, ours / ceiling, NO_BAR, 1.25)
    for side in ("client", "server"):
        peaks = list(_peaks(results, side))
        if peaks:
            yield Bar(f"peak memory of the {side}, all works", max(peaks) / 1e6, 250, 150, " MB")


def _peaks(results: Results, side: str) -> Iterator[int]:
    for sample in results.samples:
        if sample.tool == US and sample.cost:
            yield (sample.cost.peak if side == "client" else sample.cost.server_peak) or 0


def write_results(results: Results, place: Path) -> str:
    """Write {scale}.json, .md and .svg into `place`; the Markdown."""
    place.mkdir(parents=True, exist_ok=True)
    text = markdown(results)
    figures = json.dumps(asdict(results), indent=1) + "\n"
    for kind, content in (("json", figures), ("md", text), ("svg", draw(results))):
        (place / f"{results.scale}.{kind}").write_text(content, encoding="utf-8")
    return text


def read_results(place: Path, scale: str) -> Results:
    """What `write_results` wrote there."""
    return msgspec.json.decode((place / f"{scale}.json").read_bytes(), type=Results)


def markdown(results: Results) -> str:
    lines = [f"# Measured {results.date}, scale {results.scale}", ""]
    lines += [METHOD, ""]
    lines += [f"Machine: {', '.join(f'{key} {value}' for key, value in results.machine.items())}.  "]
    lines += [
        f"Versions: {', '.join(f'{name} {version}' for name, version in results.versions.items())}.",
        "",
    ]
    for name, title in results.titles.items():
        lines += [f"## {title}", "", *_time_table(results, name), "", *_cost_table(results, name), ""]
    lines += ["## Bars", "", "| What | Measured | First bar | Goal | |", "|---|---|---|---|---|"]
    for bar in bars(results):
        first = "–" if bar.first == NO_BAR else f"≤ {bar.first:.3g}{bar.unit}"
        figures = [f"{bar.measured:.3g}{bar.unit}", first, f"≤ {bar.goal:.3g}{bar.unit}"]
        lines.append(_row([bar.what, *figures, bar.verdict]))
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} s"


def _time_table(results: Results, name: str) -> list[str]:
    tools = results.tools(name)
    peers = [tool for tool in tools if tool != US]
    lines = [_row(["Median time", *tools, "of best peer", "yardstick"]), _row(["---"] * (len(tools) + 3))]
    for work in TIMED:
        ratio = results.ratio(name, work, peers)
        known = REFERENCES.get(work, "")
        yardstick = f"`{known}` {_seconds(results.seconds(name, work, known))}" if known else ""
        cells = [_seconds(results.seconds(name, work, tool)) for tool in tools]
        lines.append(_row([work, *cells, "–" if ratio is None else f"{ratio:.2f} ×", yardstick]))
    if (ceiling := results.seconds(name, Work.CEILING, "ceiling")) is not None:
        lines.append(_row(["ceiling of a first backup", _seconds(ceiling), *[""] * (len(tools) + 1)]))
    ratio = results.ratio(name, Work.STORED, peers)
    cells = ["–" if (value := results.stored(name, t)) is None else f"{value / MIB:.1f} MiB" for t in tools]
    archive = results.stored(name, REFERENCES[Work.FIRST])
    yardstick = "" if archive is None else f"`{REFERENCES[Work.FIRST]}` {archive / MIB:.1f} MiB"
    return [*lines, _row([Work.STORED, *cells, "–" if ratio is None else f"{ratio:.2f} ×", yardstick])]


def _cost_table(results: Results, name: str) -> list[str]:
    tools = results.tools(name)
    lines = [_row(["CPU, peak memory", *tools]), _row(["---"] * (len(tools) + 1))]
    for work in TIMED:
        lines.append(_row([work, *(_cost(results.of(name, work, tool)) for tool in tools)]))
    return lines


def _cost(samples: list[Sample]) -> str:
    costs = [sample.cost for sample in samples if sample.cost]
    if not costs:
        return "–"
    cpu, peak = median(cost.cpu for cost in costs), max(cost.peak for cost in costs)
    served = [cost.server_cpu for cost in costs if cost.server_cpu is not None]
    if not served:
        return f"{cpu:.1f} s, {peak / 1e6:.0f} MB"
    server_peak = max(cost.server_peak or 0 for cost in costs)
    return f"{cpu:.1f} + {median(served):.1f} s, {peak / 1e6:.0f} + {server_peak / 1e6:.0f} MB"
