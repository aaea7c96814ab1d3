"""The statement and the program hold to each other; each rule notices a planted violation."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from django.conf import settings

from lint.statement_rules import (
    MAY_BE_PLANNED,
    SPECIFIED,
    Shown,
    enforcer,
    marks_in,
    resealed,
    unfound,
    unmarked,
    unplaced,
    unsaid,
    unshown,
    unused,
)
from muniment.main.serve import set_up_django
from muniment.server.config import ServerConfig
from muniment.server.privacy.proof import read_evidence
from muniment.server.privacy.seals import AlreadySealed, read_seals, sealed_with
from muniment.server.privacy.statement import Statement, parse_statement, read_statement, shipped_texts
from muniment.server.privacy.terms import CEILING_ASPECTS, Aspect, ClauseState, Modality, StatementBroken

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/muniment"
TESTS = sorted(path for path in (ROOT / "tests").rglob("test_*.py") if path.name != "test_statement.py")
MARKS = marks_in(TESTS)


@pytest.fixture(scope="module", autouse=True)
def models(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Functions that enforce clauses import models. Elsewhere in the session Django may be set up already."""
    if not settings.configured:
        set_up_django(ServerConfig(data=tmp_path_factory.mktemp("statement")))


def planted(*, declared: tuple[str, str] = ("", ""), said: tuple[str, str] = ("", "")) -> Statement:
    """Our statement with one pattern replaced in its declarations and one in its words."""
    texts = []
    for text, (pattern, replacement) in zip(shipped_texts(), (declared, said), strict=True):
        changed = re.sub(pattern, replacement, text, count=1, flags=re.MULTILINE) if pattern else text
        assert changed != text or not pattern, pattern
        texts.append(changed)
    return parse_statement(texts[0], texts[1])


def with_clause(line: str) -> Statement:
    """Our statement with one clause declared otherwise."""
    name = line.split(" ", 1)[0]
    return planted(declared=(rf"^{name} = \{{.*\}}$", line.replace("\\", "\\\\")))


def shown_in_full() -> dict[str, Shown]:
    """As if every enforced clause had been shown in all its aspects."""
    return {
        clause.id: {aspect: {"a test"} for aspect in clause.aspects}
        for clause in read_statement().clauses.values()
    }


def recorded_in_full() -> Mapping[str, list[str]]:
    return {clause.id: sorted(clause.records) for clause in read_statement().clauses.values()}


# What must hold of our own statement.


RULES: dict[str, Callable[[Statement], Iterator[str]]] = {
    "every sentence has a clause": unsaid,
    "a sealed version never changes": lambda statement: resealed(statement, read_seals()),
    "all 88 are placed": unplaced,
    "enforcing functions exist": unfound,
    "enforcing functions are used": lambda statement: unused(statement, SOURCE),
    "tests are marked": lambda statement: unmarked(statement, MARKS),
}


@pytest.mark.parametrize("rule", RULES)
def test_our_statement_obeys(rule: str) -> None:
    assert list(RULES[rule](read_statement())) == []


def test_the_committed_proof_shows_what_we_claim() -> None:
    """Whatever says that it is enforced was shown, in every aspect, with its records, by tests that exist."""
    evidence = read_evidence()
    shown = {
        clause: {aspect: set(tests) for aspect, tests in aspects.items()}
        for clause, aspects in (evidence.tests or {}).items()
    }
    assert list(unshown(read_statement(), shown, evidence.records or {})) == []
    assert evidence.digest == read_statement().digest
    for aspects in shown.values():
        for test in set[str]().union(*aspects.values()):
            assert (ROOT / test.split("::")[0]).exists(), test


def test_marks_name_clauses_that_exist() -> None:
    assert set(MARKS) <= set(read_statement().clauses)


def test_the_list_for_comparing_names_every_clause() -> None:
    text = (ROOT / "docs/reference/clauses.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (P\d+|A\d+) \| (\w)", text, flags=re.MULTILINE)
    declared = {clause.id: clause.modality.value for clause in read_statement().clauses.values()}
    assert dict(rows) == declared


