"""The age screen: whom we take data from, and what is left of whom we do not."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from django.core import signing
from hypothesis import given
from hypothesis import strategies as st

from muniment.server.accounts.age_screen import (
    Birth,
    PassInvalid,
    Verdict,
    judge,
    jurisdiction_of,
    open_pass,
    seal_pass,
)
from muniment.server.accounts.countries import EUROPEAN_UNION, country_names
from muniment.server.accounts.models import Account, AgeBand, Attempts, Profile, ScreenTally, WebSession
from muniment.server.deployment import Deployment
from muniment.server.privacy.ledger.models import LeafRow
from muniment.server.privacy.statement import read_statement
from tests.support.pages import Person, text

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LAWS = read_statement().jurisdictions


@pytest.mark.clause("P48")
@pytest.mark.parametrize(
    ("country", "birth", "verdict"),
    [
        ("US", Birth(2013, 10), Verdict.WITH_GUARDIAN),
        ("US", Birth(2013, 11), Verdict.REFUSED),  # turns 13 in this month, perhaps tomorrow
        ("US", Birth(2014, 1), Verdict.REFUSED),
        ("IE", Birth(2010, 10), Verdict.WITH_GUARDIAN),
        ("IE", Birth(2010, 12), Verdict.REFUSED),
        ("RO", Birth(2010, 12), Verdict.REFUSED),  # a member without a law of its own in the table
        ("AT", Birth(2012, 10), Verdict.WITH_GUARDIAN),
        ("IN", Birth(2008, 11), Verdict.REFUSED),  # under 18 is a child there
        ("BR", Birth(2010, 12), Verdict.REFUSED),
        ("IE", Birth(2008, 10), Verdict.ALONE),
        ("IE", Birth(2008, 11), Verdict.WITH_GUARDIAN),
    ],
)
def test_who_may_sign_up_depends_on_age_and_country(country: str, birth: Birth, verdict: Verdict) -> None:
    assert judge(birth, law=jurisdiction_of(country, LAWS), now=NOW) is verdict


@given(st.sampled_from(sorted(country_names())), st.integers(1900, 2026), st.integers(1, 12))
def test_nobody_under_thirteen_passes_anywhere(country: str, year: int, month: int) -> None:
    verdict = judge(Birth(year, month), law=jurisdiction_of(country, LAWS), now=NOW)
    if (NOW.year, NOW.month) <= (year + 13, month):
        assert verdict is Verdict.REFUSED
    if (NOW.year, NOW.month) > (year + 18, month):
        assert verdict is Verdict.ALONE


def test_every_member_of_the_union_has_a_law_of_it_or_its_own() -> None:
    for country in EUROPEAN_UNION:
        law = jurisdiction_of(country, LAWS)
        assert 13 <= law.consent_age <= 16
        assert law.source
    assert country_names().keys() >= EUROPEAN_UNION


def rows() -> list[int]:
    tables = (Account, Profile, WebSession, Attempts, LeafRow)
    return [model._default_manager.count() for model in tables]


@pytest.mark.clause("P48")
def test_a_child_leaves_nothing_but_a_number(deployment: Deployment) -> None:
    before, counted = rows(), sum(ScreenTally.objects.values_list("refused", flat=True))
    child = Person(deployment)
    refused = child.screen(year=2016)
    assert refused.status_code == 403
    assert "We cannot make an account for you" in text(refused)
    assert rows() == before
    assert sum(ScreenTally.objects.values_list("refused", flat=True)) == counted + 1
    assert {name: cookie.value for name, cookie in child.browser.cookies.items()} == {"age_screen": "no"}
    assert child.browser.cookies["age_screen"]["max-age"] == ""  # gone with the browser


@pytest.mark.clause("P48")
def test_the_same_browser_cannot_just_try_an_older_age(deployment: Deployment) -> None:
    child = Person(deployment)
    passed = Person(deployment).screen(year=1980)
    assert child.screen(year=2016).status_code == 403
    assert child.screen(year=1980).status_code == 403
    assert child.get("/accounts/signup/home").status_code == 403
    lent = text(passed).split('name="pass" value="')[1].split('"')[0]
    again = child.post("/accounts/signup/home/register", **{"pass": lent})
    assert again.status_code == 403


def test_what_is_missing_is_said_beside_each_field_and_above_them_all(deployment: Deployment) -> None:
    page = text(Person(deployment).post("/accounts/signup/home", country="", year="", month=""))
    assert page.count('class="field-error"') == 3
    assert page.index('role="alert"') < page.index('class="field-error"')


def test_the_screen_comes_first_and_has_no_default(deployment: Deployment) -> None:
    person = Person(deployment)
    page = text(person.get("/accounts/signup/home"))
    assert re.findall(r'<option value="([^"]*)" selected', page) == ["", ""]
    assert re.search(r'name="year"[^>]*value=', page) is None
    assert 'name="email"' not in page
    assert 'name="year"' in page
    assert person.post("/accounts/signup/home", country="IE", year="", month="").status_code == 422
    assert person.post("/accounts/signup/home/register", email=person.email).status_code == 302


def test_a_pass_is_of_our_making_and_lasts_an_hour() -> None:
    sealed = seal_pass("IE", Verdict.WITH_GUARDIAN)
    assert open_pass(sealed).band is AgeBand.MINOR
    for wrong in ("", sealed[:-1], sealed + "A", signing.dumps(["IE", "adult"], salt="other")):
        with pytest.raises(PassInvalid):
            open_pass(wrong)
