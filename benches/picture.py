"""The times as a picture: one group of bars a work, the shortest bar is the best. Plain SVG, no library.

Reads well on light and dark pages; every bar carries its figure, so nothing rests on colour alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from benches.figures import US, Results
from benches.runs import Work

WORKS = (Work.FIRST, Work.RESCAN, Work.CHANGED, Work.RESTORE, Work.STORED)
WIDTH, LEFT, RIGHT, BAR, GAP = 820, 230, 90, 16, 14
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2933 }
.title { font-weight: 600; font-size: 15px }
.note { font-size: 11px; fill: #52606d }
.us { fill: #0b7a75 } .peer { fill: #9aa5b1 }
@media (prefers-color-scheme: dark) {
  text { fill: #e4e7eb } .note { fill: #9aa5b1 } .us { fill: #2cb1a8 } .peer { fill: #616e7c }
}
"""


def draw(results: Results) -> str:
    """An SVG document of all inputs in `results`."""
    parts: list[str] = []
    top = 10.0
    for name, title in results.titles.items():
        top += 18
        parts.append(_text(10, top, title, kind="title"))
        top += 10
        for work in WORKS:
            values = list(_values(results, name, work))
            if not values:
                continue
            longest = max(value for _, value, _ in values) or 1
            parts.append(_text(10, top + 13, work))
            for tool, value, shown in values:
                length = max(1.0, value / longest * (WIDTH - LEFT - RIGHT - 70))
                kind = "us" if tool == US else "peer"
                parts.append(_text(LEFT - 10, top + 13, tool, anchor="end"))
                place = f'x="{LEFT}" y="{top:.0f}" width="{length:.1f}" height="{BAR}"'
                parts.append(f'<rect class="{kind}" {place} rx="2"/>')
                parts.append(_text(LEFT + length + 6, top + 13, shown))
                top += BAR + 4
            top += GAP
    machine = results.machine
    note = f"{results.date}, {machine['cpu']}, {machine['cores']} cores, {machine['system']}; "
    note += ", ".join(f"{name} {version}" for name, version in results.versions.items())
    parts.append(_text(10, top + 8, note, kind="note"))
    height = top + 20
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'aria-label="Median times and stored bytes, shorter is better">\n<style>{STYLE}</style>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _values(results: Results, name: str, work: Work) -> Iterator[tuple[str, float, str]]:
    for tool in results.tools(name):
        if work is Work.STORED:
            stored = results.stored(name, tool)
            if stored is not None:
                yield tool, stored, f"{stored / (1 << 20):.0f} MiB"
        else:
            seconds = results.seconds(name, work, tool)
            if seconds is not None:
                yield tool, seconds, f"{seconds:.2f} s"


def _text(x: float, y: float, words: str, *, kind: str = "", anchor: str = "start") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text{style} x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(words)}</text>'
