"""What one run of the benches measured, and the figures made of it.

Times are medians over the rounds; ratios are medians of the rounds' own ratios, because the rounds are
paired.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from benches.runs import REFERENCES, Sample, Work

US = "muniment"


@dataclass(slots=True)
class Results:
    """Everything one run of the benches measured."""

    date: str
    scale: str
    machine: dict[str, str]
    versions: dict[str, str]
    titles: dict[str, str] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)

    def of(self, name: str, work: Work, tool: str) -> list[Sample]:
        """The samples of one cell, by round."""
        return [s for s in self.samples if (s.input, s.work, s.tool) == (name, work, tool)]

    def tools(self, name: str) -> list[str]:
        """Ourselves first, then the peers, in the order they were met."""
        met = dict.fromkeys(s.tool for s in self.samples if s.input == name)
        peers = [tool for tool in met if tool not in (US, "ceiling", *REFERENCES.values())]
        return [US, *peers] if US in met else peers

    def seconds(self, name: str, work: Work, tool: str) -> float | None:
        found = [s.cost.seconds for s in self.of(name, work, tool) if s.cost]
        return median(found) if found else None

    def stored(self, name: str, tool: str) -> float | None:
        found = [s.stored for s in self.of(name, Work.STORED, tool) if s.stored is not None]
        return median(found) if found else None

    def ratio(self, name: str, work: Work, others: list[str]) -> float | None:
        """Ours over the best of `others`, round by round; the median. Stored bytes likewise."""
        ours = {s.round: _figure(s) for s in self.of(name, work, US)}
        ratios = []
        for number, value in ours.items():
            theirs = [_figure(s) for tool in others for s in self.of(name, work, tool) if s.round == number]
            if theirs and min(theirs) > 0:
                ratios.append(value / min(theirs))
        return median(ratios) if ratios else None


def _figure(sample: Sample) -> float:
    return sample.cost.seconds if sample.cost else float(sample.stored or 0)
