"""My Profile: everything personal that an account's own rows hold, with what it is for and when it ends.

The list is made from the registry, so a column that somebody adds shows up here by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import models

from muniment.server.accounts.acceptance import choose_optional
from muniment.server.accounts.countries import country_names
from muniment.server.accounts.models import Account, Guardianship, Profile
from muniment.server.privacy.holding import hold_person
from muniment.server.privacy.registry import Personal
from muniment.server.privacy.statement import read_statement
from muniment.server.transactions import writing

_NEVER_SHOWN = frozenset({"password", "account"})
"""A hash shows nothing to anybody, and a row's link to its account is not a thing told."""


@dataclass(frozen=True, slots=True)
class Held:
    """One column of one row."""

    label: str
    value: str
    purposes: tuple[str, ...]
    """Their texts."""
    until: str
    changes: str
    """The name under which `change_details` takes it; empty where it cannot be changed."""


def profile_of(account: Account) -> Profile:
    """The account's profile; accounts that an operator made get one when it is first wanted."""
    profile = Profile.objects.filter(account=account).first()
    return Profile(account=account) if profile is None else profile


def held_about(account: Account) -> list[Held]:
    """All of it, account first."""
    rows: list[models.Model] = [account, profile_of(account)]
    rows += Guardianship.objects.filter(account=account)
    return [held for row in rows for held in _held(row)]


def change_details(account: Account, details: Mapping[str, str], *, now: datetime) -> None:
    """Write columns of Profile; emptying one takes it back."""
    with writing():
        hold_person(account.pk)
        profile = profile_of(account)
        for name in DETAILS:
            if name in details:
                setattr(profile, name, details[name].strip())
        profile.save()
        choose_optional(account, details, method="profile", now=now)


def change_country(account: Account, country: str) -> None:
    """Raises KeyError: there is no such country."""
    country_names()[country]
    with writing():
        Account.objects.filter(pk=account.pk).update(country=country)
    account.country = country


def _held(row: models.Model) -> list[Held]:
    found = []
    for field in row._meta.concrete_fields:
        declared = getattr(field, "privacy", None)
        if not isinstance(declared, Personal) or field.name in _NEVER_SHOWN:
            continue
        statement = read_statement()
        found.append(
            Held(
                label=str(field.verbose_name)[:1].upper() + str(field.verbose_name)[1:],
                value=_said(row, field),
                purposes=tuple(statement.purposes[name].text for name in declared.purposes),
                until=statement.periods[declared.keep].text,
                changes=field.name if isinstance(row, Profile) else "",
            )
        )
    return found


def _said(row: models.Model, field: models.Field[Any, Any]) -> str:
    value = getattr(row, field.attname)
    if value is None or value == "":
        return ""
    if isinstance(value, datetime):
        return f"{value.day} {value:%B %Y, %H:%M} UTC"
    if field.name == "country":
        return country_names().get(value, str(value))
    display = getattr(row, f"get_{field.name}_display", None)
    return str(display() if display else value)


DETAILS = tuple(
    field.name
    for field in Profile._meta.concrete_fields
    if isinstance(getattr(field, "privacy", None), Personal) and field.name not in _NEVER_SHOWN
)
"""Columns of Profile that its owner fills."""
