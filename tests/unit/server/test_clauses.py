"""Clauses that belong to no single area: what the statement's own declarations promise, and keep."""

from __future__ import annotations

import json
import logging
import re
import sys

import pytest
from django.apps import apps
from django.db import models
from django.test import Client

from muniment.server.accounts.models import Profile
from muniment.server.deployment import Deployment
from muniment.server.logs import JsonLines
from muniment.server.privacy.consent.choices import Subject, choose, is_granted
from muniment.server.privacy.consent.effect import State
from muniment.server.privacy.consent.notices import notice_for
from muniment.server.privacy.external import EXTERNAL
from muniment.server.privacy.registry import Erase, Personal, Placement, data_map, personal, problems, public
from muniment.server.privacy.statement import parse_statement, read_statement, shipped_texts
from muniment.server.privacy.terms import Basis, StatementBroken
from muniment.server.transactions import writing
from tests.support.domain import Clock
from tests.support.pages import Person

HOST = {"host": "localhost"}
KEEPING_SAFE = ("enforce_terms", "fraud", "security")
PROTECTED = {"profile", "correspondence", "agreement", "age"}


def complaints(*, category: str, purposes: tuple[str, ...], keep: str = "account") -> list[str]:
    """What the registry says of a column that is declared so."""
    column = personal(models.TextField(), category=category, purposes=purposes, keep=keep, erase=Erase.DELETE)
    members = {
        "__module__": __name__,
        "Meta": type("Meta", (), {"app_label": "planted_clauses", "managed": True}),
        "id": public(models.BigAutoField(primary_key=True), why="a row number"),
        "subject_path": "account",
        "placement": Placement.REGION,
        "said": column,
    }
    planted = type(f"Planted{abs(hash((category, purposes, keep)))}", (models.Model,), members)
    apps.all_models["planted_clauses"].clear()
    return problems(read_statement(), EXTERNAL, model_list=[planted])


def serving(purpose: str) -> set[str]:
    """Categories of the columns that are declared for the purpose."""
    return {
        column.declaration.category
        for column in data_map(EXTERNAL)
        if isinstance(column.declaration, Personal) and purpose in column.declaration.purposes
    }


def choose_details(person: Person, state: State, clock: Clock) -> None:
    notice = notice_for(read_statement().purposes["demographics"], gpc=False)
    with writing():
        choose(Subject(person.account), "demographics", state, notice=notice, method="a test", now=clock())


# What people may tell about themselves


@pytest.mark.clause("P14", aspect="off")
def test_who_tells_nothing_is_not_asked_to_agree(deployment: Deployment, clock: Clock) -> None:
    person = Person(deployment).join()
    profile = Profile.objects.get(account=person.account)
    assert not any((profile.name, profile.phone, profile.industry, profile.city))
    assert not is_granted(Subject(person.account), "demographics", gpc=False, now=clock())


@pytest.mark.clause("P14", aspect="allowed")
def test_who_tells_something_has_agreed_to_its_one_purpose(deployment: Deployment, clock: Clock) -> None:
    person = Person(deployment)
    person.register(phone="5550100")
    assert Profile.objects.get(account=person.account).phone == "5550100"
    assert is_granted(Subject(person.account), "demographics", gpc=False, now=clock())


@pytest.mark.clause("P14", aspect="beyond")
def test_taking_it_back_empties_what_was_told(deployment: Deployment, clock: Clock) -> None:
    person = Person(deployment)
    person.register(phone="5550100")
    choose_details(person, State.WITHDRAWN, clock)
    assert not Profile.objects.get(account=person.account).phone
    assert not is_granted(Subject(person.account), "demographics", gpc=False, now=clock())


# Purposes


def test_what_has_no_purpose_cannot_be_kept() -> None:
    assert complaints(category="contact", purposes=())
    assert complaints(category="contact", purposes=("curiosity",))


@pytest.mark.parametrize("purpose", ["sign_in", "security"])
def test_what_the_service_needs_may_be_kept_for_it(purpose: str) -> None:
    assert complaints(category="contact", purposes=(purpose,)) == []


def test_no_column_serves_more_than_its_purposes_may_use() -> None:
    for category in read_statement().categories:
        allowed = category in read_statement().purposes["sign_in"].categories
        assert (complaints(category=category, purposes=("sign_in",)) == []) == allowed
        assert complaints(category=category, purposes=("sign_in", "statistics"))


# Keeping the service safe, and holding people to a contract


@pytest.mark.clause("P23", "P24", "P25", aspect="off")
@pytest.mark.parametrize("purpose", KEEPING_SAFE)
def test_what_keeps_the_service_safe_reads_nothing_that_people_told_us(purpose: str) -> None:
    assert not serving(purpose) & PROTECTED


@pytest.mark.clause("P23", "P24", "P25", aspect="allowed")
@pytest.mark.parametrize("purpose", KEEPING_SAFE)
def test_it_may_use_what_it_is_declared_with_and_says_why(purpose: str) -> None:
    declared = read_statement().purposes[purpose]
    assert declared.basis is Basis.LEGITIMATE_INTEREST
    assert len(declared.balance.split()) > 15, "a balancing test says more than a word"
    for category in declared.categories:
        assert complaints(category=category, purposes=(purpose,)) == []


