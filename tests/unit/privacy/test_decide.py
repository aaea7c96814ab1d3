"""The gate's decision: refused unless everything speaks for it, and never wider for knowing more."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.server.privacy.consent.effect import Consents
from muniment.server.privacy.gate.areas import EEA, crosses_border
from muniment.server.privacy.gate.decide import Ask, Decision, Mandate, Reason, SubjectFacts, decide
from muniment.server.privacy.signals import Signals
from muniment.server.privacy.statement import Statement, read_statement
from muniment.server.privacy.terms import Basis, Purpose, Recipient, RecipientKind

NOW = datetime(2026, 6, 1, tzinfo=UTC)
EMAIL, NAME, PHONE = "accounts.Account.email", "accounts.Profile.name", "accounts.Profile.phone"
FIELDS = frozenset({EMAIL, NAME, PHONE})

PURPOSES = {
    "deliver": Purpose("deliver", "", Basis.CONTRACT),
    "offers": Purpose("offers", "", Basis.CONSENT, gpc=True),
    "share": Purpose("share", "", Basis.LEGITIMATE_INTEREST, balance="…", gpc=True),
}


def recipient(
    name: str = "carrier", kind: RecipientKind = RecipientKind.PROCESSOR, **changed: object
) -> Recipient:
    made = Recipient(
        name,
        name,
        kind,
        frozenset(PURPOSES),
        frozenset({EMAIL, NAME}),
        "IE",
        "C-1",
        date(2027, 1, 1),
        date(2026, 1, 1),
    )
    return replace(made, **changed)  # type: ignore[arg-type]


def statement(*recipients: Recipient) -> Statement:
    named = {item.name: item for item in recipients or (recipient(),)}
    return replace(read_statement(), purposes=PURPOSES, recipients=named)


ADULT = SubjectFacts(country="IE", is_adult=True)
ASK = Ask("deliver", "carrier", frozenset({EMAIL}), ADULT, NOW)
GRANTED = replace(ADULT, consents=Consents(frozenset({("offers", "carrier")})))
ORDER = Mandate("court", frozenset({EMAIL}), NOW - timedelta(days=1), NOW + timedelta(days=1))


def test_the_release_names_nobody_so_nothing_leaves() -> None:
    assert read_statement().recipients == {}
    assert decide(read_statement(), ASK).reason is Reason.UNKNOWN_PURPOSE
    asked = replace(ASK, purpose="backup")
    assert decide(read_statement(), asked).reason is Reason.UNKNOWN_RECIPIENT


def test_what_is_declared_and_nothing_else_goes() -> None:
    found = decide(statement(), replace(ASK, fields=FIELDS))
    assert found == Decision(True, frozenset({EMAIL, NAME}), Basis.CONTRACT, "P38", Reason.ALLOWED)
    assert decide(statement(), replace(ASK, fields=frozenset({PHONE}))).reason is Reason.NOTHING_ALLOWED


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"purposes": frozenset({"offers"})}, Reason.NOT_ITS_PURPOSE),
        ({"contract": ""}, Reason.NO_CONTRACT),
        ({"expires": None}, Reason.NO_CONTRACT),
        ({"expires": NOW.date()}, Reason.CONTRACT_LAPSED),
        ({"reviewed": None}, Reason.REVIEW_STALE),
        ({"reviewed": NOW.date() - timedelta(days=366)}, Reason.REVIEW_STALE),
        ({"reviewed": NOW.date() + timedelta(days=1)}, Reason.REVIEW_STALE),
        ({"country": "US"}, Reason.NO_TRANSFER_BASIS),
        ({"country": ""}, Reason.NO_TRANSFER_BASIS),
    ],
)
def test_recipients_must_have_earned_it(changed: dict[str, object], reason: Reason) -> None:
    assert decide(statement(recipient(**changed)), ASK).reason is reason


def test_a_border_is_crossed_only_on_a_named_basis() -> None:
    abroad = recipient(country="US", transfer_basis="standard contractual clauses")
    assert decide(statement(abroad), ASK).allow


@pytest.mark.parametrize(
    ("facts", "signals", "reason"),
    [
        (ADULT, Signals(), Reason.NO_CONSENT),
        (replace(ADULT, consents=Consents(frozenset({("offers", "")}))), Signals(), Reason.NO_CONSENT),
        (replace(ADULT, consents=Consents(frozenset({("offers", "other")}))), Signals(), Reason.NO_CONSENT),
        (GRANTED, Signals(), Reason.ALLOWED),
        (GRANTED, Signals(gpc=True), Reason.SIGNALLED),
        (replace(GRANTED, is_adult=False), Signals(), Reason.MINOR),
        (replace(GRANTED, is_restricted=True), Signals(), Reason.RESTRICTED),
        (replace(GRANTED, objected=frozenset({"offers"})), Signals(), Reason.OBJECTED),
    ],
)
def test_offers_take_a_yes_for_this_very_recipient(
    facts: SubjectFacts, signals: Signals, reason: Reason
) -> None:
    found = decide(statement(), replace(ASK, purpose="offers", subject=facts, signals=signals))
    assert found.reason is reason
    assert found.allow is (reason is Reason.ALLOWED)


def test_the_signal_also_stops_what_rests_on_our_interest() -> None:
    assert decide(statement(), replace(ASK, purpose="share")).allow
    assert (
        decide(statement(), replace(ASK, purpose="share", signals=Signals(gpc=True))).reason
        is Reason.SIGNALLED
    )


def test_authorities_get_what_an_approved_order_covers() -> None:
    court = recipient("court", RecipientKind.AUTHORITY, contract="", expires=None, reviewed=None)
    asked = replace(ASK, recipient="court", fields=FIELDS)
    assert decide(statement(court), asked).reason is Reason.NO_MANDATE
    assert decide(statement(court), replace(asked, mandate=ORDER)).fields == {EMAIL}
    for change in ({"recipient": "carrier"}, {"ends": NOW}, {"begins": NOW + timedelta(seconds=1)}):
        assert (
            decide(statement(court), replace(asked, mandate=replace(ORDER, **change))).reason
            is Reason.NO_MANDATE
        )


def test_areas() -> None:
    assert len(EEA) == 30
    assert not crosses_border("IE", "DE")
    assert not crosses_border("US", "US")
    assert crosses_border("IE", "US")
    assert crosses_border("IE", "GB")


# --- properties: knowing more never allows more


days = st.integers(-800, 800).map(lambda count: (NOW + timedelta(days=count)).date())
recipients = st.builds(
    Recipient,
    name=st.just("carrier"),
    title=st.just(""),
    kind=st.sampled_from(RecipientKind),
    purposes=st.frozensets(st.sampled_from(sorted(PURPOSES))),
    fields=st.frozensets(st.sampled_from(sorted(FIELDS))),
    country=st.sampled_from(["IE", "DE", "US", ""]),
    contract=st.sampled_from(["", "C-1"]),
    expires=st.none() | days,
    reviewed=st.none() | days,
    transfer_basis=st.sampled_from(["", "clauses"]),
)
targets = st.tuples(st.sampled_from(sorted(PURPOSES)), st.sampled_from(["", "carrier", "other"]))
consent = st.frozensets(targets).flatmap(
    lambda all_of: st.builds(
        Consents, st.just(all_of), st.frozensets(targets).map(lambda some: some & all_of)
    )
)
facts = st.builds(
    SubjectFacts,
    country=st.sampled_from(["IE", "US"]),
    is_adult=st.booleans(),
    is_restricted=st.booleans(),
    objected=st.frozensets(st.sampled_from(sorted(PURPOSES))),
    consents=consent,
)
mandates = st.none() | st.builds(
    Mandate,
    recipient=st.sampled_from(["carrier", "other"]),
    fields=st.frozensets(st.sampled_from(sorted(FIELDS))),
    begins=st.just(NOW - timedelta(days=1)),
    ends=st.sampled_from([NOW, NOW + timedelta(days=1)]),
)
asks = st.builds(
    Ask,
    purpose=st.sampled_from([*sorted(PURPOSES), "unknown"]),
    recipient=st.sampled_from(["carrier", "unknown"]),
    fields=st.frozensets(st.sampled_from(sorted(FIELDS))),
    subject=facts,
    now=st.just(NOW),
    signals=st.builds(Signals, gpc=st.booleans()),
    mandate=mandates,
)


@given(recipients, asks)
def test_never_more_fields_than_declared_and_asked_for(to: Recipient, ask: Ask) -> None:
    found = decide(statement(to), ask)
    assert found.fields <= ask.fields & to.fields
    assert found.allow is bool(found.fields)
    assert (found.reason is Reason.ALLOWED) is found.allow


@given(recipients, asks, st.data())
def test_a_signal_a_withdrawal_an_objection_or_a_younger_person_never_allows_more(
    to: Recipient, ask: Ask, data: st.DataObject
) -> None:
    subject = ask.subject
    said = subject.consents
    left = (
        frozenset(data.draw(st.sets(st.sampled_from(sorted(said.granted))))) if said.granted else frozenset()
    )
    stricter = data.draw(
        st.sampled_from(
            [
                replace(ask, signals=Signals(gpc=True)),
                replace(ask, subject=replace(subject, consents=Consents(left, said.despite_gpc & left))),
                replace(ask, subject=replace(subject, is_adult=False)),
                replace(ask, subject=replace(subject, is_restricted=True)),
                replace(ask, subject=replace(subject, objected=subject.objected | {ask.purpose})),
            ]
        )
    )
    assert decide(statement(to), stricter).fields <= decide(statement(to), ask).fields


@given(recipients, asks)
def test_nobody_gets_anything_for_their_own_ends_without_a_yes(to: Recipient, ask: Ask) -> None:
    found = decide(statement(to), ask)
    if found.allow and PURPOSES[ask.purpose].basis is Basis.CONSENT:
        assert ask.subject.consents.allows(ask.purpose, recipient=to.name, gpc=ask.signals.gpc)
