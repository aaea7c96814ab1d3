"""The visit behind a request."""

from __future__ import annotations

from django.http import HttpRequest

from muniment.server.accounts.visits import Visit


def visit_of(request: HttpRequest) -> Visit:
    return Visit.of(request.META.get("REMOTE_ADDR", ""), request.headers.get("User-Agent", ""))