@pytest.mark.clause("P23", "P24", "P25", aspect="beyond")
@pytest.mark.parametrize("purpose", KEEPING_SAFE)
def test_it_may_use_nothing_else(purpose: str) -> None:
    for category in set(read_statement().categories) - read_statement().purposes[purpose].categories:
        assert complaints(category=category, purposes=(purpose,)), category


def test_addresses_of_networks_are_for_safety_and_running_only() -> None:
    for purpose in read_statement().purposes:
        allowed = purpose in {"security", "fraud", "operation"}
        assert (complaints(category="network", purposes=(purpose,)) == []) == allowed


# What the older statement lacked


@pytest.mark.clause("A1")
def test_every_purpose_has_a_lawful_basis_and_a_reason() -> None:
    declared, said = shipped_texts()
    groundless = declared.replace('basis = "contract"', 'basis = "because"', 1)
    with pytest.raises(StatementBroken):
        parse_statement(groundless, said)
    for purpose in read_statement().purposes.values():
        if purpose.balance:
            unweighed = declared.replace(f'balance = "{purpose.balance}"\n', "", 1)
            with pytest.raises(StatementBroken, match="without a balancing test"):
                parse_statement(unweighed, said)


@pytest.mark.clause("A3")
def test_the_statement_says_to_whom_one_may_complain(deployment: Deployment) -> None:
    page = Client(headers={"host": "localhost"}).get("/privacy").content.decode()
    text = re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", page)).replace("&#x27;", "'")
    for law in read_statement().jurisdictions.values():
        assert law.authority, law.code
        assert law.authority in text


@pytest.mark.clause("A6")
@pytest.mark.parametrize("keep", ["as needed", "for ever", ""])
def test_nothing_is_kept_without_a_named_period(keep: str) -> None:
    assert complaints(category="contact", purposes=("sign_in",)) == []
    assert complaints(category="contact", purposes=("sign_in",), keep=keep)


@pytest.mark.clause("P87")
def test_the_operator_says_how_to_be_reached_or_the_page_says_that_nobody_did(deployment: Deployment) -> None:
    def shown() -> str:
        return Client(headers={"host": "localhost"}).get("/privacy").content.decode()

    assert "has not said yet" in shown()
    path = deployment.config.data / "operator.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        'name = "a family"\nmail = "privacy@backup.example.org"\npost = "1 Harbour Road\\nCork"\n'
    )
    page = shown()
    assert all(text in page for text in ("a family", "privacy@backup.example.org", "1 Harbour Road", "Cork"))
    assert "has not said yet" not in page


# Logs

FIELDS = {
    "time", "level", "from", "event", "request", "route", "status", "code", "ms", "received", "sent", "count",
}  # fmt: skip
TELLING = {"address": "203.0.113.9", "email": "somebody@example.org", "path": "/vaults/7", "user": 12}


def logged(**extra: object) -> dict[str, object]:
    """The line that a record with these extras becomes."""
    record = logging.LogRecord("muniment.requests", logging.INFO, __file__, 1, "request", None, None)
    record.__dict__.update(extra)
    line: dict[str, object] = json.loads(JsonLines().format(record))
    return line


@pytest.mark.clause("P54", aspect="off")
@pytest.mark.clause("P55")
def test_looking_at_pages_leaves_no_line(deployment: Deployment, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="muniment"):
        for path in ("/", "/privacy", "/accounts/login", "/nowhere"):
            Client(headers=HOST).get(path, REMOTE_ADDR="203.0.113.9")
    assert [record for record in caplog.records if record.name.startswith("muniment")] == []


@pytest.mark.clause("P54", aspect="allowed")
def test_a_line_says_what_happened() -> None:
    line = logged(route="/vaults/{vault}/packs/{pack}", status=201, received=65536, sent=12, ms=3.5)
    assert (line["route"], line["status"], line["received"]) == ("/vaults/{vault}/packs/{pack}", 201, 65536)
    assert set(line) <= FIELDS


@pytest.mark.clause("P54", aspect="beyond")
@pytest.mark.clause("P55")
def test_nothing_that_tells_who_gets_into_a_line() -> None:
    one, other = logged(status=200, **TELLING), logged(status=200, address="198.51.100.4", user=13)
    assert set(one) <= FIELDS
    assert {name: one[name] for name in one if name != "time"} == {
        name: other[name] for name in other if name != "time"
    }


@pytest.mark.clause("P54", aspect="beyond")
def test_an_exception_is_told_by_its_kind_and_place_never_by_its_text() -> None:
    try:
        raise ValueError("somebody@example.org said so")
    except ValueError:
        line = logged(exc_info=sys.exc_info())
    assert line["exception"] == "ValueError"
    assert "somebody" not in json.dumps(line)
