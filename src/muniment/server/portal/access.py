"""Who may open an owner's page: somebody signed in; for anything dangerous, somebody signed in afresh."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from allauth.account.decorators import reauthentication_required
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from muniment.server.accounts.models import Account

V = TypeVar("V", bound=Callable[..., HttpResponseBase])


def signed_in(view: V) -> V:
    return login_required(view)


def freshly_signed_in(view: V) -> V:
    """Asks for password, code or passkey again, and comes back to what was asked for."""
    return cast(V, login_required(reauthentication_required(view)))


def owner_of(request: HttpRequest) -> Account:
    """Only behind `signed_in` or `freshly_signed_in`."""
    return cast(Account, request.user)
