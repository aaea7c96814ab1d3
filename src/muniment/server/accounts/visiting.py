"""The visit behind a request."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from muniment.server.accounts import attempts
from muniment.server.accounts.attempts import TooOften, Tried
from muniment.server.accounts.visits import Visit
from muniment.server.web.context import now
from muniment.server.web.errors import error_page

View = Callable[..., HttpResponseBase]


def visit_of(request: HttpRequest) -> Visit:
    return Visit.of(request.META.get("REMOTE_ADDR", ""), request.headers.get("User-Agent", ""))


def bound_posts(view: View) -> View:
    """What strangers post to it is counted by network, before anybody looks at what it is."""

    @wraps(view)
    def bounded(request: HttpRequest, *args: object, **named: object) -> HttpResponseBase:
        if request.method == "POST":
            try:
                attempts.spend(Tried.FORM, whom="", visit=visit_of(request), now=now())
            except TooOften as slow:
                return error_page(request, 429, retry_after=slow.retry_after)
        return view(request, *args, **named)

    return bounded
