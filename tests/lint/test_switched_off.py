"""The machinery of `make prove-clauses`: it tells tests that notice from tests that do not.

Here on a few clauses only; `make prove-clauses` switches off what enforces each.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from muniment.server.privacy.statement import read_statement
from tests.support.switch_off import try_without
from tests.support.switching import NOTHING, permissive, switch

ROOT = Path(__file__).parents[2]
CLAUSES = read_statement().clauses

LOADED = """
import pytest
from muniment.server.mail.checking import MessageClass, text_complaints
@pytest.fixture
def complaints(): return list(text_complaints("Special offers", MessageClass.SERVICE))
"""
MARKED = "@pytest.mark.clause('P47')\n"
PLANTED = {
    "CAUGHT": f"{LOADED}{MARKED}def test_it(complaints): assert complaints\n",
    "SURVIVED": f"{LOADED}{MARKED}def test_it(complaints): assert complaints is not None\n",
    "BROKEN": f"{LOADED}@pytest.fixture\ndef first(complaints): return complaints[0]\n"
    f"{MARKED}def test_it(first): assert first\n",
    "NEVER LOADED": f"import pytest\n{MARKED}def test_it(): assert 0\n",
}


@pytest.mark.parametrize("verdict", PLANTED)
def test_planted_tests_are_told_apart(verdict: str, tmp_path: Path) -> None:
    planted = tmp_path / "test_planted.py"
    planted.write_text(PLANTED[verdict])
    assert try_without(CLAUSES["P47"], tmp_path, [planted]).verdict == verdict


@pytest.mark.parametrize("clause", ["P13", "P1"], ids=["in this process", "in a server"])
def test_a_clause_is_missed_when_nothing_enforces_it(clause: str, tmp_path: Path) -> None:
    assert try_without(CLAUSES[clause], tmp_path).is_caught


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
    for clause in CLAUSES.values():
        if not clause.enforce:
            assert permissive(clause) == NOTHING
