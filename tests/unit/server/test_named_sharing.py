"""A recipient that somebody named gets what they said, until they say otherwise, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from django.test import Client

from muniment.server.accounts.enrolment import create_account
from muniment.server.accounts.models import Account
from muniment.server.deployment import Deployment
from muniment.server.privacy.consent.choices import Subject
from muniment.server.privacy.consent.models import ConsentEvent
from muniment.server.privacy.consent.preferences import withdraw_grant
from muniment.server.privacy.gate.declared import FILE, read_recipients, text_of
from muniment.server.privacy.ledger.entries import entries_of
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.ledger.verification import verify_document
from muniment.server.privacy.named_sharing import (
    LONGEST,
    NotNameable,
    fetch_named,
    name_recipient,
    nameable,
    named_by,
)
from muniment.server.privacy.purposes import afresh
from muniment.server.privacy.requests.asking import ask
from muniment.server.privacy.requests.models import Kind as Asked
from muniment.server.privacy.versions.posting import post_shipped
from muniment.server.transactions import writing
from muniment.server.web.purposes import VISIT
from tests.support.domain import Clock, Member
from tests.support.versions import forget_versions

EMAIL, COUNTRY, PASSWORD = "accounts.Account.email", "accounts.Account.country", "accounts.Account.password"
DEVICE = "accounts.Device.name"
DECLARED = """
[recipients.accountant]
title = "an accountant"
kind = "affiliate"
purposes = ["named_sharing"]
fields = ["accounts.Account.email", "accounts.Device.name"]
country = "IE"
transfer_basis = "asked for by the person"
contract = "terms of processing"
expires = 2028-01-01
reviewed = 2026-11-01
contact = "privacy@accountant.example"

