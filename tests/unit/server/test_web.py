"""The frame's own rules: the content security policy, host names, tags."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from django.template import Context, Template
from hypothesis import given
from hypothesis import strategies as st

from muniment.server.config import ServerConfig
from muniment.server.privacy.consent.effect import Consents
from muniment.server.privacy.gate.decide import SubjectFacts
from muniment.server.privacy.signals import Signals
from muniment.server.privacy.statement import read_statement
from muniment.server.privacy.terms import Basis, Purpose, Recipient, RecipientKind
from muniment.server.web.appearance import Appearance
from muniment.server.web.csp import OURS_ALONE, WIDENED, NotWidened, policy
from muniment.server.web.hosts import host_name, is_served, served_names, url_under
from muniment.server.web.recipients import sources_of
from muniment.server.web.templatetags.web import NotAState, NotOutside, external_link, seal, state


def draw(text: str, **context: object) -> str:
    return Template("{% load web %}" + text).render(Context(context))


def test_the_policy_names_nobody_else_until_somebody_is_allowed() -> None:
    assert "http" not in OURS_ALONE
    assert "unsafe" not in OURS_ALONE
    assert policy({}) == OURS_ALONE


PIXELS = Recipient(
    "pixels", "a partner", RecipientKind.ADVERTISING_PARTNER, frozenset({"offers"}),
    frozenset({"browser.ip"}), "IE", "C-1", date(2027, 1, 1), date(2026, 1, 1), origins=frozenset({"https://pixels.example"}),
)  # fmt: skip
WITH_PIXELS = replace(
    read_statement(),
    purposes={"offers": Purpose("offers", "", Basis.CONSENT, gpc=True)},
    recipients={"pixels": PIXELS},
)
YES = SubjectFacts("IE", is_adult=True, consents=Consents(frozenset({("offers", "pixels")})))
JUNE = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.mark.clause("P57", aspect="off")
def test_a_release_lets_pages_load_from_nobody_whatever_somebody_allows() -> None:
    assert sources_of(read_statement(), YES, signals=Signals(), now=JUNE) == {}
    assert policy(sources_of(read_statement(), YES, signals=Signals(), now=JUNE)) == OURS_ALONE


@pytest.mark.clause("P57", aspect="allowed")
def test_a_partner_may_be_loaded_from_after_a_yes() -> None:
    found = sources_of(WITH_PIXELS, YES, signals=Signals(), now=JUNE)
    assert found == {directive: ["https://pixels.example"] for directive in WIDENED}
    assert "https://pixels.example" in policy(found)


@pytest.mark.clause("P57", aspect="beyond")
@pytest.mark.parametrize(
    ("changed", "gpc", "partner", "year"),
    [({"consents": Consents()}, False, {}, 2026), ({}, True, {}, 2026),
     ({"is_adult": False}, False, {}, 2026), ({"objected": frozenset({"offers"})}, False, {}, 2026),
     ({"is_restricted": True}, False, {}, 2026), ({}, False, {"contract": ""}, 2026),
     ({}, False, {"reviewed": date(2025, 1, 1)}, 2026),
     ({}, False, {"country": "US"}, 2026), ({}, False, {"purposes": frozenset()}, 2026),
     ({}, False, {}, 2028)],
)  # fmt: skip
def test_nothing_is_loaded_from_a_partner_who_may_not_know(
    changed: dict[str, Any], gpc: bool, partner: dict[str, Any], year: int
) -> None:
    statement = replace(WITH_PIXELS, recipients={"pixels": replace(PIXELS, **partner)})
    subject, now = replace(YES, **changed), JUNE.replace(year=year)
    assert sources_of(statement, subject, signals=Signals(gpc=gpc), now=now) == {}


def test_a_partner_of_another_basis_is_never_loaded_from() -> None:
    contract = {"offers": Purpose("offers", "", Basis.CONTRACT)}
    assert sources_of(replace(WITH_PIXELS, purposes=contract), YES, signals=Signals(), now=JUNE) == {}


def test_an_allowed_origin_is_added_where_it_is_allowed() -> None:
    widened = policy({"img-src": ["https://stats.example.org"]})
    changed = set(widened.split("; ")) - set(OURS_ALONE.split("; "))
    assert changed == {"img-src 'self' data: https://stats.example.org"}


@pytest.mark.parametrize(
    "origin",
    ["http://a.example", "https://", "*", "https://*.example", "https://a.example/x", "'unsafe-inline'",
     "https://a.example; script-src *", "data:", "https://a.example b"],
)  # fmt: skip
def test_no_source_is_wider_than_one_origin(origin: str) -> None:
    for directive in WIDENED:
        with pytest.raises(NotWidened):
            policy({directive: [origin]})


@pytest.mark.parametrize("directive", ["default-src", "frame-ancestors", "form-action", "style-src", "x"])
def test_nobody_else_is_let_into_the_rest(directive: str) -> None:
    with pytest.raises(NotWidened) as refused:
        policy({directive: ["https://a.example"]})
    assert refused.value.directive == directive


@pytest.mark.parametrize(
    ("header", "name"),
    [("Backup.Example.org", "backup.example.org"), ("a.example:8120", "a.example"),
     ("a.example.", "a.example"), ("[::1]:8120", "[::1]"), ("[::1", ""), ("a.example:x", ""), ("", ""),
     (" localhost ", "localhost")],
)  # fmt: skip
def test_names_are_read_from_headers(header: str, name: str) -> None:
    assert host_name(header) == name


@given(st.text(max_size=40))
def test_whatever_the_header_only_names_of_ours_are_served(header: str) -> None:
    names = served_names(listening="0.0.0.0", named=["backup.example.org"])
    assert is_served(header, names) == (host_name(header) in names)
    assert not is_served(header + ".example.com", names)


def test_every_address_of_a_machine_is_not_a_name() -> None:
    assert "0.0.0.0" not in served_names(listening="0.0.0.0", named=())
    assert "10.0.0.7" in served_names(listening="10.0.0.7", named=())
    assert "[fd00::1]" in served_names(listening="fd00::1", named=())


LOCAL = ServerConfig(data=Path("data"))
NAMED = replace(LOCAL, hosts=("https://backup.example.org", "https://vault.example.org:8443"))
HERE, THERE = "http://127.0.0.1:8120", "https://backup.example.org"


@pytest.mark.parametrize(
    ("config", "usual", "name", "url"),
    [
        (LOCAL, HERE, "localhost", "http://localhost:8120"),
        (LOCAL, HERE, "[::1]", "http://[::1]:8120"),
        (LOCAL, HERE, "", HERE),
        (LOCAL, HERE, "evil.example", HERE),
        (NAMED, THERE, "vault.example.org", "https://vault.example.org:8443"),
        (NAMED, THERE, "localhost", THERE),  # who reads the mail sits elsewhere
        (replace(LOCAL, host="10.0.0.7"), "http://10.0.0.7:8120", "localhost", "http://10.0.0.7:8120"),
    ],
)
def test_mails_have_the_name_that_was_asked_for_where_it_leads_to_us(
    config: ServerConfig, usual: str, name: str, url: str
) -> None:
    assert url_under(name, config=config, usual=usual) == url


def test_links_that_leave_are_marked() -> None:
    drawn = draw('{% external_link "https://a.example/x?y=1&z=2" words %}', words="<their> page")
    assert 'rel="external noreferrer noopener"' in drawn
    assert "data-external" in drawn
    assert "&lt;their&gt; page" in drawn
    assert "(leaves this site: a.example)" in drawn
    for wrong in ("http://a.example", "/privacy", "javascript:alert(1)", "https://", "//a.example"):
        with pytest.raises(NotOutside):
            external_link(wrong, "there")


def test_a_seal_says_by_its_shape_what_its_colour_says() -> None:
    shapes = {one: re.sub(r"seal-(proven|good|attention|bad|quiet)", "", seal(one)) for one in
              ("proven", "good", "attention", "bad", "quiet")}  # fmt: skip
    assert shapes["proven"] == shapes["good"]
    assert shapes["attention"] == shapes["bad"]
    assert len(set(shapes.values())) == 3
    assert 'aria-hidden="true"' in seal("good")
    assert 'role="img" aria-label="Proven &lt;today&gt;"' in seal("good", label="Proven <today>")
    for draw_it in (lambda: seal("fine"), lambda: state("proven", "x"), lambda: state("fine", "x")):
        with pytest.raises(NotAState):
            draw_it()


def test_words_of_people_stay_words() -> None:
    hostile = '"><script>alert(1)</script>'
    for tag in (
        '{% verdict "good" words words action=words href="/x" %}',
        "{% empty words words %}",
        '{% state "bad" words %}',
        '{% notice "bad" title=words %}{{ words }}{% endnotice %}',
        '{% seal "bad" label=words %}',
    ):
        assert "<script>" not in draw(tag, words=hostile), tag


def test_an_appearance_that_does_not_exist_is_the_machines() -> None:
    assert Appearance.of("dark") is Appearance.DARK
    assert Appearance.of("purple") is Appearance.AUTOMATIC
