"""Ratios are those of paired rounds; the report and its picture say what was measured."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from benches.__main__ import add_earlier
from benches.figures import Results
from benches.measure import Cost
from benches.report import bars, write_results
from benches.runs import Sample, Work


def timed(work: Work, tool: str, number: int, seconds: float, *, peak: int = 50_000_000) -> Sample:
    cost = Cost(seconds=seconds, cpu=1.0, peak=peak, server_cpu=None, server_peak=None)
    return Sample("linux", work, tool, number, cost=cost)


@pytest.fixture
def results() -> Results:
    machine = {"cpu": "a processor", "cores": "2", "system": "a system"}
    versions = {"muniment": "0.1", "restic": "0.14.0", "borg 1.4": "1.4.5"}
    results = Results("2026-11-22", "standard", machine, versions, titles={"linux": "A <tree> & more"})
    # A slow second round, slow for all: medians of times are blurred by it, paired ratios are not.
    for number, (ours, restic, borg) in enumerate([(1, 4, 5), (10, 40, 38), (1, 4, 5)]):
        results.samples += [
            timed(Work.FIRST, "muniment", number, ours),
            timed(Work.FIRST, "restic", number, restic),
            timed(Work.FIRST, "borg 1.4", number, borg),
            timed(Work.FIRST, "tar | zstd -3 -T2", number, ours * 2),
            Sample("linux", Work.STORED, "muniment", number, stored=90 << 20),
            Sample("linux", Work.STORED, "restic", number, stored=100 << 20),
        ]
    return results


def test_ratios_are_paired_and_against_the_best_peer(results: Results) -> None:
    assert results.ratio("linux", Work.FIRST, ["restic", "borg 1.4"]) == 0.25
    assert results.ratio("linux", Work.STORED, ["restic", "borg 1.4"]) == 0.9
    assert results.ratio("linux", Work.RESCAN, ["restic"]) is None


def test_bars_tell_held_from_missed(results: Results) -> None:
    verdicts = {bar.what: bar.verdict for bar in bars(results)}
    assert verdicts["A <tree> & more: first backup, of the best peer's"] == "goal reached"
    assert verdicts["A <tree> & more: stored bytes, of the best peer's"] == "**missed**"
    assert verdicts["peak memory of the client, all works"] == "goal reached"


def test_the_report_is_written_whole(results: Results, tmp_path: Path) -> None:
    text = write_results(results, tmp_path)
    assert (tmp_path / "standard.md").read_text(encoding="utf-8") == text
    row = next(line for line in text.splitlines() if line.startswith("| first backup"))
    assert row == r"| first backup | 1.00 s | 4.00 s | 5.00 s | 0.25 × | `tar \| zstd -3 -T2` 2.00 s |"
    assert len(json.loads((tmp_path / "standard.json").read_text(encoding="utf-8"))["samples"]) == 18
    picture = ElementTree.parse(tmp_path / "standard.svg").getroot()
    words = [element.text for element in picture.iter() if element.tag.endswith("text")]
    assert {"A <tree> & more", "first backup", "1.00 s", "90 MiB"} <= set(words)


def test_inputs_measured_in_turn_make_one_report(results: Results, tmp_path: Path) -> None:
    write_results(results, tmp_path)
    later = replace(results, date="2026-11-23", titles={}, samples=[])
    add_earlier(later, tmp_path, but={"many"})
    assert (later.date, later.titles, later.samples) == ("2026-11-22", results.titles, results.samples)
    add_earlier(later, tmp_path, but={"linux"})
    assert (later.titles, later.samples) == ({}, [])


def test_what_is_added_to_no_report_begins_one(results: Results, tmp_path: Path) -> None:
    alone = replace(results)
    add_earlier(alone, tmp_path, but=set())
    assert alone == results


def test_figures_of_another_program_are_not_put_beside_these(results: Results, tmp_path: Path) -> None:
    write_results(results, tmp_path)
    later = replace(results, versions=results.versions | {"restic": "0.17.3"})
    with pytest.raises(SystemExit, match="measure all anew"):
        add_earlier(later, tmp_path, but=set())
