"""A context processor: the version in force at the foot of every page, and the banner about the next one."""

from __future__ import annotations

from typing import Any

from django.db import DatabaseError
from django.http import HttpRequest

from muniment.server.privacy.versions.banner import banner_for
from muniment.server.web.context import NotDeployed, now


def version_banner(request: HttpRequest) -> dict[str, Any]:
    """Says nothing where the database does not answer: error pages are made here too."""
    account = getattr(request, "user", None)
    try:
        signed_in = account if account is not None and account.is_authenticated else None
        banner = banner_for(signed_in, now())
    except (DatabaseError, NotDeployed):
        return {}
    told = {"coming_version": banner.coming}
    return told if banner.in_force is None else {**told, "statement_version": banner.in_force}
