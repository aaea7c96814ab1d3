"""The frame's own rules: the content security policy, host names, tags."""

from __future__ import annotations

import re

import pytest
from django.template import Context, Template
from hypothesis import given
from hypothesis import strategies as st

from muniment.server.web.appearance import Appearance
from muniment.server.web.csp import OURS_ALONE, WIDENED, NotWidened, policy
from muniment.server.web.hosts import host_name, is_served, served_names
from muniment.server.web.templatetags.web import NotAState, NotOutside, external_link, seal, state


def draw(text: str, **context: object) -> str:
    return Template("{% load web %}" + text).render(Context(context))


def test_the_policy_names_nobody_else_until_somebody_is_allowed() -> None:
    assert "http" not in OURS_ALONE
    assert "unsafe" not in OURS_ALONE
    assert policy({}) == OURS_ALONE


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
