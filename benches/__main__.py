"""`python -m benches`: run the comparisons of a scale and write benches/results/SCALE.{json,md,svg}."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

from benches.figures import Results
from benches.inputs import SCALES
from benches.measure import machine
from benches.peers import PEERS, REQUIRED, Peer
from benches.report import read_results, write_results
from benches.runs import Comparison

HERE = Path(__file__).parent


def found_programs(*, only: list[str]) -> dict[type[Peer], str]:
    """The installed peers; ends the program where a required one is missing."""
    programs = {kind: program for kind in PEERS if (program := kind.find())}
    missing = [name for name in REQUIRED if name not in {kind.name for kind in programs}]
    if missing and not only:
        raise SystemExit(f"make bench needs {', '.join(missing)}")
    return {kind: program for kind, program in programs.items() if not only or kind.name in only}


def add_earlier(results: Results, place: Path, *, but: set[str]) -> None:
    """Take over what the report in `place`, if there is one, says of other inputs.

    Ends the program where that was measured on another machine, or of other versions.
    """
    try:
        earlier = read_results(place, results.scale)
    except FileNotFoundError:
        return
    versions = earlier.versions | results.versions
    if earlier.machine != results.machine or versions != results.versions | earlier.versions:
        raise SystemExit(f"{place} is of another machine or other versions: measure all anew")
    results.versions = versions
    results.date = min(results.date, earlier.date)
    results.titles = {name: title for name, title in earlier.titles.items() if name not in but}
    results.samples = [sample for sample in earlier.samples if sample.input not in but]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches", description=__doc__)
    parser.add_argument("--scale", choices=SCALES, default="standard")
    parser.add_argument("--rounds", type=int, default=3, help="paired rounds (large inputs have fewer)")
    parser.add_argument("--only", action="append", default=[], metavar="PEER", help="not for publication")
    parser.add_argument("--input", action="append", default=[], help="of the scale's inputs, only these")
    parser.add_argument(
        "--add", action="store_true", help="to the report there, in place of what it says of them"
    )
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where the report goes")
    options = parser.parse_args()

    place = Path(os.environ.get("BENCH_DIR", ".bench")).resolve()
    work = place / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    programs = found_programs(only=options.only)
    versions = {kind.name: kind(work / "version", program).version() for kind, program in programs.items()}
    items = [item for item in SCALES[options.scale] if not options.input or item.name in options.input]
    results = Results(
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        scale=options.scale,
        machine=machine(place),
        versions=versions,
    )
    if options.add:
        add_earlier(results, options.results, but={item.name for item in items})
    report = "nothing was measured"
    try:
        for item in items:
            print(f"{item.title}", file=sys.stderr)
            comparison = Comparison(item, item.prepare(place / "inputs"), work, programs)
            results.titles[item.name] = item.title
            for sample in comparison.run(options.rounds):
                results.samples.append(sample)
                # A long scale that fails late still leaves what it measured.
                report = write_results(results, options.results)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
