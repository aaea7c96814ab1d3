"""Answers that must not tell by their time whether an address is known leave at ticks of a clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from django.http import HttpRequest
from django.http.response import HttpResponseBase

TICK_SECONDS = 0.5
V = TypeVar("V", bound=Callable[..., HttpResponseBase])


def at_the_tick(view: V) -> V:
    """POSTs take a whole number of ticks. Both ways do the same work; this hides what still differs."""

    @wraps(view)
    def ticking(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        if request.method != "POST":
            return view(request, *args, **kwargs)
        began = time.monotonic()
        response = view(request, *args, **kwargs)
        time.sleep(TICK_SECONDS - (time.monotonic() - began) % TICK_SECONDS)
        return response

    return ticking  # type: ignore[return-value]
