"""Whether a change matters is computed: no widening passes as a correction, whatever comes along with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.server.privacy.sentences import parse_document
from muniment.server.privacy.statement import Statement, read_statement, shipped_texts
from muniment.server.privacy.terms import (
    Basis,
    Beacon,
    Cookie,
    Modality,
    Purpose,
    Recipient,
    RecipientKind,
    Region,
)
from muniment.server.privacy.versions.materiality import Part, material_changes

SHIPPED = read_statement()
RESELLER = Recipient(
    "reseller", "a reseller", RecipientKind.CHANNEL_PARTNER, frozenset({"channel_partner"}),
    frozenset({"accounts.Account.email"}), "IE", "C-1", date(2027, 1, 1), date(2026, 11, 1),
)  # fmt: skip
WITH_RESELLER = replace(SHIPPED, recipients={"reseller": RESELLER})


def change(statement: Statement, part: str, name: str, **fields: Any) -> Statement:
    table = dict(getattr(statement, part))
    table[name] = replace(table[name], **fields)
    return replace(statement, **{part: table})


def add(statement: Statement, part: str, name: str, item: Any) -> Statement:
    return replace(statement, **{part: {**getattr(statement, part), name: item}})


def reword(statement: Statement, old: str, new: str) -> Statement:
    words = shipped_texts()[1]
    assert old in words
    return replace(statement, document=parse_document(words.replace(old, new)))


Widening = Callable[[Statement], Statement]
WIDENINGS: dict[str, tuple[Part, Widening]] = {
    "a new purpose": (
        Part.PURPOSE, lambda s: add(s, "purposes", "weather", Purpose("weather", "Weather.", Basis.CONSENT)),
    ),
    "a purpose that uses more": (
        Part.PURPOSE, lambda s: change(s, "purposes", "metering", categories=frozenset({"vault", "contact"})),
    ),
    "a purpose that says something else": (
        Part.PURPOSE, lambda s: change(s, "purposes", "backup", text="To keep, and to look at, files."),
    ),
    "consent no longer asked": (
        Part.BASIS, lambda s: change(s, "purposes", "promotion", basis=Basis.LEGITIMATE_INTEREST),
    ),
    "a longer period": (Part.PERIOD, lambda s: change(s, "periods", "session", days=31)),
    "a shorter period": (Part.PERIOD, lambda s: change(s, "periods", "session", days=29)),
    "a category that holds more": (
        Part.CATEGORY, lambda s: change(s, "categories", "contact", text="E-mail and fingerprints."),
    ),
    "a new recipient": (Part.RECIPIENT, lambda s: replace(s, recipients={**s.recipients, "other": RESELLER})),
    "a recipient that gets more": (
        Part.RECIPIENT,
        lambda s: change(s, "recipients", "reseller", fields=RESELLER.fields | {"accounts.Account.name"}),
    ),
    "a recipient for more": (
        Part.RECIPIENT,
        lambda s: change(s, "recipients", "reseller", purposes=RESELLER.purposes | {"promotion"}),
    ),
    "a recipient elsewhere": (Part.REGION, lambda s: change(s, "recipients", "reseller", country="US")),
    "a cookie that nobody is asked about": (
        Part.COOKIE, lambda s: add(s, "cookies", "extra", Cookie("extra", "Extra.", "operation", True, 1)),
    ),
    "a pixel": (
        Part.BEACON,
        lambda s: add(s, "beacons", "eye", Beacon("eye", "Eye.", "us", "measure_email", date(2027, 1, 1))),
    ),
    "mail that comes unasked": (
        Part.MESSAGE, lambda s: change(s, "messages", "promotion", opt_in=False),
    ),
    "younger people": (Part.AGE, lambda s: change(s, "jurisdictions", "IE", consent_age=13)),
    "another region": (Part.REGION, lambda s: add(s, "regions", "moon", Region("moon", "Far.", "none"))),
    "a weaker promise": (Part.PROMISE, lambda s: change(s, "clauses", "P7", modality=Modality.CEILING)),
    "a promise taken back": (
        Part.PROMISE,
        lambda s: replace(s, clauses={k: v for k, v in s.clauses.items() if k != "P41"}),
    ),
    "a promise in other words": (
        Part.PROMISE, lambda s: reword(s, "We answer within ten days", "We answer within eleven days"),
    ),
}  # fmt: skip
NARROWINGS: dict[str, Widening] = {
    "a purpose less": lambda s: replace(
        s, purposes={k: v for k, v in s.purposes.items() if k != "advertise"}
    ),
    "a purpose that uses less": lambda s: change(s, "purposes", "backup", categories=frozenset({"vault"})),
    "no recipients": lambda s: replace(s, recipients={}),
    "older people": lambda s: change(s, "jurisdictions", "US", consent_age=18),
    "a shorter cookie": lambda s: change(s, "cookies", "sessionid", days=None),
    "other wiring": lambda s: change(s, "clauses", "P7", reason="Because.", enforce="a.b", figure="x"),
    "other words where something is only told": lambda s: reword(
        s, "Please read what others promise", "Do read what others promise"
    ),
}


@pytest.mark.parametrize("name", WIDENINGS)
def test_a_widening_matters(name: str) -> None:
    part, widen = WIDENINGS[name]
    changes = material_changes(WITH_RESELLER, widen(WITH_RESELLER))
    assert part in {change.part for change in changes}


@pytest.mark.parametrize("name", NARROWINGS)
def test_a_narrowing_is_a_correction(name: str) -> None:
    assert material_changes(WITH_RESELLER, NARROWINGS[name](WITH_RESELLER)) == []


@given(
    st.lists(st.sampled_from(sorted(NARROWINGS)), max_size=4),
    st.sampled_from(sorted(WIDENINGS)),
    st.lists(st.sampled_from(sorted(NARROWINGS)), max_size=4),
)
def test_nothing_hides_a_widening(before: list[str], widening: str, after: list[str]) -> None:
    """Whatever is narrowed beside it, a version that also widens matters."""
    part, widen = WIDENINGS[widening]
    kept = {"no recipients"} if "recipient" in widening else set()
    kept |= {"other words where something is only told"} if "words" in widening else set()
    new = WITH_RESELLER
    for name in [*before, *after]:
        if name not in kept:
            new = NARROWINGS[name](new)
    assert part in {change.part for change in material_changes(WITH_RESELLER, widen(new))}


@given(st.lists(st.sampled_from(sorted(WIDENINGS)), min_size=1, max_size=5, unique=True))
def test_more_widenings_matter_no_less(names: list[str]) -> None:
    new, found = WITH_RESELLER, 0
    for name in names:
        if "words" in name:
            continue
        new = WIDENINGS[name][1](new)
        changes = material_changes(WITH_RESELLER, new)
        assert len(changes) >= found
        found = len(changes)


@given(st.permutations(sorted(SHIPPED.purposes)))
def test_the_order_of_declarations_says_nothing(order: list[str]) -> None:
    shuffled = replace(SHIPPED, purposes={name: SHIPPED.purposes[name] for name in order})
    assert material_changes(SHIPPED, shuffled) == []
    assert material_changes(shuffled, SHIPPED) == []
