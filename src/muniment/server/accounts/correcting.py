"""Corrections that people asked for as a request, by whatever way it came."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from django.core.exceptions import ValidationError

from muniment.server.accounts.acceptance import choose_optional
from muniment.server.accounts.models import Account, Profile
from muniment.server.accounts.profile import DETAILS, profile_of
from muniment.server.privacy.holding import hold_person


class ProfileCorrector:
    """Changes what an owner could change on My Profile, and nothing else."""

    def correct(self, account: int, changes: Mapping[str, str], *, now: datetime) -> None:
        """Only inside `writing()`. ValueError says what cannot be."""
        for name, value in changes.items():
            check_detail(name, value)
        hold_person(account)
        owner = Account.objects.get(pk=account)
        profile = profile_of(owner)
        for name, value in changes.items():
            setattr(profile, name, value.strip())
        profile.save()
        choose_optional(owner, changes, method="request", now=now)


def check_detail(name: str, value: str) -> None:
    """Raises ValueError where the profile has no such column, or the value does not fit into it."""
    if name not in DETAILS:
        raise ValueError(f"{name} is not changed by request")
    try:
        Profile._meta.get_field(name).run_validators(value.strip())  # type: ignore[union-attr]
    except ValidationError as error:
        raise ValueError(", ".join(error.messages)) from error
