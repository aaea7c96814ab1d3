"""Who may open a page of the console: staff, signed in afresh. To everybody else there is no such page."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase

from muniment.server.portal.access import freshly_signed_in

V = TypeVar("V", bound=Callable[..., HttpResponseBase])


def staff_only(view: V) -> V:
    fresh = freshly_signed_in(view)

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not getattr(request.user, "is_staff", False):
            raise Http404
        return fresh(request, *args, **kwargs)

    return cast(V, guarded)
