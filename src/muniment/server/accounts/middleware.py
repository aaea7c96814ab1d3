"""Notes where a signed-in browser is: its owner sees that among the sessions. Asks again who is there."""

from __future__ import annotations

from collections.abc import Callable

from allauth.core.exceptions import ReauthenticationRequired
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from muniment.server.accounts.fresh import NotFresh, ask_again
from muniment.server.accounts.visiting import visit_of
from muniment.server.accounts.web_sessions import see_session
from muniment.server.web.context import now

Answer = Callable[[HttpRequest], HttpResponseBase]


def watch_sessions(answer: Answer) -> Answer:
    def watched(request: HttpRequest) -> HttpResponseBase:
        response = answer(request)
        key = request.session.session_key
        if key is not None and request.user.is_authenticated:
            see_session(key, visit_of(request), now=now())
        return response

    return watched


class AskAgain:
    """Sends whoever is not signed in afresh to do so, and keeps nothing of what was sent.

    allauth would keep all of a form in the session, a new password in plain text, and carry it out later.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self._answer(request)

    def _send(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Django asks the innermost first: allauth's own middleware is around this one."""
        if not isinstance(error, ReauthenticationRequired):
            return None
        page = error.page if isinstance(error, NotFresh) else request.get_full_path()
        return ask_again(request, page=page)

    process_exception = _send  # Django's name
