"""`/console/breaches`: data that got out, the clock of 72 hours, and who has been told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from muniment.server.console.access import staff_only
from muniment.server.portal.access import owner_of
from muniment.server.privacy.breaches import register
from muniment.server.privacy.breaches.models import Breach, Risk
from muniment.server.privacy.breaches.notice import notice_of
from muniment.server.privacy.operator import read_operator
from muniment.server.privacy.statement import read_statement
from muniment.server.web.context import deployment, now

_NAMELESS = "Name nobody: the register outlives accounts."
_READ = "They and the authority read this."


def _text(label: str, *, help_text: str = "") -> forms.CharField:
    return forms.CharField(label=label, help_text=help_text, widget=forms.Textarea(attrs={"rows": 3}))


def _moment(label: str) -> forms.DateTimeField:
    shown = forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")
    return forms.DateTimeField(label=label, widget=shown)


class PeopleForm(forms.Form):
    """Whose data it is, and which kinds; what is entered once can only become more."""

    people = forms.CharField(
        label="Whose data it is", required=False, widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Addresses of accounts, one a line. More can be named later.",
    )  # fmt: skip
    everybody = forms.BooleanField(label="Everybody who has an account now", required=False)
    categories = forms.MultipleChoiceField(label="Which data", widget=forms.CheckboxSelectMultiple)

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        kinds = read_statement().categories.values()
        self.fields["categories"].choices = [(kind.name, kind.text) for kind in kinds]  # type: ignore[attr-defined]

    def clean_people(self) -> frozenset[str]:
        return frozenset(self.cleaned_data["people"].split())


class BreachForm(PeopleForm):
    happened = _text("What happened", help_text=_NAMELESS)
    noticed = _moment("When one of us noticed it, in UTC")
    field_order = ("happened", "noticed", "categories", "people", "everybody")


class WidenForm(PeopleForm):
    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.fields["categories"].required = False
        self.fields["everybody"].label = "Everybody who had an account when this was entered"


class JudgeForm(forms.Form):
    risk = forms.ChoiceField(
        label="How likely harm is", choices=[(one.value, one.label) for one in Risk if one]
    )
    consequences = _text("What it may mean for people", help_text=_READ)
    measures = _text("What is done about it, and what people can do", help_text=_READ)


class ReportForm(forms.Form):
    authority = forms.CharField(
        label="Which authority, and under which number", max_length=300,
        help_text="Once the notice was handed in there.",
    )  # fmt: skip
    at = _moment("When, in UTC")
    why_late = forms.CharField(label="If after 72 hours: why", required=False)


class CloseForm(forms.Form):
    outcome = _text("What came of it", help_text=_NAMELESS)


@require_http_methods(["GET", "HEAD", "POST"])
@staff_only
def breaches(request: HttpRequest) -> HttpResponse:
    form = BreachForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        said = form.cleaned_data
        found = register.Found(
            happened=said["happened"], noticed_at=said["noticed"].astimezone(UTC), people=said["people"],
            everybody=said["everybody"], categories=frozenset(said["categories"]),
        )  # fmt: skip
        try:
            register.enter(found, by=owner_of(request), now=now())
        except ValueError as error:
            form.add_error(None, str(error).capitalize() + ".")
        else:
            messages.success(request, "Entered. The clock runs from when it was noticed.", extra_tags="good")
            return redirect("console_breaches")
    return _page(request, form)


@require_POST
@staff_only
def widen(request: HttpRequest, ref: UUID) -> HttpResponse:
    return _acted(
        request, WidenForm(request.POST), lambda said: register.widen(ref, now=now(), **said), "Entered."
    )


@require_POST
@staff_only
def judge(request: HttpRequest, ref: UUID) -> HttpResponse:
    def act(said: dict[str, Any]) -> None:
        risk = Risk(said["risk"])
        texts = {name: said[name] for name in ("consequences", "measures")}
        register.judge(ref, risk, **texts, by=owner_of(request), now=now())

    return _acted(request, JudgeForm(request.POST), act, "Entered. Who has to be told follows from it.")


@require_POST
@staff_only
def reported(request: HttpRequest, ref: UUID) -> HttpResponse:
    form = ReportForm(request.POST)
    return _acted(
        request, form, lambda said: register.report(ref, by=owner_of(request), now=now(), **said), "Entered."
    )


@require_POST
@staff_only
def close(request: HttpRequest, ref: UUID) -> HttpResponse:
    form = CloseForm(request.POST)
    return _acted(
        request, form, lambda said: register.close(ref, by=owner_of(request), now=now(), **said), "Closed."
    )


@require_safe
@staff_only
def notice(request: HttpRequest, ref: UUID) -> HttpResponse:  # noqa: ARG001
    """What the authority is to be told, as a download."""
    try:
        text = notice_of(ref, read_operator(deployment().config.data))
    except register.NoSuchBreach:
        raise Http404 from None
    answer = HttpResponse(text, content_type="text/plain; charset=utf-8")
    answer.headers["Content-Disposition"] = f'attachment; filename="breach-{ref.hex[:8]}.txt"'
    return answer


def _page(request: HttpRequest, form: BreachForm) -> HttpResponse:
    seen = register.read_register(now=now())
    context = {"register": [(one, _steps(one.breach)) for one in seen], "form": form}
    return render(request, "console/breaches.html", context, status=422 if form.errors else 200)


def _steps(breach: Breach) -> dict[str, forms.Form]:
    """What may be entered of a breach that is open; each form has ids of its own."""
    if breach.closed_at is not None:
        return {}
    ids = f"{breach.ref.hex[:8]}_%s"
    judged = {name: getattr(breach, name) for name in ("risk", "consequences", "measures")}
    steps: dict[str, forms.Form] = {
        "judge": JudgeForm(auto_id=f"judge_{ids}", initial=judged),
        "widen": WidenForm(auto_id=f"widen_{ids}", initial={"categories": breach.categories}),
        "close": CloseForm(auto_id=f"close_{ids}"),
    }
    return steps if breach.reported_at else {**steps, "report": ReportForm(auto_id=f"report_{ids}")}


def _acted(
    request: HttpRequest, form: forms.Form, act: Callable[[dict[str, Any]], None], words: str
) -> HttpResponse:
    """The register says what is wrong; a form that lacks something says which."""
    try:
        if not form.is_valid():
            raise ValueError(f"fill in: {', '.join(str(form[name].label).lower() for name in form.errors)}")
        act(form.cleaned_data)
    except register.NoSuchBreach:
        raise Http404 from None
    except (register.NotYet, ValueError) as error:
        messages.error(request, str(error).capitalize() + ".", extra_tags="bad")
    else:
        messages.success(request, words, extra_tags="good")
    return redirect("console_breaches")
