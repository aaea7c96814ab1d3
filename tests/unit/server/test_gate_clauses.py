"""What the gate owes the statement: who may be sent what, clause by clause. The decision itself is pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.server.privacy.consent.effect import Consents
from muniment.server.privacy.external import EXTERNAL
from muniment.server.privacy.gate.decide import Ask, Decision, Reason, SubjectFacts, decide
from muniment.server.privacy.registry import data_map, recipient_problems
from muniment.server.privacy.signals import Signals
from muniment.server.privacy.statement import Statement, read_statement
from muniment.server.privacy.terms import Basis, Recipient, RecipientKind

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
EMAIL, PHONE = "accounts.Account.email", "accounts.Profile.phone"
BOUND = Recipient(
    "they", "a company", RecipientKind.AFFILIATE, frozenset({"transactions", "affiliate_offers"}),
    frozenset({EMAIL}), "IE", "C-1", date(2027, 6, 1), date(2026, 6, 1),
)  # fmt: skip
GROWN = SubjectFacts("IE", is_adult=True)
AGREED = Consents(
    granted=frozenset({("affiliate_offers", "they")}), despite_gpc=frozenset({("affiliate_offers", "they")})
)


def naming(**changes: Any) -> Statement:
    """Our statement with one recipient named, who is bound in every way."""
    return replace(read_statement(), recipients={"they": replace(BOUND, **changes)})


def asked(statement: Statement, purpose: str = "transactions", **changes: Any) -> Decision:
    ask = Ask(purpose, "they", frozenset({EMAIL, PHONE}), GROWN, NOW)
    return decide(statement, replace(ask, **changes))


@pytest.mark.clause("P2")
def test_nobody_belongs_to_us_who_is_not_named() -> None:
    assert asked(naming()).allow
    assert not read_statement().recipients
    assert asked(read_statement()).reason is Reason.UNKNOWN_RECIPIENT


@pytest.mark.clause("P4")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"contract": ""}, Reason.NO_CONTRACT), ({"expires": None}, Reason.NO_CONTRACT),
     ({"expires": date(2026, 11, 22)}, Reason.CONTRACT_LAPSED)],
)  # fmt: skip
def test_a_recipient_has_a_contract_that_has_not_ended(changes: dict[str, Any], reason: Reason) -> None:
    assert asked(naming(expires=date(2026, 11, 23))).allow
    assert asked(naming(**changes)).reason is reason


@pytest.mark.clause("P39")
@pytest.mark.parametrize("reviewed", [None, date(2025, 11, 21), date(2026, 11, 23)])
def test_a_recipient_was_reviewed_within_a_year(reviewed: date | None) -> None:
    assert asked(naming(reviewed=date(2025, 11, 22))).allow
    assert asked(naming(reviewed=reviewed)).reason is Reason.REVIEW_STALE


KINDS = pytest.mark.parametrize("kind", [RecipientKind.AFFILIATE, RecipientKind.PROCESSOR])


@pytest.mark.clause("P30", "P38", aspect="off")
@KINDS
def test_nothing_goes_for_a_transaction_unless_somebody_is_named_for_it(kind: RecipientKind) -> None:
    assert not asked(read_statement()).allow
    other = naming(kind=kind, purposes=frozenset({"promotion"}))
    assert asked(other).reason is Reason.NOT_ITS_PURPOSE


@pytest.mark.clause("P30", "P38", aspect="allowed")
@KINDS
def test_what_a_transaction_needs_goes_to_whom_is_named(kind: RecipientKind) -> None:
    decision = asked(naming(kind=kind))
    assert (decision.allow, decision.fields, decision.basis) == (True, {EMAIL}, Basis.CONTRACT)


@pytest.mark.clause("P30", "P38", aspect="beyond")
@KINDS
def test_no_other_field_and_no_other_purpose(kind: RecipientKind) -> None:
    assert PHONE not in asked(naming(kind=kind)).fields
    assert not asked(naming(kind=kind), fields=frozenset({PHONE})).allow
    assert not asked(naming(kind=kind), "promotion").allow


@pytest.mark.clause("P31", aspect="off")
def test_an_affiliate_offers_nothing_to_who_did_not_agree() -> None:
    assert asked(naming(), "affiliate_offers").reason is Reason.NO_CONSENT


@pytest.mark.clause("P31", aspect="allowed")
def test_an_affiliate_may_write_to_who_agreed_to_it() -> None:
    decision = asked(naming(), "affiliate_offers", subject=replace(GROWN, consents=AGREED))
    assert (decision.allow, decision.fields, decision.basis) == (True, {EMAIL}, Basis.CONSENT)


@pytest.mark.clause("P31", aspect="beyond")
def test_agreeing_to_one_is_agreeing_to_no_other() -> None:
    elsewhere = Consents(granted=frozenset({("affiliate_offers", "others"), ("promotion", "they")}))
    said = replace(GROWN, consents=elsewhere)
    assert asked(naming(), "affiliate_offers", subject=said).reason is Reason.NO_CONSENT
    young = replace(GROWN, consents=AGREED, is_adult=False)
    objecting = replace(GROWN, consents=AGREED, objected=frozenset({"affiliate_offers"}))
    assert asked(naming(), "affiliate_offers", subject=objecting).reason is Reason.OBJECTED
    assert not asked(naming(), "affiliate_offers", subject=replace(young, is_restricted=True)).allow


CONSENTED = sorted(purpose.name for purpose in read_statement().consent_purposes)


@pytest.mark.clause("P41")
@given(
    st.sampled_from(CONSENTED),
    st.sampled_from(RecipientKind),
    st.booleans(),
    st.sets(st.sampled_from([(purpose, "others") for purpose in CONSENTED])),
    st.timedeltas(timedelta(0), timedelta(days=100)),
)
def test_no_way_leads_out_without_a_yes_to_that_very_recipient(
    purpose: str, kind: RecipientKind, gpc: bool, elsewhere: set[tuple[str, str]], later: timedelta
) -> None:
    """Whatever they are, whenever it is, whatever else was agreed to."""
    statement = naming(kind=kind, purposes=frozenset(CONSENTED))
    said = replace(GROWN, consents=Consents(frozenset(elsewhere), frozenset(elsewhere)))
    decision = asked(statement, purpose, subject=said, signals=Signals(gpc=gpc), now=NOW + later)
    assert not decision.allow
    assert decision.fields == frozenset()


@pytest.mark.clause("P68")
@pytest.mark.parametrize("kind", list(RecipientKind))
def test_nobody_is_named_for_personal_data_for_research(kind: RecipientKind) -> None:
    """Counting uses no category of personal data, so no field can be named for it."""
    columns = data_map(EXTERNAL)
    assert recipient_problems(naming(), columns) == []
    research = naming(kind=kind, purposes=frozenset({"statistics"}))
    assert recipient_problems(research, columns) == [
        f"the recipient 'they' gets {EMAIL}, which no purpose of its may use"
    ]
    assert recipient_problems(naming(fields=frozenset({"accounts.Account.nothing"})), columns)
