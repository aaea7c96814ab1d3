"""Notes where a signed-in browser is: its owner sees that among the sessions."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

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