# Each planted violation is caught.


def test_a_sentence_without_a_clause_is_caught() -> None:
    bare = planted(said=(r"(^We hold no key.*) \[P7\]$", r"\1"))
    assert [complaint for complaint in unsaid(bare) if "has no clause" in complaint]


def test_a_clause_that_no_sentence_speaks_for_is_caught() -> None:
    silent = planted(said=(r"^Please read what others promise.*\n", ""))
    assert list(unsaid(silent)) == ["no sentence of the statement speaks for P9"]


def test_a_clause_that_only_tests_enforce_is_caught(tmp_path: Path) -> None:
    line = 'P7 = { modality = "N", topic = "t", state = "enforced", enforce = "muniment.server.lonely.%s" }'
    server = tmp_path / "muniment/server"
    server.mkdir(parents=True)
    (server / "lonely.py").write_text("def held():\n    ...\n\ndef asked():\n    return held()\n")
    (server / "busy.py").write_text("from muniment.server import other\n\nother.held()\n")
    lonely = "P7 is enforced by muniment.server.lonely.held, which no other module uses"
    assert list(unused(with_clause(line % "held"), tmp_path / "muniment")) == [lonely]
    (server / "busy.py").write_text("from muniment.server.lonely import asked\n\nasked()\n")
    assert list(unused(with_clause(line % "held"), tmp_path / "muniment")) == []


def test_a_sentence_of_a_clause_that_does_not_exist_is_caught() -> None:
    with pytest.raises(StatementBroken, match="P99"):
        planted(said=(r"\[P7\]$", "[P99]"))


def test_a_changed_sentence_without_a_new_version_is_caught() -> None:
    edited = planted(said=("We cannot read what you back up", "We do not read what you back up"))
    assert [complaint for complaint in resealed(edited, read_seals()) if "give it a new number" in complaint]


def test_a_changed_declaration_without_a_new_version_is_caught() -> None:
    edited = planted(declared=(r"^days = 30$", "days = 31"))
    assert [complaint for complaint in resealed(edited, read_seals()) if "give it a new number" in complaint]


def test_a_new_number_has_to_be_sealed_and_cannot_be_an_old_one() -> None:
    newer = planted(declared=(r"^version = \d+$", "version = 77"))
    assert list(resealed(newer, read_seals())) == [
        "version 77 is not sealed: python -m muniment.server.manage seal"
    ]
    older = read_statement()
    assert any("older than 99" in complaint for complaint in resealed(older, {**read_seals(), 99: "x"}))
    with pytest.raises(AlreadySealed):
        sealed_with(read_seals(), older.version, "other words")


def test_wiring_may_change_without_a_new_version() -> None:
    rewired = with_clause(
        f'P7 = {{ modality = "N", topic = "{read_statement().clauses["P7"].topic}", '
        'state = "planned", reason = "For a moment." }'
    )
    assert rewired.digest == read_statement().digest


@pytest.mark.parametrize(
    "path",
    ["muniment.server.nowhere.function", "muniment.server.privacy.statement.nothing",
     "muniment.server.privacy.statement.Statement.nothing"],
)  # fmt: skip
def test_an_enforcing_function_that_does_not_import_is_caught(path: str) -> None:
    lost = with_clause(f'P7 = {{ modality = "N", topic = "x", state = "enforced", enforce = "{path}" }}')
    assert [complaint for complaint in unfound(lost) if complaint.startswith("P7 ")]


def test_something_that_is_no_function_is_caught() -> None:
    path = "muniment.server.privacy.terms.Basis"
    lost = with_clause(f'P7 = {{ modality = "N", topic = "x", state = "enforced", enforce = "{path}" }}')
    assert [complaint for complaint in unfound(lost) if "no function" in complaint]


def test_an_enforced_clause_names_its_function_and_others_their_reason() -> None:
    for wrong in ('state = "enforced"', 'state = "planned"', 'state = "none"'):
        with pytest.raises(StatementBroken):
            with_clause(f'P7 = {{ modality = "N", topic = "x", {wrong} }}')


