"""`/privacy/request`: what people without an account, or locked out of it, ask about their data."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from muniment.server.accounts import attempts
from muniment.server.accounts.attempts import TooOften, Tried
from muniment.server.accounts.correcting import check_detail
from muniment.server.accounts.forms import EmailForm, StrictForm
from muniment.server.accounts.models import Profile
from muniment.server.accounts.profile import DETAILS
from muniment.server.accounts.visiting import bound_posts, visit_of
from muniment.server.privacy.requests.incoming import (
    ASKED_FROM_OUTSIDE,
    MOST_WORDS,
    NEEDS_WORDS,
    LinkDead,
    confirm_link,
    details_of,
    open_link,
    take_in,
)
from muniment.server.privacy.requests.machine import WORDS
from muniment.server.privacy.requests.models import Channel, Kind, Request
from muniment.server.transactions import writing
from muniment.server.web.context import now
from muniment.server.web.errors import error_page
from muniment.server.web.timing import looks_up

KINDS = [(kind.value, kind.label) for kind in ASKED_FROM_OUTSIDE]

_COLUMNS = [(name, str(Profile._meta.get_field(name).verbose_name)) for name in DETAILS]  # type: ignore[union-attr]


class AskForm(EmailForm):
    """An address, what is asked, and of two kinds what exactly."""

    kind = forms.ChoiceField(label="What you ask", choices=KINDS)
    detail = forms.ChoiceField(
        label="What is wrong", required=False, help_text="Only to correct something in a profile.",
        choices=[("", "Something else, in words"), *_COLUMNS],
    )  # fmt: skip
    value = forms.CharField(label="What is right", required=False, max_length=100)
    words = forms.CharField(
        label="In your words", required=False, max_length=MOST_WORDS,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text="Only to correct something else, or to remove what is public: say where it stands.",
    )  # fmt: skip

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        kind, detail = Kind(given.get("kind") or Kind.ACCESS), given.get("detail", "")
        if kind is Kind.RECTIFY and detail:
            try:
                check_detail(detail, given.get("value", ""))
            except ValueError as error:
                self.add_error("value", str(error))
            given["details"] = {detail: given.get("value", "")}
        else:
            given["details"] = details_of(kind, given.get("words", ""))
            if kind in NEEDS_WORDS and not given["details"]:
                self.add_error("words", "Say what it is about.")
        return given


class ConfirmForm(StrictForm):
    kind = forms.ChoiceField(label="What you ask", choices=KINDS)


@bound_posts
@require_http_methods(["GET", "HEAD", "POST"])
def ask_from_outside(request: HttpRequest) -> HttpResponse:
    """Answers alike whether or not the address is known here."""
    form = AskForm(request.POST or None)
    if request.method == "POST":
        form.refuse_others(request.POST)
    if not form.is_valid():
        return render(request, "site/ask.html", {"form": form}, status=422 if form.errors else 200)
    asked, visit, at = form.cleaned_data, visit_of(request), now()
    try:
        attempts.spend(Tried.MAIL, whom=asked["email"], visit=visit, now=at)
    except TooOften as slow:
        return error_page(request, 429, retry_after=slow.retry_after)
    looks_up(request)
    with writing():
        take_in(
            Kind(asked["kind"]), channel=Channel.PAGE, email=asked["email"], now=at, details=asked["details"]
        )
    return render(request, "site/asked.html")


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def confirm_request(request: HttpRequest, token: str) -> HttpResponse:
    """Opening the link changes nothing: mail programs open links too. The button does."""
    try:
        row = open_link(token, now=now())
        form = ConfirmForm(request.POST or None, initial={"kind": row.kind})
        if request.method == "POST":
            form.refuse_others(request.POST)
        if not form.is_valid():
            context = {"form": form, "asked": row, "changes": _changes(row)}
            return render(request, "site/ask_confirm.html", context)
        row = confirm_link(token, kind=Kind(form.cleaned_data["kind"]), now=now())
    except LinkDead:
        return render(request, "site/ask_dead.html", status=410)
    return render(request, "site/ask_confirmed.html", {"asked": row})


def _changes(asked: Request) -> list[tuple[str, str]]:
    """What a correction would write, (what it is called, the new value): anybody can have asked for it.

    Only here, before the one who reads mail at the address: a mail would carry what a stranger wrote.
    """
    if asked.kind != Kind.RECTIFY:
        return []
    called = {WORDS: "In these words", **dict(_COLUMNS)}
    return [(called.get(name, name), str(value)) for name, value in asked.details.items()]
