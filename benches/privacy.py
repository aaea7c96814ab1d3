"""`python -m benches.privacy`: what the ledger costs: an append beside its effect, a proof, a verification.

    python -m benches.privacy [--leaves N] [--keep FILE]

On a fresh SQLite file in `BENCH_DIR` (default `.bench`). Each figure is the median of its repetitions, with
the slowest beside it. Floors are those of the issue: they are compared here, and not in tests, because
machines differ.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from benches.measure import machine
from muniment.main.serve import set_up_django
from muniment.server.config import ServerConfig

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
BATCH = 20_000


@dataclass(frozen=True)
class Figure:
    """Milliseconds; `most` is the floor that it is held to."""

    name: str
    median: float
    slowest: float
    most: float

    def line(self) -> str:
        verdict = "ok" if self.median <= self.most else "TOO SLOW"
        times = f"{self.median:10.3f} ms  slowest {self.slowest:9.3f}  at most {self.most:8.1f}"
        return f"{self.name:44} {times}  {verdict}"


def measure(name: str, most: float, times: int, act: Callable[[], object]) -> Figure:
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        act()
        taken.append((time.perf_counter() - start) * 1000)
    return Figure(name, statistics.median(taken), max(taken), most)


def leaves(count: int) -> Iterator[tuple[int, str, str, str, bytes, bytes]]:
    """Rows of leaves as `record` writes them, without openings: those have no part in a proof."""
    from muniment.server.privacy.ledger.leaves import Leaf

    for number in range(count):
        leaf = Leaf("consent_granted", "P37", "2026-11-22T12", secrets.token_bytes(32))
        yield number, leaf.kind, leaf.clause, leaf.hour, leaf.commitment, leaf.hash()


def grow(count: int) -> None:
    """A ledger of `count` leaves, written in bulk."""
    from django.db import connection

    from muniment.server.privacy.ledger.merkle import Frontier
    from muniment.server.privacy.ledger.tree import place_of, signer
    from muniment.server.transactions import writing

    frontier, rows, nodes = Frontier(), [], []

    def flush() -> None:
        with writing(), connection.cursor() as cursor:
            cursor.executemany("INSERT INTO privacy_ledger_leafrow VALUES (%s, %s, %s, %s, %s, %s)", rows)
            cursor.executemany("INSERT INTO privacy_ledger_node VALUES (%s, %s)", nodes)
        rows.clear()
        nodes.clear()

    for row in leaves(count):
        rows.append(row)
        frontier, made = frontier.append(row[-1])
        nodes.extend((place_of(subtree), node) for subtree, node in made)
        if len(rows) == BATCH:
            flush()
    flush()
    note = signer().sign(size=frontier.size, root=frontier.root)
    with writing(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO privacy_ledger_head (id, size, frontier, note, hour) VALUES (1, %s, %s, %s, %s)",
            [frontier.size, b"".join(frontier.hashes), note, "2026-11-22T12"],
        )


def figures(count: int, place: Path) -> Iterator[Figure]:
    """Every figure, on a ledger of `count` leaves."""
    from muniment.server.accounts.enrolment import create_account
    from muniment.server.privacy.ledger.entries import record
    from muniment.server.privacy.ledger.kinds import Kind
    from muniment.server.privacy.ledger.publication import export_lines
    from muniment.server.privacy.ledger.tree import prove_consistency, prove_inclusion
    from muniment.server.privacy.ledger.verification import verify_export
    from muniment.server.transactions import writing

    with writing():
        account = create_account("bench@example.org", now=NOW)
    payload = {"purpose": "promotion", "state": "granted", "notice": "0" * 64, "statement": 1}

    def append() -> object:
        return record(Kind.CONSENT_GRANTED, clause="P37", payload=payload, now=NOW, subject=account)

    with writing():
        yield measure("append, beside its effect", 1.0, 2000, append)

    def choose(number: int) -> int:
        return secrets.randbelow(number)

    yield measure(
        f"inclusion proof among {count:,}", 20.0, 1000, lambda: prove_inclusion(choose(count), size=count)
    )
    yield measure(
        f"consistency proof among {count:,}",
        20.0,
        1000,
        lambda: prove_consistency(1 + choose(count - 1), count),
    )
    export = place / "export"
    with export.open("wb") as file:
        file.writelines(export_lines(start=0, count=count + 10_000))

    def verify() -> object:
        with export.open("rb") as file:
            return verify_export(file)

    yield measure(f"offline verification of {count:,}", 10_000.0, 3, verify)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches.privacy", description=__doc__)
    parser.add_argument("--leaves", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path, help="write the figures here as JSON")
    options = parser.parse_args()
    place = Path(os.environ.get("BENCH_DIR", ".bench")).resolve() / "privacy"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    set_up_django(ServerConfig(data=place))
    from django.core.management import call_command

    call_command("migrate", verbosity=0, interactive=False)
    print(f"growing a ledger of {options.leaves:,} leaves", file=sys.stderr)
    grow(options.leaves)
    found = []
    for figure in figures(options.leaves, place):
        print(figure.line(), flush=True)
        found.append(figure)
    if options.keep:
        content = {
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "machine": machine(place),
            "figures": [asdict(figure) for figure in found],
        }
        options.keep.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")
    shutil.rmtree(place)
    return int(any(figure.median > figure.most for figure in found))


if __name__ == "__main__":
    sys.exit(main())
