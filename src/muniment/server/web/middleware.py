"""What every request passes, outermost first: protective headers, known hosts, bounded bodies, signals.

They are listed in `settings.MIDDLEWARE`. Each is a function that takes the next one, as Django has it.
"""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from muniment.server.web.context import asked_under
from muniment.server.web.csp import OURS_ALONE, Sources, policy
from muniment.server.web.errors import error_page
from muniment.server.web.hosts import host_name, is_served
from muniment.server.web.requests import signals_of

Answer = Callable[[HttpRequest], HttpResponseBase]

_PERMISSIONS = ", ".join(
    f"{feature}=()"
    for feature in (
        "accelerometer", "autoplay", "browsing-topics", "camera",
        "display-capture", "encrypted-media", "geolocation", "gyroscope", "hid", "idle-detection",
        "magnetometer", "microphone", "midi", "payment", "picture-in-picture", "screen-wake-lock", "serial",
        "usb", "xr-spatial-tracking",
    )
)  # fmt: skip
_ALWAYS = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "X-Permitted-Cross-Domain-Policies": "none",
    "Permissions-Policy": _PERMISSIONS,
}
_TWO_YEARS = "max-age=63072000"
_NOT_A_PAGE = ("/healthz",)
"""Asked by whatever watches the service, under whatever address it knows."""


def protect(answer: Answer) -> Answer:
    """Headers that keep a browser from loading, framing, leaking or sniffing; HSTS once there is TLS."""

    def protected(request: HttpRequest) -> HttpResponseBase:
        response = answer(request)
        sources: Sources | None = getattr(request, "content_sources", None)
        response.headers["Content-Security-Policy"] = policy(sources) if sources else OURS_ALONE
        for name, value in _ALWAYS.items():
            response.headers.setdefault(name, value)
        if request.is_secure():
            response.headers["Strict-Transport-Security"] = _TWO_YEARS
        if "Cache-Control" not in response.headers:
            # What a page shows may be somebody's own; going back after signing out must not show it again.
            response.headers["Cache-Control"] = "no-store"
        return response

    return protected


def answer_known_hosts(answer: Answer) -> Answer:
    """421 for a name that is not ours: the statement and our mails speak for our hosts only."""
    names: frozenset[str] = settings.SERVED_NAMES

    def answered(request: HttpRequest) -> HttpResponseBase:
        header = request.META.get("HTTP_HOST", "")
        if request.path in _NOT_A_PAGE:
            return answer(request)
        if not is_served(header, names):
            return error_page(request, 421)
        with asked_under(host_name(header)):
            return answer(request)

    return answered


def bound_bodies(answer: Answer) -> Answer:
    """413 for more than a form can be, before a byte of it is read."""
    most: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE

    def bounded(request: HttpRequest) -> HttpResponseBase:
        length = request.META.get("CONTENT_LENGTH") or "0"
        if not length.isdigit():
            return error_page(request, 400)
        return error_page(request, 413) if int(length) > most else answer(request)

    return bounded


def read_signals(answer: Answer) -> Answer:
    """`request.signals`: what the browser asks for by itself."""

    def read(request: HttpRequest) -> HttpResponseBase:
        request.signals = signals_of(request)  # type: ignore[attr-defined]
        return answer(request)

    return read
