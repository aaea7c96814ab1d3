"""`python -m benches.site`: how long each page of the website takes to be made and sent.

    python -m benches.site [--times N] [--keep]

A real server on a fresh directory, asked over one kept connection on loopback: what is measured is the
server's time and the little that HTTP adds; beside it stands the processor's time that the server used, which
says more where other programs run. Every page that links lead to, without an account and with one. The floor
is a median of 50 ms.
"""

from __future__ import annotations

import argparse
import functools
import os
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx2
import psutil

from benches.floors import Figure, keep, measure
from tests.support.crawl import crawl
from tests.support.server import Served
from tests.support.visitor import Visitor

MOST_MS = 50.0
RESULTS = Path(__file__).with_name("results") / "site"
PLACE = Path(os.environ.get("BENCH_DIR", ".bench"))


def pages_of(client: httpx2.Client, *, start: tuple[str, ...] = ("/",)) -> list[str]:
    """Each page once, whatever its query."""
    found = crawl(client, start=start, skip=("/accounts/logout",))
    whole = [page for page in found if page.text and page.status == 200]
    return list(dict.fromkeys(page.path.partition("?")[0] for page in whole))


@dataclass(frozen=True)
class PageFigure(Figure):
    """`cpu`: milliseconds of the server's processor time for each answer, its background work included."""

    cpu: float = 0.0

    def line(self) -> str:
        return f"{super().line()}  cpu {self.cpu:7.1f}"


def times_of(
    client: httpx2.Client, paths: list[str], *, who: str, times: int, server: psutil.Process
) -> list[PageFigure]:
    def cpu() -> float:
        spent = server.cpu_times()
        return float(spent.user + spent.system) * 1000

    def ask(path: str) -> None:
        assert client.get(path).status_code == 200, path

    figures: list[PageFigure] = []
    for path in paths:
        ask(path)  # templates are read and compiled once in a server's life
        before = cpu()
        taken = measure(f"{who} {path}", MOST_MS, times, functools.partial(ask, path))
        figures.append(PageFigure(**asdict(taken), cpu=(cpu() - before) / times))
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches.site", description=__doc__)
    parser.add_argument("--times", type=int, default=30)
    parser.add_argument("--keep", action="store_true", help="write benches/results/site.{json,md}")
    options = parser.parse_args()
    PLACE.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="site-", dir=PLACE))
    served = Served(place / "server").start()
    server = psutil.Process(served.pid)
    try:
        with httpx2.Client(base_url=served.url, timeout=60) as client:
            figures = times_of(client, pages_of(client), who="anybody", times=options.times, server=server)
        visitor = Visitor(served)
        visitor.sign_up("bench@example.org")
        own = pages_of(visitor.client, start=("/overview", "/profile"))
        figures += times_of(visitor.client, own, who="owner", times=options.times, server=server)
    finally:
        served.kill()
        shutil.rmtree(place)
    for figure in figures:
        print(figure.line())
    if options.keep:
        keep(figures, RESULTS, place=PLACE, title="How long pages take to be made and sent")
    return int(not all(figure.holds for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
