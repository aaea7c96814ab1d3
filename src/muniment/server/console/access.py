"""Who may open a page of the console: staff with a second factor, signed in afresh. Others find none."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import Resolver404, resolve

from muniment.server.accounts.adapter import has_second_factor
from muniment.server.portal.access import fresh_with, owner_of

V = TypeVar("V", bound=Callable[..., HttpResponseBase])


def staff_only(view: V) -> V:
    fresh = fresh_with(view, _page_of)

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not getattr(request.user, "is_staff", False):
            raise Http404
        if not has_second_factor(owner_of(request)):
            return render(request, "console/second_factor.html", status=403)
        return fresh(request, *args, **kwargs)

    return cast(V, guarded)


def _page_of(request: HttpRequest) -> str:
    """What is sent about one thing comes from the list of them: the nearest page above."""
    if request.method != "POST" or request.resolver_match is None or not request.resolver_match.kwargs:
        return request.get_full_path()
    parts = request.path.strip("/").split("/")[:-1]
    return next(path for end in range(len(parts), 0, -1) if _is_there(path := "/" + "/".join(parts[:end])))


def _is_there(path: str) -> bool:
    try:
        resolve(path)
    except Resolver404:
        return False
    return True
