"""`python -m benches.privacy`: what it costs that the statement runs.

    python -m benches.privacy [--leaves N] [--keep] [gate] [ledger] [person]

gate      deciding whether something may leave
ledger    an append beside its effect, a proof, a verification
person    a copy of everything held about somebody; forgetting somebody

On a fresh SQLite file in `BENCH_DIR` (default `.bench`). Each figure is the median of its repetitions, with
the slowest beside it. Floors are promised before anything is measured; they are compared here, and not in
tests, because machines differ. `--keep` writes benches/results/privacy.{json,md}.
"""

from __future__ import annotations

import argparse
import itertools
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

from benches.floors import Figure, keep, measure
from muniment.main.serve import set_up_django
from muniment.server.config import ServerConfig

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
BATCH = 20_000
DECISIONS = 50_000
RESULTS = Path(__file__).with_name("results") / "privacy"
PARTS = ("gate", "ledger", "person")


def decisions() -> Iterator[Figure]:
    """So many decisions in a second: yes, no for want of a consent, and no by signal, in turn."""
    from muniment.server.privacy.consent.effect import Consents
    from muniment.server.privacy.gate.decide import Ask, SubjectFacts, decide
    from muniment.server.privacy.signals import Signals
    from muniment.server.privacy.statement import read_statement
    from muniment.server.privacy.terms import Basis, Recipient, RecipientKind

    statement = read_statement()
    offered = next(item.name for item in statement.purposes.values() if item.basis is Basis.CONSENT)
    fields = frozenset({"accounts.Account.email", "accounts.Account.country"})
    partner = Recipient(
        name="partner", title="a partner", kind=RecipientKind.ADVERTISING_PARTNER, fields=fields,
        purposes=frozenset({offered}), country="IE", contract="C-1", expires=date(2027, 1, 1),
        reviewed=date(2026, 6, 1), transfer_basis="",
    )  # fmt: skip
    named = replace(statement, recipients={"partner": partner})
    willing = SubjectFacts("IE", is_adult=True, consents=Consents(frozenset({(offered, "partner")})))
    yes = Ask(offered, "partner", fields, willing, NOW)
    asks = (
        yes,
        replace(yes, subject=replace(willing, consents=Consents())),
        replace(yes, signals=Signals(gpc=True)),
    )
    assert [decide(named, ask).allow for ask in asks] == [True, False, False]

    def decide_all() -> None:
        for ask in itertools.islice(itertools.cycle(asks), DECISIONS):
            decide(named, ask)

    yield measure(f"{DECISIONS:,} decisions of the gate", 1000.0, 9, decide_all)


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


def ledgers(count: int, place: Path) -> Iterator[Figure]:
    """What the ledger costs once it has `count` leaves."""
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


def persons(place: Path) -> Iterator[Figure]:
    from benches.person import figures
    from muniment.server.privacy.versions.posting import post_shipped
    from tests.support.domain import Clock, make_deployment

    post_shipped(now=NOW)
    yield from figures(make_deployment(place, Clock()))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches.privacy", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help="gate, ledger, person")
    parser.add_argument("--leaves", type=int, default=1_000_000)
    parser.add_argument("--keep", action="store_true", help="write benches/results/privacy.{json,md}")
    options = parser.parse_args()
    parts = options.parts or PARTS
    if set(parts) - set(PARTS):
        parser.error(f"parts are {', '.join(PARTS)}")
    place = Path(os.environ.get("BENCH_DIR", ".bench")).resolve() / "privacy"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    set_up_django(ServerConfig(data=place))
    from django.core.management import call_command

    call_command("migrate", verbosity=0, interactive=False)
    found = []

    def show(figures: Iterator[Figure]) -> None:
        for figure in figures:
            print(figure.line(), flush=True)
            found.append(figure)

    if "gate" in parts:
        show(decisions())
    if "ledger" in parts:
        print(f"growing a ledger of {options.leaves:,} leaves", file=sys.stderr)
        grow(options.leaves)
        show(ledgers(options.leaves, place))
    if "person" in parts:
        show(persons(place))
    if options.keep:
        keep(found, RESULTS, place=place, title="What it costs that the statement runs")
    shutil.rmtree(place)
    return int(not all(figure.holds for figure in found))


if __name__ == "__main__":
    sys.exit(main())
