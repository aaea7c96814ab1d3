"""Asking again who is there, before anything dangerous."""

from __future__ import annotations

from urllib.parse import urlencode

from allauth.account.adapter import get_adapter
from allauth.core.exceptions import ReauthenticationRequired
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import reverse


class NotFresh(ReauthenticationRequired):
    """The last sign-in is too long ago. `page` is where to go on after another."""

    def __init__(self, page: str) -> None:
        super().__init__(page)
        self.page = page


def ask_again(request: HttpRequest, *, page: str) -> HttpResponseRedirect:
    """To the form that asks, by the first way that this person has; from there to `page`."""
    ways = get_adapter().get_reauthentication_methods(request.user)
    form = ways[0]["url"] if ways else reverse("account_login")
    return HttpResponseRedirect(f"{form}?{urlencode({'next': page})}")
