"""`/cookies`: the table, and the choice, also as answered on the first layer of any page."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from muniment.server.accounts import attempts
from muniment.server.accounts.attempts import TooOften, Tried
from muniment.server.accounts.visiting import visit_of
from muniment.server.privacy.consent.cookies import answer_cookies, longest_life, optional_purposes
from muniment.server.privacy.consent.notices import notice_for
from muniment.server.privacy.statement import read_statement
from muniment.server.web.choices import COOKIE, consents_of, sends_gpc, subject_of
from muniment.server.web.context import now
from muniment.server.web.errors import error_page
from muniment.server.web.requests import is_from_our_own_page
from muniment.server.web.views import back

_GPC_SINCE = "2026-11-22"


@require_safe
def cookies(request: HttpRequest) -> HttpResponse:
    """The table as the statement declares it, and what this browser said."""
    statement, gpc, allowed = read_statement(), sends_gpc(request), consents_of(request)
    choices = [
        {
            "purpose": purpose,
            "notice": notice_for(purpose, gpc=gpc).text,
            "is_allowed": allowed.allows(purpose.name, gpc=gpc),
        }
        for purpose in optional_purposes(statement)
    ]
    listed = sorted(statement.cookies.values(), key=lambda cookie: (not cookie.essential, cookie.name))
    return render(
        request,
        "site/cookies.html",
        {
            "cookies": [(cookie, statement.purposes[cookie.purpose]) for cookie in listed],
            "choices": choices,
            "gpc": gpc,
            "statement": statement,
        },
    )


# No token is needed, and so no cookie before the choice about cookies; other sites are refused instead.
@csrf_exempt
@require_POST
def choose_cookies(request: HttpRequest) -> HttpResponse:
    """Keep the choice, and go back to the page it was made on.

    A yes without an account is an entry of the ledger that anybody can make: those are counted by network. A
    no is heard however many there were.
    """
    if not is_from_our_own_page(request):
        return HttpResponse(status=403)
    answer = request.POST.get("answer", "")
    if answer not in ("accept", "decline", "choose"):
        return HttpResponse(status=400)
    statement = read_statement()
    allowed = {
        "accept": [purpose.name for purpose in optional_purposes(statement)],
        "decline": [],
        "choose": request.POST.getlist("purpose"),
    }[answer]
    if allowed and not request.user.is_authenticated:
        visit = visit_of(request)
        try:
            attempts.spend(Tried.CHOICE, whom="", visit=visit, now=now())
        except TooOften as slow:
            return error_page(request, 429, retry_after=slow.retry_after)
    method = "page /cookies" if answer == "choose" else "first layer"
    choice = answer_cookies(subject_of(request), allowed, gpc=sends_gpc(request), method=method, now=now())
    request.consents = None  # type: ignore[attr-defined]
    request.browser = choice.token  # type: ignore[attr-defined]
    response = HttpResponseRedirect(back(request))
    response.set_cookie(
        COOKIE, choice.text(), max_age=longest_life(COOKIE, statement),
        secure=request.is_secure(), httponly=True, samesite="Lax",
    )  # fmt: skip
    return response


@require_safe
def gpc_support(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    """`/.well-known/gpc.json`: this site abides by Global Privacy Control, and since when (W3C draft)."""
    return JsonResponse({"gpc": True, "lastUpdate": _GPC_SINCE})
