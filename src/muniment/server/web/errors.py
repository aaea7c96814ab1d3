"""Error pages in the voice of all others: what happened, why, what to do. They ask no database."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

from muniment.server.logs import SERVICE


@dataclass(frozen=True, slots=True)
class Words:
    title: str
    reason: str
    advice: str


_WORDS = {
    400: Words(
        "We could not read that request",
        "Something in it is not what this page asks for. Nothing was changed.",
        "Go back, look at what you entered, and send it again.",
    ),
    403: Words(
        "That is not yours to open",
        "The page exists for somebody else, or the form was sent from another site or is too old.",
        "Go back, load the page again and send the form once more. If you think it is yours, sign in again.",
    ),
    404: Words(
        "There is no page here",
        "The address is wrong, or what it named is gone.",
        "Look at the address, or begin again at the first page.",
    ),
    405: Words(
        "That cannot be done this way",
        "The page exists, but not for what your browser asked.",
        "Open the page itself, and use the form on it.",
    ),
    413: Words(
        "That is too much at once",
        "Forms here take at most a few hundred kilobytes. We stopped reading, and nothing was changed.",
        "Send less.",
    ),
    421: Words(
        "This service does not answer to that name",
        "The address in your browser is not one of ours, so our statement does not speak for it.",
        "Open the service under the name that its operator gave you.",
    ),
    429: Words(
        "Too many tries in a short time",
        "We slow everybody down here, so that nobody can guess.",
        "Wait some minutes and try again. A passkey is never slowed down.",
    ),
    500: Words(
        "Something of ours failed",
        "The fault is on our side and was recorded without personal data. What you had stored is as it was.",
        "Try again in a moment.",
    ),
    503: Words(
        "We cannot answer just now",
        "A part of the service does not work at this moment. What you had stored is as it was.",
        "Try again in a moment.",
    ),
}


def error_page(request: HttpRequest, status: int, *, retry_after: int | None = None) -> HttpResponse:
    """The page for `status`; `retry_after` in seconds."""
    words = _WORDS[status]
    answer = HttpResponse(
        render_to_string("web/error.html", {"words": words, "status": status}, request), status=status
    )
    if retry_after is not None:
        answer.headers["Retry-After"] = str(retry_after)
    return answer


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001
    return error_page(request, 400)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001
    return error_page(request, 403)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001
    return error_page(request, 404)


def server_error(request: HttpRequest) -> HttpResponse:
    """Django calls this while it handles what was raised."""
    SERVICE.error("a page failed", exc_info=sys.exc_info())
    return error_page(request, 500)


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:  # noqa: ARG001
    return error_page(request, 403)
