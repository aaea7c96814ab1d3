"""Who may open an owner's page: somebody signed in; for anything dangerous, somebody signed in afresh."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from allauth.account.internal.flows.reauthentication import did_recently_reauthenticate
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse

from muniment.server.accounts.fresh import NotFresh
from muniment.server.accounts.models import Account

V = TypeVar("V", bound=Callable[..., HttpResponseBase])


def signed_in(view: V) -> V:
    return login_required(view)


def freshly_signed_in(view: V) -> V:
    """Asks for password, code or passkey again, and comes back to the page that was asked for."""
    return fresh_with(view, lambda request: request.get_full_path())


def freshly_sent_from(page: str) -> Callable[[V], V]:
    """The same for what has no page of its own: comes back to the one, by its name, where the form is."""
    return lambda view: fresh_with(view, lambda _: reverse(page))


def fresh_with(view: V, page_of: Callable[[HttpRequest], str]) -> V:
    """The same, and comes back to `page_of`. What was sent is not kept meanwhile: it is filled in again."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not did_recently_reauthenticate(request):
            raise NotFresh(page_of(request))
        return view(request, *args, **kwargs)

    return login_required(cast(V, guarded))


def owner_of(request: HttpRequest) -> Account:
    """Only behind `signed_in` or `freshly_signed_in`."""
    return cast(Account, request.user)
