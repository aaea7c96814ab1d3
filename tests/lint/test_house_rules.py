"""Each house rule passes its good examples, refuses its bad ones, and the repository obeys them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from lint.rules import RULES, Rule, Source, broken_rules

ROOT = Path(__file__).parents[2]


def parse(path: Path) -> Source:
    return Source.parse(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_good_code_passes(rule: Rule) -> None:
    for text in rule.good:
        assert list(rule.find(Source.parse(rule.where, text))) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_bad_code_is_refused(rule: Rule) -> None:
    assert rule.bad
    for text in rule.bad:
        assert list(rule.find(Source.parse(rule.where, text))), text


def test_a_waiver_needs_a_reason() -> None:
    where = "src/muniment/client/example.py"
    waived = '"""Doc."""\nfrom os import *  # house-rule: no-star-import, generated names\n'
    unreasoned = '"""Doc."""\nfrom os import *  # house-rule: no-star-import\n'
    assert list(broken_rules(Source.parse(where, waived))) == []
    assert len(list(broken_rules(Source.parse(where, unreasoned)))) == 1


@pytest.mark.parametrize("part", ["src", "tests", "benches", "lint"])
def test_the_repository_obeys(part: str) -> None:
    complaints = [
        complaint for path in sorted((ROOT / part).rglob("*.py")) for complaint in broken_rules(parse(path))
    ]
    assert complaints == []