def test_a_clause_without_a_marked_test_is_caught() -> None:
    enforced = [clause for clause in read_statement().clauses.values() if clause.aspects]
    assert enforced
    for clause in enforced:
        for aspect in clause.aspects:
            marks = {**MARKS, clause.id: MARKS[clause.id] - {aspect}}
            assert list(unmarked(read_statement(), marks)) == [
                f"no test is marked with {clause.id} ({aspect.value})"
            ]


def test_a_clause_without_a_passing_test_is_caught() -> None:
    assert list(unshown(read_statement(), shown_in_full(), recorded_in_full())) == []
    for clause in read_statement().clauses.values():
        for aspect in clause.aspects:
            shown = shown_in_full()
            shown[clause.id] = {kept: tests for kept, tests in shown[clause.id].items() if kept is not aspect}
            assert list(unshown(read_statement(), shown, recorded_in_full())) == [
                f"{clause.id}: no passing test shows it ({aspect.value})"
            ]


def test_a_record_that_the_ledger_never_saw_is_caught() -> None:
    recording = [clause for clause in read_statement().clauses.values() if clause.records and clause.aspects]
    assert recording
    for clause in recording:
        kinds = {**recorded_in_full(), clause.id: sorted(clause.records)[1:]}
        complaint = f"{clause.id}: the ledger recorded no {min(clause.records)} during its tests"
        assert list(unshown(read_statement(), shown_in_full(), kinds)) == [complaint]


def test_ceilings_need_three_aspects() -> None:
    for clause in read_statement().clauses.values():
        if clause.state is ClauseState.ENFORCED:
            ceiling = clause.modality is Modality.CEILING
            assert clause.aspects == (CEILING_ASPECTS if ceiling else (Aspect.HOLDS,))


def test_more_than_six_clauses_that_nothing_enforces_are_caught() -> None:
    declared, said = shipped_texts()
    for name in ("P1", "P2", "P3", "P4", "P5"):
        line = f'{name} = {{ modality = "M", topic = "x", state = "none", reason = "No idea." }}'
        declared = re.sub(rf"^{name} = \{{.*\}}$", line, declared, flags=re.MULTILINE)
    assert any("6 at most may be" in complaint for complaint in unplaced(parse_statement(declared, said)))


def test_pretending_to_enforce_what_is_invalid_is_caught() -> None:
    pretended = with_clause('P74 = { modality = "X", topic = "x", state = "planned", reason = "Later." }')
    assert "P74 is invalid and must be enforced by nothing" in list(unplaced(pretended))


def test_a_clause_that_may_not_be_merely_planned_is_caught() -> None:
    late = with_clause('P45 = { modality = "M", topic = "x", state = "planned", reason = "Later." }')
    assert "P45 may not be merely planned" in list(unplaced(late))
    assert "P45" not in MAY_BE_PLANNED


def test_a_clause_that_is_not_placed_is_caught() -> None:
    declared, said = shipped_texts()
    declared = re.sub(r"^P9 = .*\n", "", declared, flags=re.MULTILINE)
    lost = parse_statement(declared, said.replace(" [P9 P76]", " [P76]"))
    assert "P9 is not placed" in list(unplaced(lost))
    assert len(SPECIFIED) == 88


def test_marks_are_found_as_they_are_written(tmp_path: Path) -> None:
    file = tmp_path / "test_x.py"
    file.write_text(
        'import pytest\n@pytest.mark.clause("P1", "P2")\ndef test_a(): ...\n'
        '@pytest.mark.clause("P10", aspect="off")\ndef test_b(): ...\n'
    )
    assert marks_in([file]) == {"P1": {Aspect.HOLDS}, "P2": {Aspect.HOLDS}, "P10": {Aspect.OFF}}


def test_an_enforcing_method_is_found_behind_its_class_and_decorators() -> None:
    found = enforcer("muniment.server.privacy.terms.StatementBroken.__init__")
    assert found.__name__ == "__init__"
