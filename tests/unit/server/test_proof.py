"""The proof page's own claims: nothing is called proven that the committed proof does not show."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.test import Client

from muniment.server.deployment import Deployment
from muniment.server.privacy.data_map import data_map_document, holdings
from muniment.server.privacy.external import EXTERNAL
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.operator import OperatorUnreadable, read_operator
from muniment.server.privacy.program import digest_of, program_digest
from muniment.server.privacy.proof import Evidence, Figure, Standing, proofs, standing_of, summary, tally
from muniment.server.privacy.registry import Personal, data_map
from muniment.server.privacy.retention import sweep
from muniment.server.privacy.statement import read_statement
from muniment.server.privacy.terms import Aspect, ClauseState
from muniment.server.site import statement as pages
from tests.support.domain import Clock

STATEMENT = read_statement()
HOST = {"host": "localhost"}


def evidence(**changes: object) -> Evidence:
    """As if every enforced clause had been shown."""
    enforced = [clause for clause in STATEMENT.clauses.values() if clause.state is ClauseState.ENFORCED]
    whole = Evidence(
        commit="c" * 40,
        date="2026-11-22T20:00Z",
        digest=STATEMENT.digest,
        tests={
            clause.id: dict.fromkeys(clause.aspects, ("tests/unit/x::test_y[1]", "tests/unit/x::test_y[2]"))
            for clause in enforced
        },
        records={clause.id: tuple(clause.records) for clause in enforced},
    )  # fmt: skip
    return replace(whole, **changes)


def stand(found: Evidence) -> dict[str, Standing]:
    return {proof.clause.id: proof.standing for proof in proofs(STATEMENT, found, counts={}, figures={})}


def test_whole_evidence_proves_what_is_enforced_and_nothing_else() -> None:
    standing = stand(evidence())
    for clause in STATEMENT.clauses.values():
        expected = {
            ClauseState.ENFORCED: Standing.PROVEN,
            ClauseState.PLANNED: Standing.PLANNED,
            ClauseState.NONE: Standing.NOTHING,
        }[clause.state]
        assert standing[clause.id] is expected


def test_another_statement_or_no_proof_at_all_proves_nothing() -> None:
    for lacking in (Evidence(), evidence(digest="other words"), evidence(tests={}), evidence(tests=None)):
        assert Standing.PROVEN not in stand(lacking).values()


def test_each_aspect_and_each_record_is_needed() -> None:
    whole = evidence()
    for clause in STATEMENT.clauses.values():
        for aspect in clause.aspects:
            shown = {a: t for a, t in (whole.tests or {})[clause.id].items() if a is not aspect}
            less = replace(whole, tests={**(whole.tests or {}), clause.id: shown})
            assert standing_of(clause, less, digest=STATEMENT.digest) is Standing.UNPROVEN
        if clause.aspects and clause.records:
            less = replace(whole, records={**(whole.records or {}), clause.id: ()})
            assert standing_of(clause, less, digest=STATEMENT.digest) is Standing.UNPROVEN


def test_the_summary_is_good_only_when_nothing_is_merely_claimed() -> None:
    def state(found: Evidence) -> str:
        return summary(tally(proofs(STATEMENT, found, counts={}, figures={}))).state

    assert state(evidence()) == "proven"
    assert state(Evidence()) == "attention"
    counted = tally(proofs(STATEMENT, evidence(), counts={}, figures={}))
    assert sum(item.specified for item in counted) == 88


def test_a_proof_shows_its_tests_once_its_records_and_its_figure() -> None:
    found = proofs(
        STATEMENT, evidence(), counts={"version_posted": 3}, figures={"overdue": Figure(0, "records")}
    )
    by_id = {proof.clause.id: proof for proof in found}
    assert dict(by_id["P84"].tests)[Aspect.HOLDS] == ("unit/x::test_y",)
    assert [(record.kind, record.count) for record in by_id["P83"].records] == [("version_posted", 3)]
    assert by_id["P46"].figure == Figure(0, "records")


def test_declared_records_are_kinds_of_the_ledger() -> None:
    kinds = {kind.value for kind in Kind}
    for clause in STATEMENT.clauses.values():
        assert clause.records <= kinds, clause.id


def test_the_page_has_every_clause_with_its_state_and_the_limits(deployment: Deployment) -> None:
    page = Client(headers=HOST).get("/privacy/proof").content.decode()
    for clause in STATEMENT.clauses.values():
        assert f'id="{clause.id}"' in page
    assert "makes a change visible, not impossible" in page
    assert "records past their period" in page


def test_the_statement_has_an_anchor_for_every_clause(deployment: Deployment) -> None:
    page = Client(headers=HOST).get("/privacy").content.decode()
    anchors = re.findall(r'<span id="([PA]\d+)"></span>', page)
    assert sorted(anchors) == sorted(STATEMENT.clauses)


def test_a_live_count_is_at_most_a_minute_old(deployment: Deployment, clock: Clock) -> None:
    browser = Client(headers=HOST)

    def posted() -> int:
        page = re.sub(r"\s+", " ", re.sub("<[^>]*>", "", browser.get("/privacy/proof").content.decode()))
        found = re.search(r"(\d+) version_posted", page)
        assert found is not None
        return int(found[1])

    clock.turn(days=400)
    before = posted()
    clock.turn(minutes=2)
    assert posted() == before
    clock.at += timedelta(minutes=2)


def test_the_data_map_has_every_column_and_only_declared_words(deployment: Deployment) -> None:
    document = Client(headers=HOST).get("/privacy/data-map.json").json()
    assert document == data_map_document(STATEMENT)
    columns = data_map(EXTERNAL)
    assert len(document["columns"]) == len(columns)
    for entry in document["columns"]:
        if entry["personal"]:
            assert set(entry["purposes"]) <= set(document["purposes"])
            assert entry["keep"] in document["periods"]
            assert entry["category"] in document["categories"]
    shown = sum(len(alike) for holding in holdings(STATEMENT) for alike in holding.personal)
    assert shown == sum(isinstance(column.declaration, Personal) for column in columns)
    page = Client(headers=HOST).get("/privacy/data").content.decode()
    assert all(holding.model in page for holding in holdings(STATEMENT))


def test_what_no_visit_changes_is_made_once(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Client(headers=HOST).get("/privacy/data").content
    monkeypatch.setattr(pages, "holdings", None)
    assert Client(headers=HOST).get("/privacy/data").content == first


def test_the_text_of_a_version_is_made_once_until_the_operator_says_more(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown() -> str:
        return Client(headers=HOST).get("/privacy").content.decode()

    first = shown()
    with monkeypatch.context() as patch:
        patch.setattr(pages, "readable", None)
        assert shown() == first
    path = deployment.config.data / "operator.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('name = "a family"')
    assert "a family" in shown()


def test_a_clause_is_drawn_again_only_where_its_numbers_changed(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = {"version_posted": 1}
    monkeypatch.setattr(pages, "recorded", lambda now: dict(counted))
    Client(headers=HOST).get("/privacy/proof")
    drawn = []
    draw = pages.render_to_string
    monkeypatch.setattr(
        pages, "render_to_string", lambda name, given: drawn.append(given) or draw(name, given)
    )
    Client(headers=HOST).get("/privacy/proof")
    assert drawn == []
    counted["version_posted"] = 123_456
    page = Client(headers=HOST).get("/privacy/proof").content.decode()
    assert [item["proof"].clause.id for item in drawn] == ["P83"]
    assert "123456" in page


def test_the_page_says_that_the_program_is_another_than_was_proven(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "The program has changed since this proof"
    for program, changed in ((program_digest(), False), ("", False), ("0" * 64, True)):
        found = evidence(program=program)
        monkeypatch.setattr(pages, "read_evidence", lambda found=found: found)
        page = Client(headers=HOST).get("/privacy/proof").content.decode()
        assert (said in page) is changed


def test_a_program_is_its_files_but_for_its_proof(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "server/one.py").write_text("1")
    before = digest_of(tmp_path)
    (tmp_path / "proof.json").write_text("{}")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/one.pyc").write_text("compiled")
    assert digest_of(tmp_path) == before
    (tmp_path / "server/one.py").rename(tmp_path / "server/two.py")
    assert digest_of(tmp_path) != before


def test_who_comes_while_somebody_counts_waits_for_that_count(
    deployment: Deployment, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    def slow(*, now: datetime) -> int:
        begun.append(now)
        time.sleep(0.3)
        return 0

    monkeypatch.setattr(sweep, "overdue", slow)
    clock.turn(days=400)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(sweep.count_overdue, [clock()] * 4))
    assert len(begun) == 1


def test_an_operator_s_file_is_read_strictly(deployment: Deployment) -> None:
    assert read_operator(deployment.config.data).facts() == ()
    path = deployment.config.data / "operator.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    for wrong in ("name =", 'nickname = "x"', "name = 3"):
        path.write_text(wrong)
        with pytest.raises(OperatorUnreadable):
            read_operator(deployment.config.data)
