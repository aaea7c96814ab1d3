"""A pytest plugin: which tests show which clauses of the statement, and what the ledger recorded meanwhile.

    @pytest.mark.clause("P48")                       # holds: what every clause but a ceiling needs
    @pytest.mark.clause("P21", aspect="off")         # a ceiling needs off, allowed and beyond
    @pytest.mark.clause("P16", "P17")                # one test, two clauses

    pytest -m clause --prove FILE    run them all and write what they proved
    pytest --clause P48              run only the tests of a clause
    pytest --hold-clauses            fail the session where an enforced clause was not shown

Workers of xdist report to their controller in the properties of each report.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.core.exceptions import SynchronousOnlyOperation
from django.db import DatabaseError, connection

from lint.statement_rules import Shown, unshown
from muniment.server.privacy.program import program_digest
from muniment.server.privacy.statement import read_statement
from muniment.server.privacy.terms import Aspect

ROOT = Path(__file__).parents[2]
_BEFORE = pytest.StashKey[int]()
_LEDGER = "privacy_ledger"


def clauses_of(item: pytest.Item) -> list[tuple[str, Aspect]]:
    """What the test says it shows. ValueError for an aspect that does not exist."""
    return [
        (clause, Aspect(mark.kwargs.get("aspect", Aspect.HOLDS)))
        for mark in item.iter_markers("clause")
        for clause in mark.args
    ]


@dataclass
class Showings:
    """Collected from the reports of all workers."""

    shown: dict[str, Shown] = field(default_factory=dict)
    kinds: dict[str, set[str]] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)

    def hear(self, report: pytest.TestReport) -> None:
        told = dict(report.user_properties)
        if report.failed:
            self.failed.add(report.nodeid)
        if report.when != "call" or not report.passed:
            return
        for clause, aspect in told.get("clauses", []):
            self.shown.setdefault(clause, {}).setdefault(Aspect(aspect), set()).add(report.nodeid)
            self.kinds.setdefault(clause, set()).update(told.get("kinds", []))

    def passed(self) -> dict[str, Shown]:
        """Without tests that failed while they were set up or cleaned away."""
        return {
            clause: {aspect: tests - self.failed for aspect, tests in aspects.items() if tests - self.failed}
            for clause, aspects in self.shown.items()
        }


_SHOWINGS = Showings()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("clauses")
    group.addoption("--prove", metavar="FILE", type=Path, help="write which tests showed which clauses")
    group.addoption("--clause", action="append", default=[], help="run only tests of this clause")
    group.addoption("--hold-clauses", action="store_true", help="fail where an enforced clause is not shown")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "clause(*ids, aspect='holds'): shows clauses of the statement")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    known = read_statement().clauses
    for item in items:
        unknown = [clause for clause, _ in clauses_of(item) if clause not in known]
        if unknown:
            raise pytest.UsageError(f"{item.nodeid} is marked with {unknown}, which the statement has not")
    wanted = set(config.getoption("--clause"))
    if wanted:
        chosen = [item for item in items if wanted & {clause for clause, _ in clauses_of(item)}]
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    item.stash[_BEFORE] = _size_here()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    named = clauses_of(item)
    # A fixture may have emptied the ledger.
    here = min(item.stash[_BEFORE], _size_here())
    before = {data: _size_of(data) if shared else 0 for data, shared in _data_directories(item)}
    try:
        return (yield)
    finally:
        if named:
            seen = set(_kinds_here(since=here))
            for data, size in before.items():
                seen.update(_kinds_of(data, since=size))
            item.user_properties.append(("clauses", [[clause, aspect.value] for clause, aspect in named]))
            item.user_properties.append(("kinds", sorted(seen)))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _SHOWINGS.hear(report)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput"):
        return
    target: Path | None = session.config.getoption("--prove")
    if target is not None:
        target.write_text(json.dumps(_proof(_SHOWINGS), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    held = session.config.getoption("--hold-clauses") and session.exitstatus == pytest.ExitCode.OK
    if held and _complaints():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("--hold-clauses") or config.getoption("--prove"):
        for complaint in _complaints():
            terminalreporter.write_line(f"CLAUSE {complaint}", red=True)


def _complaints() -> list[str]:
    return list(unshown(read_statement(), _SHOWINGS.passed(), _SHOWINGS.kinds))


def _proof(showings: Showings) -> dict[str, Any]:
    """What /privacy/proof shows: of which commit, when, and which tests passed for each clause."""
    passed = showings.passed()
    return {
        "commit": _git("rev-parse", "HEAD"),
        "statement": read_statement().digest,
        "program": program_digest(),
        "changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        "clauses": {
            clause: {
                "tests": {aspect.value: sorted(tests) for aspect, tests in aspects.items()},
                "records": sorted(showings.kinds.get(clause, ())),
            }
            for clause, aspects in passed.items()
        },
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _data_directories(item: pytest.Item) -> Iterator[tuple[Path, bool]]:
    """Those of the servers that the test's fixtures hold, and whether other tests use them too."""
    definitions = item._fixtureinfo.name2fixturedefs if isinstance(item, pytest.Function) else {}
    values = item.funcargs if isinstance(item, pytest.Function) else {}
    for name, value in values.items():
        data = getattr(getattr(value, "server", value), "data", None)
        if isinstance(data, Path):
            yield data, bool(name in definitions and definitions[name][-1].scope != "function")


def _size_here() -> int:
    return _query_here("SELECT coalesce(max(number) + 1, 0) FROM privacy_ledger_leafrow", ())[0][0]


def _kinds_here(*, since: int) -> list[str]:
    rows = _query_here("SELECT DISTINCT kind FROM privacy_ledger_leafrow WHERE number >= %s", (since,))
    return [kind for kind, *_ in rows if isinstance(kind, str)]


def _query_here(query: str, arguments: tuple[int, ...]) -> list[tuple[Any, ...]]:
    """From this process's database; one row of 0 where it has none."""
    if not (settings.configured and apps.ready and _LEDGER in apps.app_configs):
        return [(0,)]
    if connection.in_atomic_block and connection.needs_rollback:
        return [(0,)]
    try:
        with connection.cursor() as cursor:
            cursor.execute(query, arguments)
            return list(cursor.fetchall())
    except (DatabaseError, SynchronousOnlyOperation):  # the latter beside a browser's event loop
        return [(0,)]


def _size_of(data: Path) -> int:
    return _query_of(data, "SELECT coalesce(max(number) + 1, 0) FROM privacy_ledger_leafrow", ())[0][0]


def _kinds_of(data: Path, *, since: int) -> list[str]:
    rows = _query_of(data, "SELECT DISTINCT kind FROM privacy_ledger_leafrow WHERE number >= ?", (since,))
    return [kind for kind, *_ in rows if isinstance(kind, str)]


def _query_of(data: Path, query: str, arguments: tuple[int, ...]) -> list[tuple[Any, ...]]:
    """From a server's SQLite file; one row of 0 where it has none."""
    path = data / "muniment.sqlite3"
    if not path.exists():
        return [(0,)]
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    try:
        return connection.execute(query, arguments).fetchall()
    except sqlite3.Error:
        return [(0,)]
    finally:
        connection.close()
