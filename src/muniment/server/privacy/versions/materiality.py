"""What a new version changes that matters, computed from its declarations: no widening is a correction.

    changes = material_changes(old, new)        # empty: correcting words of what is only told

Pure. Wider purposes, recipients, categories, periods, bases, regions, cookies, pixels, kinds of mail and ages
matter, and so does every weaker or reworded promise: no program can tell whether new words promise less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from muniment.server.privacy.statement import Statement
from muniment.server.privacy.terms import (
    Beacon,
    Category,
    Clause,
    Cookie,
    Jurisdiction,
    Message,
    Modality,
    Period,
    Purpose,
    Recipient,
    Region,
)

T = TypeVar("T")

_PROMISES = frozenset({Modality.NEVER, Modality.MUST, Modality.CEILING})
_STRENGTH = {
    Modality.NEVER: 4,
    Modality.MUST: 4,
    Modality.TOLD: 3,
    Modality.CEILING: 2,
    Modality.DISCLAIMER: 1,
}


class Part(StrEnum):
    """Which part of the statement changed."""

    PURPOSE = "purpose"
    BASIS = "basis"
    CATEGORY = "category"
    PERIOD = "period"
    RECIPIENT = "recipient"
    COOKIE = "cookie"
    BEACON = "pixel"
    MESSAGE = "kind of mail"
    AGE = "age"
    REGION = "region"
    PROMISE = "promise"


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """One change that matters, in words that a notice can show."""

    part: Part
    name: str
    what: str

    @property
    def sentence(self) -> str:
        return f"{self.part.value.capitalize()} “{self.name.replace('_', ' ')}”: {self.what}"


def material_changes(old: Statement, new: Statement) -> list[Change]:
    """In a stable order. Nothing is compared by order of declaration or by wiring."""
    return sorted(
        [
            *_each(old.purposes, new.purposes, Part.PURPOSE, _purpose),
            *_each(old.categories, new.categories, Part.CATEGORY, _category),
            *_each(old.periods, new.periods, Part.PERIOD, _period),
            *_each(old.recipients, new.recipients, Part.RECIPIENT, _recipient),
            *_each(old.cookies, new.cookies, Part.COOKIE, _cookie),
            *_each(old.beacons, new.beacons, Part.BEACON, _beacon),
            *_each(old.messages, new.messages, Part.MESSAGE, _message),
            *_each(old.jurisdictions, new.jurisdictions, Part.AGE, _age),
            *_each(old.regions, new.regions, Part.REGION, _region),
            *(
                Change(Part.AGE, code, "is gone.")
                for code in old.jurisdictions
                if code not in new.jurisdictions
            ),
            *_promises(old, new),
        ]
    )


def _each(
    old: Mapping[str, T],
    new: Mapping[str, T],
    part: Part,
    compare: Callable[[T, T], Iterator[tuple[Part, str]]],
) -> Iterator[Change]:
    for name, item in new.items():
        if name not in old:
            yield Change(part, name, "is new.")
        else:
            yield from (Change(which, name, what) for which, what in compare(old[name], item))


def _purpose(old: Purpose, new: Purpose) -> Iterator[tuple[Part, str]]:
    if old.basis is not new.basis:
        yield Part.BASIS, f"now rests on {new.basis.value}, before on {old.basis.value}."
    for category in sorted(new.categories - old.categories):
        yield Part.PURPOSE, f"may now use {category.replace('_', ' ')}."
    if old.gpc and not new.gpc:
        yield Part.PURPOSE, "is no longer refused by Global Privacy Control."
    if old.text != new.text:
        yield Part.PURPOSE, f"is now: {new.text}"


def _category(old: Category, new: Category) -> Iterator[tuple[Part, str]]:
    if old.text != new.text:
        yield Part.CATEGORY, f"is now: {new.text}"


def _period(old: Period, new: Period) -> Iterator[tuple[Part, str]]:
    """Longer keeps more of a person; shorter takes from them what they were promised. Both matter."""
    if (old.days, old.ends) != (new.days, new.ends):
        yield Part.PERIOD, f"is now: {new.text}"


def _recipient(old: Recipient, new: Recipient) -> Iterator[tuple[Part, str]]:
    for purpose in sorted(new.purposes - old.purposes):
        yield Part.RECIPIENT, f"may now receive data for {purpose.replace('_', ' ')}."
    for field in sorted(new.fields - old.fields):
        yield Part.RECIPIENT, f"may now receive {field}."
    if old.kind is not new.kind:
        yield Part.RECIPIENT, f"is now of the kind {new.kind.value.replace('_', ' ')}."
    if (old.country, old.transfer_basis) != (new.country, new.transfer_basis):
        yield Part.REGION, f"is now in {new.country} ({new.transfer_basis or 'no transfer'})."
    if new.origins - old.origins:
        yield Part.RECIPIENT, f"may now be loaded from: {', '.join(sorted(new.origins - old.origins))}."


def _cookie(old: Cookie, new: Cookie) -> Iterator[tuple[Part, str]]:
    if new.essential and not old.essential:
        yield Part.COOKIE, "is now set without asking."
    if old.purpose != new.purpose:
        yield Part.COOKIE, f"now serves {new.purpose.replace('_', ' ')}."
    if _days(new.days) > _days(old.days):
        yield Part.COOKIE, f"now lasts {new.days} days."


def _beacon(old: Beacon, new: Beacon) -> Iterator[tuple[Part, str]]:
    if (old.owner, old.purpose) != (new.owner, new.purpose) or new.expires > old.expires:
        yield Part.BEACON, f"is now {new.owner}'s, for {new.purpose.replace('_', ' ')}, until {new.expires}."


def _message(old: Message, new: Message) -> Iterator[tuple[Part, str]]:
    if old.opt_in and not new.opt_in:
        yield Part.MESSAGE, "now comes without being asked for."
    if old.purpose != new.purpose:
        yield Part.MESSAGE, f"now serves {new.purpose.replace('_', ' ')}."


def _age(old: Jurisdiction, new: Jurisdiction) -> Iterator[tuple[Part, str]]:
    if new.consent_age < old.consent_age or new.adult_age < old.adult_age:
        yield Part.AGE, f"people now decide alone from {new.consent_age}, and are of age at {new.adult_age}."


def _region(old: Region, new: Region) -> Iterator[tuple[Part, str]]:
    if old.country != new.country:
        yield Part.REGION, f"is now in {new.country}."


def _promises(old: Statement, new: Statement) -> Iterator[Change]:
    for name, before in old.clauses.items():
        after = new.clauses.get(name)
        if after is None:
            yield Change(Part.PROMISE, name, "is no longer made.")
        elif _STRENGTH[after.modality] < _STRENGTH[before.modality]:
            yield Change(Part.PROMISE, name, f"was “{before.modality.word}”, is “{after.modality.word}”.")
        elif _is_promise(before) and _words(old, name) != _words(new, name):
            yield Change(Part.PROMISE, name, "is worded differently.")


def _is_promise(clause: Clause) -> bool:
    return clause.modality in _PROMISES


def _words(statement: Statement, clause: str) -> list[str]:
    return sorted(sentence.text for sentence in statement.document.said_for(clause))


def _days(days: int | None) -> int:
    """A cookie without days goes when the browser closes."""
    return -1 if days is None else days