[recipients.carrier]
title = "a carrier of mail"
kind = "processor"
purposes = ["service_mail"]
fields = ["accounts.Account.email"]
country = "IE"
contract = "terms of processing"
expires = 2028-01-01
reviewed = 2026-11-01
contact = "privacy@carrier.example"
"""


@pytest.fixture(autouse=True)
def _declared(deployment: Deployment, clock: Clock) -> Iterator[None]:
    """In force from the start; afterwards everything is as before, for whoever shares the database."""
    data = deployment.config.data
    (data / FILE).write_text(DECLARED)
    forget_versions()
    post_shipped(now=clock(), recipients=text_of(read_recipients(data)))
    yield
    ConsentEvent.objects.filter(recipient="accountant").delete()
    forget_versions()
    post_shipped(now=clock())


def grant(account: Account, clock: Clock, *fields: str, days: int = 30) -> int:
    last_day = clock().date() + timedelta(days=days)
    return name_recipient(account, "accountant", fields or (EMAIL,), last_day=last_day, now=clock())


def take_back(account: Account, clock: Clock) -> None:
    withdraw_grant(Subject(account), purpose="named_sharing", recipient="accountant", now=clock())


def sent(deployment: Deployment) -> list[dict[str, list[str]]]:
    with afresh(*VISIT):
        return [json.loads(line) for line in fetch_named(deployment, "accountant")]


def another(clock: Clock) -> Account:
    with writing():
        return create_account(f"{uuid4().hex}@example.org", now=clock())


@pytest.mark.clause("P37", aspect="allowed")
def test_the_recipient_gets_the_fields_that_were_marked(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    another(clock)
    entry = grant(member.account, clock, EMAIL)
    assert sent(deployment) == [{EMAIL: [member.account.email]}]
    told, said = entries_of(member.account)[:2]
    assert (told.leaf.kind, told.leaf.clause) == (Kind.DISCLOSED, "P37")
    assert (told.said["recipient"], told.said["fields"]) == ("accountant", [EMAIL])
    assert (said.index, said.leaf.kind, said.leaf.clause) == (entry, Kind.CONSENT_GRANTED, "P37")
    assert said.said["fields"] == [EMAIL]

    grant(member.account, clock, DEVICE)  # in place of what was said before
    (line,) = sent(deployment)
    assert set(line) == {DEVICE}
    assert len(named_by(member.account, clock())) == 1


@pytest.mark.clause("P37", aspect="off")
def test_what_was_taken_back_is_not_sent(deployment: Deployment, member: Member, clock: Clock) -> None:
    grant(member.account, clock)
    assert len(sent(deployment)) == 1
    take_back(member.account, clock)
    assert sent(deployment) == []
    assert named_by(member.account, clock()) == []
    kinds = [entry.leaf.kind for entry in entries_of(member.account)[:3]]
    assert kinds == [Kind.CONSENT_WITHDRAWN, Kind.DISCLOSED, Kind.CONSENT_GRANTED]


@pytest.mark.clause("P37", aspect="beyond")
@pytest.mark.parametrize("how", ["taken back", "run out", "deleting"])
def test_it_is_decided_when_a_line_is_made_not_when_the_file_was_begun(
    deployment: Deployment, clock: Clock, how: str
) -> None:
    first, second = another(clock), another(clock)
    grant(first, clock)
    grant(second, clock, days=0)
    lines: Iterator[str] = fetch_named(deployment, "accountant")
    assert json.loads(next(lines)) == {EMAIL: [first.email]}
    if how == "taken back":
        take_back(second, clock)
    elif how == "run out":
        clock.turn(days=1)
    else:
        ask(deployment, second, Asked.ERASE)
    assert list(lines) == []
    assert Kind.DISCLOSED not in [entry.leaf.kind for entry in entries_of(second)]


def test_a_lapsed_contract_sends_nothing_whatever_people_said(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    grant(member.account, clock, days=365)
    clock.turn(days=364)  # the review is more than a year ago
    assert nameable(member.account, clock()) == []
    assert sent(deployment) == []
    assert entries_of(member.account)[0].leaf.kind == Kind.DISCLOSURE_REFUSED


def test_only_whom_the_operator_declared_for_it_can_be_named(member: Member, clock: Clock) -> None:
    (one,) = nameable(member.account, clock())
    assert (one.recipient.name, set(one.fields)) == ("accountant", {EMAIL, DEVICE})
    today = clock().date()
    for recipient, fields, last_day in (
        ("carrier", [EMAIL], today),
        ("nobody", [EMAIL], today),
        ("accountant", [], today),
        ("accountant", [EMAIL, PASSWORD], today),
        ("accountant", [COUNTRY], today),
        ("accountant", [EMAIL], today - timedelta(days=1)),
        ("accountant", [EMAIL], today + LONGEST + timedelta(days=1)),
    ):
        with pytest.raises(NotNameable):
            name_recipient(member.account, recipient, fields, last_day=last_day, now=clock())
    assert not ConsentEvent.objects.filter(subject=member.account).exists()


def test_a_file_is_only_for_those_who_can_be_named(deployment: Deployment) -> None:
    for name in ("carrier", "nobody"):
        with pytest.raises(NotNameable):
            fetch_named(deployment, name)


def test_the_page_names_shows_a_receipt_and_takes_back(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    client = Client(headers={"host": "localhost"})
    client.force_login(member.account, backend="allauth.account.auth_backends.AuthenticationBackend")
    said = {"recipient": "accountant", "field": [EMAIL], "last_day": clock().date().isoformat()}
    wrongs: list[dict[str, object]] = [{"last_day": "soon"}, {"field": []}, {"recipient": "carrier"}]
    for wrong in wrongs:
        answer = client.post("/preferences/name", said | wrong)
        assert answer.headers["Location"] == "/preferences?unclear#named"
    assert client.post("/preferences/name", said).headers["Location"] == "/preferences?kept#named"
    (named,) = named_by(member.account, clock())
    assert named.last_day == clock().date()
    receipt = client.get(f"/preferences/receipts/{named.entry}.json").json()
    (about,) = receipt["pii_processing"]["purposes"]
    assert about["pii_information"] == [{"pii_type": EMAIL}]
    assert about["recipient_third_parties"] == ["accountant"]
    assert verify_document(receipt)
    assert len(sent(deployment)) == 1
    client.post("/preferences/withdraw", {"purpose": "named_sharing", "recipient": "accountant"})
    assert sent(deployment) == []
