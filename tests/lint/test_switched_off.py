"""Switching off what enforces a clause turns its tests red: here for those that run in one process.

`make prove-clauses` does it for every clause, with a server in a process of its own where the tests have one.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from muniment.server.privacy.statement import read_statement
from tests.support.switch_off import files_showing
from tests.support.switching import NOTHING, permissive, switch

ROOT = Path(__file__).parents[2]
HERE = "tests/unit/server"


def runs_here(clause: str) -> bool:
    """Whether every test of the clause is among those below."""
    files = [path.relative_to(ROOT).as_posix() for path in files_showing(clause)]
    return bool(files) and all(file.startswith(HERE) for file in files)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_clause_is_missed_when_nothing_enforces_it() -> None:
    options = ["-q", "-p", "no:cacheprovider", "--timeout=60", "-m", "clause", "--switch-off"]
    command = [sys.executable, "-m", "pytest", *options, HERE]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=880)
    assert done.returncode == 0, done.stdout[-4000:]
    outcomes = dict(re.findall(r"^SWITCHED (\w+) (\w+)$", done.stdout, flags=re.MULTILINE))
    enforced = {clause.id for clause in read_statement().clauses.values() if clause.enforce}
    expected = {clause for clause in enforced if runs_here(clause)}
    assert len(expected) > 5
    assert {clause: outcomes.get(clause) for clause in expected} == dict.fromkeys(expected, "CAUGHT")


def test_a_switched_function_does_what_the_lambda_does() -> None:
    def limit(size: int, *, most: int = 3) -> int:
        if size > most:
            raise ValueError
        return size

    known_elsewhere = limit
    switch(limit, "lambda size, *, most=0: size + len(ROOT.parts)")
    assert known_elsewhere(9) == 9 + len(ROOT.parts)
    switch(limit, NOTHING)
    assert known_elsewhere("anything", at="all") is None  # type: ignore[arg-type, call-arg]


def test_every_replacement_belongs_to_a_clause_that_is_enforced() -> None:
    for clause in read_statement().clauses.values():
        if not clause.enforce:
            assert permissive(clause) == NOTHING
