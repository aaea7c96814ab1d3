"""The middleware that holds every answer to the statement's table of cookies."""

from __future__ import annotations

from http.cookies import Morsel
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from muniment.server.logs import SERVICE
from muniment.server.privacy.consent.cookies import longest_life, may_set
from muniment.server.privacy.consent.effect import NOTHING
from muniment.server.privacy.statement import Statement, read_statement
from muniment.server.web.choices import consents_of, sends_gpc
from muniment.server.web.middleware import Answer


def guard_cookies(answer: Answer) -> Answer:
    """Strips what the table does not list, refuses what nobody allowed, shortens what would live too long.

    Outside of all that sets cookies. What is not essential and no longer allowed is taken back, too.
    """

    def guarded(request: HttpRequest) -> HttpResponseBase:
        response = answer(request)
        statement = read_statement()
        for name, morsel in list(response.cookies.items()):
            if _may_set(name, statement, request) or (name in statement.cookies and _takes_back(morsel)):
                _shorten(morsel, name, statement)
            else:
                del response.cookies[name]
                if name not in statement.cookies:
                    SERVICE.warning("unlisted cookie", extra={"code": name[:40]})
        for name in request.COOKIES.keys() & statement.cookies.keys() - response.cookies.keys():
            if not _may_set(name, statement, request):
                response.delete_cookie(name, samesite="Lax")
        return response

    return guarded


def drop_unasked(answer: Answer) -> Answer:
    """Takes from the request what the browser sends though it may not be read: views never see it."""

    def dropped(request: HttpRequest) -> HttpResponseBase:
        statement = read_statement()
        kept = {name: value for name, value in request.COOKIES.items() if _may_set(name, statement, request)}
        sent, request.COOKIES = request.COOKIES, kept
        response = answer(request)
        request.COOKIES = sent
        return response

    return dropped


def _may_set(name: str, statement: Statement, request: HttpRequest) -> bool:
    cookie = statement.cookies.get(name)
    needs_asking = cookie is not None and not cookie.essential
    consents = consents_of(request) if needs_asking else NOTHING
    return may_set(name, statement, consents, gpc=sends_gpc(request))


def _takes_back(morsel: Morsel[Any]) -> bool:
    return bool(morsel["max-age"] == 0)


def _shorten(morsel: Morsel[Any], name: str, statement: Statement) -> None:
    if _takes_back(morsel):
        return
    longest = longest_life(name, statement)
    asked = morsel["max-age"]
    if longest is None:
        morsel["max-age"] = morsel["expires"] = ""
    elif (asked != "" and int(asked) > longest) or (asked == "" and morsel["expires"]):
        # With `expires` alone nobody knows how long; with neither it ends with the browser: shorter.
        morsel["max-age"], morsel["expires"] = longest, ""
