"""Who may open a page of the console: staff with a second factor, signed in afresh. Others find none."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render

from muniment.server.accounts.adapter import has_second_factor
from muniment.server.portal.access import freshly_signed_in, owner_of

V = TypeVar("V", bound=Callable[..., HttpResponseBase])


def staff_only(view: V) -> V:
    fresh = freshly_signed_in(view)

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not getattr(request.user, "is_staff", False):
            raise Http404
        if not has_second_factor(owner_of(request)):
            return render(request, "console/second_factor.html", status=403)
        return fresh(request, *args, **kwargs)

    return cast(V, guarded)
