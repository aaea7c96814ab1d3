"""The operator's own recipients: read strictly, posted as a version, and the only ones connected to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from muniment.server.config import ServerConfig
from muniment.server.deployment import Deployment
from muniment.server.egress import allow_list
from muniment.server.mail.carrier import ContractLapsed, Undeclared, check_carrier
from muniment.server.mail.mail_server import mail_server
from muniment.server.privacy.consent.choices import Subject, choose
from muniment.server.privacy.consent.effect import State
from muniment.server.privacy.consent.notices import Notice
from muniment.server.privacy.gate.counterparts import Standing
from muniment.server.privacy.gate.decide import Reason
from muniment.server.privacy.gate.declared import FILE, read_recipients, text_of
from muniment.server.privacy.gate.disclose import Offer, Values, disclose
from muniment.server.privacy.gate.overview import Contract, contract_of, read_overview
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.requests.asking import ask
from muniment.server.privacy.requests.models import Kind as Asked
from muniment.server.privacy.statement import parse_statement, shipped_texts
from muniment.server.privacy.tables import table_named
from muniment.server.privacy.terms import RecipientKind, RecipientsRefused
from muniment.server.privacy.versions.in_force import in_force, in_force_for, upcoming, versions
from muniment.server.privacy.versions.posting import (
    NOTICE_DAYS,
    give_notices,
    post_shipped,
    post_statement,
    turn_versions,
)
from muniment.server.transactions import writing
from tests.support.domain import Clock, Member
from tests.support.ledger import entries_of_kind
from tests.support.versions import forget_versions

BACKEND = "allauth.account.auth_backends.AuthenticationBackend"
EMAIL = "accounts.Account.email"
CARRIER = """
# Who carries our mail.
[recipients.carrier]
title = "a carrier of mail"
kind = "processor"
purposes = ["service_mail", "transactions"]
fields = ["accounts.Account.email"]
country = "IE"
contract = "terms of processing, article 28"
begins = 2026-01-01
expires = 2028-01-01
reviewed = 2026-11-01
contact = "privacy@carrier.example"
hosts = ["mail.carrier.example:587"]
"""


def write(folder: Path, text: str) -> Path:
    (folder / FILE).write_text(text, encoding="utf-8")
    return folder


def complaints(folder: Path, text: str) -> list[str]:
    with pytest.raises(RecipientsRefused) as refused:
        read_recipients(write(folder, text))
    return [line.removeprefix(f"{folder / FILE}, ") for line in refused.value.complaints]


# --- the file


def test_what_is_declared_is_what_is_read_and_kept(tmp_path: Path) -> None:
    assert read_recipients(tmp_path) == {}
    (carrier,) = read_recipients(write(tmp_path, CARRIER)).values()
    assert (carrier.kind, carrier.country, carrier.expires) == (
        RecipientKind.PROCESSOR,
        "IE",
        date(2028, 1, 1),
    )
    assert carrier.fields == {EMAIL}
    declared, said = shipped_texts()
    kept = parse_statement(f"{declared}\n{text_of({'carrier': carrier})}", said)
    assert kept.recipients == {"carrier": carrier}


def test_categories_are_all_their_columns(tmp_path: Path) -> None:
    text = CARRIER.replace(f'fields = ["{EMAIL}"]', 'categories = ["contact"]')
    (carrier,) = read_recipients(write(tmp_path, text)).values()
    assert EMAIL in carrier.fields
    assert len(carrier.fields) > 1
    assert not any("password" in field or "token" in field for field in carrier.fields)


def test_neither_comments_nor_order_make_another_version(tmp_path: Path) -> None:
    other = CARRIER.replace("# Who carries our mail.", "# Others.").replace(
        '["service_mail", "transactions"]', '["transactions", "service_mail"]'
    )
    first = text_of(read_recipients(write(tmp_path, CARRIER)))
    assert text_of(read_recipients(write(tmp_path, other))) == first


WRONG = {
    "a kind that is none": ('kind = "processor"', 'kind = "friend"', "line 5: … kind is none of"),
    "a court": ('kind = "processor"', 'kind = "authority"', "line 5: … kind cannot stand here"),
    "no such purpose": ('"transactions"]', '"weather"]', "line 6: … purposes names 'weather'"),
    "a column that is none": ("Account.email", "Account.mood", "line 7: … fields"),
    "a column beyond the purpose": (
        EMAIL, "vaults.Vault.label", "line 7: … fields vaults.Vault.label",
    ),
    "a country in words": ('"IE"', '"Ireland"', "line 8: … country is not two capital letters"),
    "no contract": ('contract = "terms of processing, article 28"\n', "", "contract is missing"),
    "no contact": ('contact = "privacy@carrier.example"', 'contact = " "', "line 13: … contact is"),
    "a day in quotes": ("2028-01-01", '"2028-01-01"', "line 11: … expires is not a day"),
    "an end before its beginning": ("2028-01-01", "2025-01-01", "line 10: … begins is not before"),
    "a host without a port": (".example:587", ".example", "line 14: … hosts names"),
    "a field that nobody asks": ("begins =", "starts =", "line 10: … starts is not asked"),
    "no table": ("[recipients.carrier]", "[recipient.carrier]", "recipient is not asked"),
    "two lines": ('"a carrier of mail"', '"a\\nb"', "line 4: … title is not one line"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_with_its_line(name: str, tmp_path: Path) -> None:
    right, wrong, said = WRONG[name]
    assert right in CARRIER
    found = complaints(tmp_path, CARRIER.replace(right, wrong, 1))
    assert any(said in line.replace("recipients.carrier:", "…") for line in found), found


def test_nobody_gets_what_proves_who_somebody_is(tmp_path: Path) -> None:
    text = CARRIER.replace('"transactions"]', '"sign_in"]').replace(EMAIL, "accounts.Account.password")
    assert "proves who somebody is" in complaints(tmp_path, text)[0]


def test_no_toml_is_said_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(RecipientsRefused, match=r"recipients\.toml: .*line 2"):
        read_recipients(write(tmp_path, "\n[recipients.carrier\n"))


def test_across_a_border_only_on_a_basis(tmp_path: Path) -> None:
    (tmp_path / "operator.toml").write_text('country = "IE"\n')
    abroad = CARRIER.replace('country = "IE"', 'country = "US"')
    assert "is across a border from IE" in complaints(tmp_path, abroad)[0]
    write(tmp_path, abroad + 'transfer_basis = "standard contractual clauses"\n')
    assert read_recipients(tmp_path)["carrier"].transfer_basis


# --- a version of the statement


@pytest.fixture
def shipped(clock: Clock) -> Iterator[None]:
    """Only the version that ships, in force; the same again afterwards for whoever shares the database."""
    forget_versions()
    post_shipped(now=clock())
    yield
    forget_versions()
    post_shipped(now=clock())


def post(folder: Path, text: str, clock: Clock) -> None:
    post_shipped(now=clock(), recipients=text_of(read_recipients(write(folder, text))))


def spend(clock: Clock, days: int) -> None:
    for _ in range(days):
        clock.turn(days=1)
        give_notices(lambda account, version: None, now=clock())
        turn_versions(now=clock())


class Carrier:
    def __init__(self) -> None:
        self.got: list[Values] = []

    def send(self, values: Values) -> None:
        self.got.append(values)


@pytest.mark.usefixtures("shipped")
def test_a_new_recipient_waits_for_thirty_days_and_gets_nothing_before(
    deployment: Deployment, member: Member, clock: Clock, tmp_path: Path
) -> None:
    before = len(entries_of_kind(Kind.VERSION_POSTED))
    post(tmp_path, CARRIER, clock)
    post(tmp_path, CARRIER, clock)
    assert len(entries_of_kind(Kind.VERSION_POSTED)) == before + 1
    coming = upcoming(clock())
    assert coming is not None
    assert (coming.number, coming.statement.version) == (2, 1)
    assert coming.changes == ("Recipient “carrier”: is new.",)
    (deployment.config.data / "operator.toml").write_text('country = "IE"\n')
    offer = Offer(member.account, "transactions", "carrier", frozenset({EMAIL}))
    spend(clock, NOTICE_DAYS)
    carrier = Carrier()
    assert disclose(offer, carrier, deployment=deployment).reason is Reason.UNKNOWN_RECIPIENT
    spend(clock, 1)
    assert disclose(offer, carrier, deployment=deployment).allow
    assert carrier.got == [{EMAIL: [member.account.email]}]
    assert "a carrier of mail" in str(
        table_named("recipients", in_force_for(member.account, clock()).statement)
    )


@pytest.mark.usefixtures("shipped")
def test_less_holds_at_once_and_is_on_record(clock: Clock, tmp_path: Path) -> None:
    forget_versions()
    post(tmp_path, CARRIER, clock)
    assert set(in_force(clock()).statement.recipients) == {"carrier"}
    post(tmp_path, CARRIER.replace('"service_mail", ', ""), clock)
    held = in_force(clock())
    assert held.number == 2
    assert held.statement.recipients["carrier"].purposes == {"transactions"}
    post(tmp_path, "", clock)
    assert in_force(clock()).number == 3
    assert not in_force(clock()).statement.recipients
    said = [entry.said for entry in entries_of_kind(Kind.VERSION_POSTED)][-3:]
    assert [(one["version"], one["changes"]) for one in said] == [(1, []), (2, []), (3, [])]


@pytest.mark.usefixtures("shipped")
def test_the_next_release_goes_on_counting(clock: Clock, tmp_path: Path) -> None:
    post(tmp_path, CARRIER, clock)
    declared, said = shipped_texts()
    declared = declared.replace("version = 1\n", "version = 2\n", 1)
    from_release = text_of(read_recipients(tmp_path))
    post_statement(declared, said, now=clock(), recipients=from_release)
    assert [(one.number, one.statement.version) for one in versions()] == [(3, 2), (2, 1), (1, 1)]


def test_a_contract_that_has_not_begun_is_none(
    deployment: Deployment, member: Member, tmp_path: Path
) -> None:
    (carrier,) = read_recipients(write(tmp_path, CARRIER)).values()
    early = replace(carrier, begins=deployment.now().date() + timedelta(days=1))
    declared, said = shipped_texts()
    statement = replace(parse_statement(declared, said), recipients={"carrier": early})
    offer = Offer(member.account, "transactions", "carrier", frozenset({EMAIL}), statement=statement)
    assert disclose(offer, Carrier(), deployment=deployment).reason is Reason.NO_CONTRACT


PARTNER = """
[recipients.partner]
title = "a partner who shows offers"
kind = "advertising_partner"
purposes = ["advertise"]
categories = ["contact"]
country = "IE"
contract = "one as strict as ours"
expires = 2028-01-01
reviewed = 2026-11-01
contact = "privacy@partner.example"
origins = ["https://partner.example"]
"""


@pytest.mark.usefixtures("shipped")
def test_pages_load_from_a_partner_in_force_for_whoever_said_yes(
    deployment: Deployment, member: Member, clock: Clock, tmp_path: Path
) -> None:
    forget_versions()
    (deployment.config.data / "operator.toml").write_text('country = "IE"\n')
    account = member.account
    account.age_band = "adult"
    account.save(update_fields=["age_band"])
    browser = Client(headers={"host": "localhost"})
    browser.force_login(account, backend=BACKEND)

    def policy_here() -> str:
        return browser.get("/privacy").headers["Content-Security-Policy"]

    with writing():
        choose(
            Subject(account),
            "advertise",
            State.GRANTED,
            notice=Notice("May we?"),
            method="test",
            now=clock(),
            recipient="partner",
        )
    post_shipped(now=clock())
    assert "partner.example" not in policy_here()
    post(tmp_path, PARTNER, clock)
    assert "partner.example" not in policy_here(), "posted, and not in force"
    spend(clock, NOTICE_DAYS + 1)
    browser.force_login(account, backend=BACKEND)  # the session of a month ago has ended
    assert "partner.example" in policy_here()
    assert (
        "partner.example"
        not in Client(headers={"host": "localhost"}).get("/privacy").headers["Content-Security-Policy"]
    )
    ask(deployment, account, Asked.RESTRICT)
    assert "partner.example" not in policy_here(), "the use is restricted"


# --- whom the server connects to

SMTP = "smtp://mail.carrier.example:587"


def check(folder: Path, url: str, clock: Clock) -> None:
    check_carrier(mail_server(url), data=folder, now=clock())


@pytest.mark.usefixtures("shipped")
def test_mail_is_given_to_nobody_who_is_not_declared(clock: Clock, tmp_path: Path) -> None:
    check(tmp_path, "smtp://127.0.0.1:2525?tls=off", clock)
    with pytest.raises(Undeclared, match=r"mail\.carrier\.example:587; name it under `hosts`"):
        check(tmp_path, SMTP, clock)
    post(tmp_path, CARRIER, clock)
    check(tmp_path, SMTP, clock)
    for other in ("smtp://mail.carrier.example:588", "smtp://mail.other.example:587"):
        with pytest.raises(Undeclared):
            check(tmp_path, other, clock)
    clock.turn(days=800)
    with pytest.raises(ContractLapsed, match="carrier"):
        check(tmp_path, SMTP, clock)
    (tmp_path / "operator.toml").write_text('servers = "mail.carrier.example"\n')
    check(tmp_path, SMTP, clock)


@pytest.mark.usefixtures("shipped")
def test_a_declared_host_is_no_carrier_unless_for_mail(clock: Clock, tmp_path: Path) -> None:
    post(tmp_path, CARRIER.replace('"service_mail", ', ""), clock)
    with pytest.raises(Undeclared):
        check(tmp_path, SMTP, clock)


@pytest.mark.usefixtures("shipped")
def test_the_allow_list_has_everybody_once(clock: Clock, tmp_path: Path) -> None:
    def listed(**config: Any) -> list[tuple[str, int, Standing]]:
        found = allow_list(ServerConfig(data=tmp_path, **config), now=clock())
        return [(item.host, item.port, item.standing) for item in found]

    assert listed() == []
    assert listed(smtp_url="smtp://localhost?tls=off", database_url="postgresql:///m?host=/run/pg") == []
    database = "postgresql://m@db.internal/m"
    assert listed(smtp_url=SMTP, database_url=database) == [
        ("mail.carrier.example", 587, Standing.UNDECLARED),
        ("db.internal", 5432, Standing.UNDECLARED),
    ]
    post(tmp_path, CARRIER, clock)
    (tmp_path / "operator.toml").write_text('servers = "db.internal"\n')
    known = ("mail.carrier.example", 587, Standing.DECLARED)
    assert listed() == [known]
    assert listed(smtp_url=SMTP, database_url=database) == [known, ("db.internal", 5432, Standing.OURS)]


# --- what staff see


@pytest.mark.parametrize(
    ("changes", "seen"),
    [({}, Contract.HOLDS), ({"expires": date(2026, 12, 1)}, Contract.ENDS_SOON),
     ({"reviewed": date(2025, 12, 1)}, Contract.REVIEW_DUE),
     ({"reviewed": date(2025, 11, 1)}, Contract.NOT_HELD),
     ({"expires": date(2026, 11, 22)}, Contract.NOT_HELD),
     ({"begins": date(2026, 12, 1)}, Contract.NOT_HELD)],
)  # fmt: skip
def test_a_contract_that_ends_is_marked_before(
    changes: dict[str, Any], seen: Contract, clock: Clock, tmp_path: Path
) -> None:
    (carrier,) = read_recipients(write(tmp_path, CARRIER)).values()
    assert contract_of(replace(carrier, **changes), now=clock()) is seen


@pytest.mark.usefixtures("shipped")
def test_what_went_to_whom_is_counted_from_the_ledger(
    deployment: Deployment, member: Member, clock: Clock, tmp_path: Path
) -> None:
    forget_versions()
    post(tmp_path, CARRIER, clock)
    (deployment.config.data / "operator.toml").write_text('country = "IE"\n')
    (before,) = read_overview(now=clock()).rows
    offer = Offer(member.account, "transactions", "carrier", frozenset({EMAIL}))
    assert disclose(offer, Carrier(), deployment=deployment).allow
    assert not disclose(replace(offer, purpose="promotion"), Carrier(), deployment=deployment).allow
    (after,) = read_overview(now=clock()).rows
    assert (after.sent - before.sent, after.refused - before.refused) == (1, 1)
    assert after.is_in_force
