"""What a request may presume: who asks, and what they allow. Nothing is looked up before somebody asks."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from muniment.server.privacy.consent.beacons import VISIT, may_fire
from muniment.server.privacy.consent.choices import Subject, keep_signal, snapshot
from muniment.server.privacy.consent.cookies import Asked, BrowserChoice, is_to_ask, optional_purposes
from muniment.server.privacy.consent.effect import Consents
from muniment.server.privacy.consent.notices import notice_for
from muniment.server.privacy.requests.objecting import stands_against
from muniment.server.privacy.statement import read_statement
from muniment.server.web.context import now
from muniment.server.web.middleware import Answer

COOKIE = "cookie_choice"
_ASKED_THERE = frozenset({"/cookies", "/preferences"})
"""Pages that hold the question themselves."""


def read_choices(answer: Answer) -> Answer:
    """`request.choice` and `request.browser`: what this browser said about cookies, and its number if any."""

    def read(request: HttpRequest) -> HttpResponseBase:
        choice = BrowserChoice.parse(request.COOKIES.get(COOKIE, ""))
        request.choice, request.browser = choice, choice.token  # type: ignore[attr-defined]
        return answer(request)

    return read


def hear_signal(answer: Answer) -> Answer:
    """Inside of who is signed in: once an account's browser sends the signal, it binds for the account."""

    def heard(request: HttpRequest) -> HttpResponseBase:
        if sends_gpc(request):
            keep_signal(subject_of(request), now=now())
        return answer(request)

    return heard


def subject_of(request: HttpRequest) -> Subject:
    """Who asks: an account, a browser, both or nobody known."""
    account: Any = getattr(request, "user", None)
    signed_in = account is not None and account.is_authenticated
    return Subject(account if signed_in else None, getattr(request, "browser", None))


def consents_of(request: HttpRequest) -> Consents:
    """What they allow; looked up once for each request."""
    known: Consents | None = getattr(request, "consents", None)
    if known is None:
        known = snapshot(subject_of(request), now())
        request.consents = known  # type: ignore[attr-defined]
    return known


def sends_gpc(request: HttpRequest) -> bool:
    signals = getattr(request, "signals", None)
    return bool(signals is not None and signals.gpc)


def beacons(request: HttpRequest) -> dict[str, Any]:
    """A context processor: the page that is to be counted, where somebody agreed to be."""
    page = request.resolver_match.view_name if request.resolver_match else None
    if not page or not may_fire_here(request, VISIT):
        return {}
    return {"visit_page": page}


def may_fire_here(request: HttpRequest, beacon: str) -> bool:
    """Whether this beacon may fire for whoever asks."""
    subject, statement = subject_of(request), read_statement()
    if not subject.is_anybody:
        return False
    if not may_fire(beacon, statement, consents_of(request), gpc=sends_gpc(request), now=now()):
        return False
    purpose = statement.beacons[beacon].purpose
    return subject.account is None or not stands_against(subject.account.pk, purpose)


def first_layer(request: HttpRequest) -> dict[str, Any]:
    """A context processor: the question about cookies, on every page until it is answered."""
    choice, gpc = getattr(request, "choice", None), sends_gpc(request)
    if choice is None or request.path in _ASKED_THERE:
        return {}
    if is_to_ask(subject_of(request), choice, gpc=gpc) is Asked.ANSWERED:
        return {}
    return {
        "cookie_notices": [
            notice_for(purpose, gpc=gpc).text for purpose in optional_purposes(read_statement())
        ]
    }
