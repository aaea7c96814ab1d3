"""What a request says of where it came from."""

from __future__ import annotations

from django.http import HttpRequest

from muniment.server.privacy.signals import Signals


def is_from_our_own_page(request: HttpRequest) -> bool:
    """Whether a browser says that one of our pages sent it; programs without either header may."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is None or origin == f"{request.scheme}://{request.get_host()}"


def signals_of(request: HttpRequest) -> Signals:
    """What the browser asks for by itself. Global Privacy Control is `Sec-GPC: 1`, and nothing else is."""
    return Signals(gpc=request.headers.get("Sec-GPC", "").strip() == "1")


_OF_PROXIES = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via")


def is_passed_on(request: HttpRequest) -> bool:
    """Whether a proxy says, by any of its headers, that somebody else asks. It may say nothing."""
    return any(name in request.headers for name in _OF_PROXIES)
