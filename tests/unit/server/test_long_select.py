"""A long list of choices is drawn as Django draws a short one."""

from __future__ import annotations

import re

import pytest
from django import forms

from muniment.server.accounts.forms import AgeScreenForm, CountryForm
from muniment.server.deployment import Deployment
from muniment.server.web.forms import LongSelect

CHOICES = [("", "Choose"), ("IE", "Ireland"), ("CI", "Côte d'Ivoire"), ("X", '<b>"a" & b</b>'), (7, "seven")]


def drawn(widget: type[forms.Select], value: object, *, required: bool) -> str:
    field = forms.ChoiceField(choices=CHOICES, widget=widget, required=required, help_text="where")
    form = type("Planted", (forms.Form,), {"country": field})
    html = str(form(initial={"country": value})["country"])
    return re.sub(r"\s+", " ", html)


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("value", ["", "IE", "X", 7, "nowhere", None])
def test_it_looks_as_django_draws_it(deployment: Deployment, value: object, required: bool) -> None:
    def marks(html: str) -> list[str]:
        tags = re.findall(r"<[^>]*>|[^<]+", html)
        return [" ".join(sorted(tag.strip("<>").split())) for tag in tags if tag.strip()]

    assert marks(drawn(LongSelect, value, required=required)) == marks(
        drawn(forms.Select, value, required=required)
    )


def test_a_country_is_chosen_as_before(deployment: Deployment) -> None:
    html = str(CountryForm(initial={"country": "CI"}))
    assert re.findall(r'<option value="(\w+)" selected>', html) == ["CI"]
    assert "<select" in str(AgeScreenForm(this_year=2026))
