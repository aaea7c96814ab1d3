"""What base.html shows around every page: where one can go, who is signed in, which statement holds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from django.http import HttpRequest
from django.urls import Resolver404, resolve

from muniment.server.privacy.statement import read_statement
from muniment.server.web.appearance import COOKIE, Appearance


@dataclass(frozen=True, slots=True)
class Place:
    path: str
    text: str


_EVERYBODY = (
    Place("/editions", "Editions"),
    Place("/sealed", "A sealed pack"),
    Place("/privacy", "Privacy"),
    Place("/privacy/proof", "Proof"),
    Place("/transparency", "Transparency"),
)
_OWNER = (
    Place("/overview", "Overview"),
    Place("/devices", "Devices"),
    Place("/confirmations", "Confirmations"),
    Place("/requests", "Requests"),
    Place("/ledger", "Ledger"),
    Place("/privacy", "Privacy"),
)
_STAFF = (*_OWNER, Place("/console", "Console"))
_FOOT = (
    Place("/privacy", "Privacy statement"),
    Place("/privacy/proof", "Its proof"),
    Place("/privacy/history", "Its history"),
    Place("/privacy/data", "What we hold"),
    Place("/transparency", "Transparency"),
    Place("/cookies", "Cookies"),
    Place("/preferences", "Preferences"),
)
_ENTER = (Place("/accounts/login", "Sign in"), Place("/accounts/signup", "Create an account"))


def frame(request: HttpRequest) -> dict[str, Any]:
    """A context processor; it asks the database nothing that the request has not already asked."""
    account = getattr(request, "user", None)
    signed_in = account is not None and account.is_authenticated
    return {
        "appearance": Appearance.of(request.COOKIES.get(COOKIE, "")).value,
        "places": _served(_places(account) if signed_in else _EVERYBODY),
        "foot": _served(_FOOT),
        "enter": () if signed_in else _served(_ENTER),
        "here": request.path,
        "signed_in": account if signed_in else None,
        "statement_version": read_statement().version,
    }


def _places(account: Any) -> tuple[Place, ...]:
    return _STAFF if account.is_staff else _OWNER


@cache
def _served(places: tuple[Place, ...]) -> tuple[Place, ...]:
    """Those of `places` that some app serves: a link appears when its page does."""
    found = []
    for place in places:
        for path in (place.path, f"{place.path.rstrip('/')}/", place.path.rstrip("/")):
            if path and _is_served(path):
                found.append(Place(path, place.text))
                break
    return tuple(found)


def _is_served(path: str) -> bool:
    try:
        resolve(path)
    except Resolver404:
        return False
    return True
