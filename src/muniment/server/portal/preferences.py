"""`/preferences`: what somebody decides about their data, with or without an account."""

from __future__ import annotations

from datetime import date

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from muniment.server.portal.access import owner_of, signed_in
from muniment.server.privacy.consent.choices import events_of
from muniment.server.privacy.consent.cookies import optional_purposes
from muniment.server.privacy.consent.effect import State
from muniment.server.privacy.consent.notices import notice_for
from muniment.server.privacy.consent.preferences import (
    NAMED,
    Group,
    NoSuchGrant,
    event_of,
    grants_of,
    keep_preferences,
    preferences_of,
    withdraw_grant,
)
from muniment.server.privacy.consent.receipts import consent_receipt
from muniment.server.privacy.named_sharing import (
    LONGEST,
    NotNameable,
    name_recipient,
    nameable,
    named_by,
)
from muniment.server.privacy.operator import read_operator
from muniment.server.privacy.statement import read_statement
from muniment.server.web.choices import consents_of, sends_gpc, subject_of
from muniment.server.web.context import deployment, now

_ANSWERS = {"yes": State.GRANTED, "no": State.DENIED}
_FIELD = "purpose."


@csrf_protect
@require_http_methods(["GET", "HEAD", "POST"])
def preferences(request: HttpRequest) -> HttpResponse:
    """The preference centre: of the account, or of the browser where nobody is signed in."""
    if not request.user.is_authenticated:
        return _of_the_browser(request)
    gpc = sends_gpc(request)
    if request.method == "POST":
        return _keep(request, gpc=gpc)
    subject, at, statement = subject_of(request), now(), read_statement()
    shown = preferences_of(subject, gpc=gpc, now=at)
    context = {
        "groups": [
            (group.value, [preference for preference in shown if preference.group is group])
            for group in Group
        ],
        "grants": [grant for grant in grants_of(subject, at) if grant.purpose.name != NAMED],
        "named": named_by(owner_of(request), at),
        "nameable": nameable(owner_of(request), at),
        "days": {"first": at.date(), "last": at.date() + LONGEST},
        "events": [(event, statement.purposes.get(event.purpose)) for event in events_of(subject)],
        "kept": "kept" in request.GET,
        "unclear": "unclear" in request.GET,
        "gpc": gpc,
    }
    return render(request, "portal/preferences.html", context)


@require_POST
@signed_in
def name(request: HttpRequest) -> HttpResponse:
    """Name a recipient, what they get, and the last day."""
    try:
        name_recipient(
            owner_of(request),
            request.POST.get("recipient", ""),
            request.POST.getlist("field"),
            last_day=date.fromisoformat(request.POST.get("last_day", "")),
            now=now(),
        )
    except (NotNameable, ValueError):
        return HttpResponseRedirect("/preferences?unclear#named")
    return HttpResponseRedirect("/preferences?kept#named")


@require_POST
@signed_in
def withdraw(request: HttpRequest) -> HttpResponse:
    """Take back what was granted to one recipient."""
    try:
        withdraw_grant(
            subject_of(request),
            purpose=request.POST.get("purpose", ""),
            recipient=request.POST.get("recipient", ""),
            now=now(),
        )
    except NoSuchGrant:
        raise Http404 from None
    return HttpResponseRedirect("/preferences?kept")


@require_safe
@signed_in
def receipt(request: HttpRequest, entry: int) -> HttpResponse:
    """The receipt of one choice, as JSON."""
    event = event_of(subject_of(request), entry)
    statement = read_statement()
    if event is None or event.purpose not in statement.purposes:
        raise Http404
    operator = read_operator(deployment().config.data)
    document = consent_receipt(
        event,
        statement,
        principal=owner_of(request).ref.hex,
        controller={
            "party_name": operator.name,
            "party_email": operator.mail,
            "party_address": operator.post,
        },
    )
    answer = JsonResponse(document, json_dumps_params={"indent": 1})
    answer.headers["Content-Disposition"] = f'attachment; filename="consent-{entry}.json"'
    return answer


def _of_the_browser(request: HttpRequest) -> HttpResponse:
    gpc = sends_gpc(request)
    allowed = consents_of(request)
    choices = [
        (purpose, notice_for(purpose, gpc=gpc).text, allowed.allows(purpose.name, gpc=gpc))
        for purpose in optional_purposes(read_statement())
    ]
    refused = [purpose for purpose in read_statement().consent_purposes if purpose.gpc]
    return render(
        request, "portal/preferences_browser.html", {"choices": choices, "gpc": gpc, "refused": refused}
    )


def _keep(request: HttpRequest, *, gpc: bool) -> HttpResponse:
    answers = {}
    for name, value in request.POST.items():
        if name.startswith(_FIELD):
            if value not in _ANSWERS:
                return HttpResponse(status=400)
            answers[name.removeprefix(_FIELD)] = _ANSWERS[value]
    keep_preferences(subject_of(request), answers, gpc=gpc, now=now())
    return HttpResponseRedirect("/preferences?kept")
