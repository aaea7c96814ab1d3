"""What a page reads personal columns for: said beside its URL, and open while the page is made.

    path("devices", used_for(Purpose.BACKUP)(vaults.devices), name="devices")

A page that says nothing can read what every visit needs, `VISIT`, and no more.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import SimpleTemplateResponse

from muniment.server.privacy.purposes import Purpose, afresh, purpose

Answer = Callable[[HttpRequest], HttpResponseBase]
View = Callable[..., HttpResponseBase]

VISIT = (Purpose.SIGN_IN, Purpose.SECURITY, Purpose.FRAUD, Purpose.AGREEMENT)
"""Who is signed in, whether that is still so, and what they accepted and chose."""


def open_visit(
    answer: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Around everything that looks at who asks."""

    def visited(request: HttpRequest) -> HttpResponseBase:
        with afresh(*VISIT):
            return answer(request)

    return visited


def used_for(*purposes: Purpose) -> Callable[[View], View]:
    """What the page is for, beside the visit."""

    def declare(view: View) -> View:
        @wraps(view)
        def answered(request: HttpRequest, *args: Any, **named: Any) -> HttpResponseBase:
            with purpose(*purposes):
                response = view(request, *args, **named)
                if isinstance(response, SimpleTemplateResponse):
                    response.render()  # Django would do it later, when nothing is open any more
                return response

        answered.purposes = frozenset(purposes)  # type: ignore[attr-defined]
        return answered

    return declare
