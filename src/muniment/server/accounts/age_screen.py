"""The age screen: who may sign up alone, who needs a guardian, whom we take no data from.

It asks for country, year and month before anything else, offers no default and gives no hint at what would
pass. Of a yes only a band goes on, signed, in the form itself; of a no a number goes up, and nothing is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from django.core import signing
from django.db.models import F

from muniment.server.accounts.countries import EUROPEAN_UNION, country_names
from muniment.server.accounts.models import AgeBand, ScreenTally
from muniment.server.privacy.terms import Jurisdiction
from muniment.server.transactions import writing

PASS_SECONDS = 3600
_SALT = "muniment.age-screen"


class Verdict(Enum):
    ALONE = "may sign up"
    WITH_GUARDIAN = "may sign up once a guardian agrees"
    REFUSED = "too young: nothing is kept"


@dataclass(frozen=True, slots=True)
class Birth:
    """The month, which is all that the decision needs."""

    year: int
    month: int

    def years_by(self, now: datetime) -> int:
        """Full years that surely have passed: in the month of the birthday, one less."""
        passed = (now.year - self.year) * 12 + (now.month - self.month) - 1
        return passed // 12


@dataclass(frozen=True, slots=True)
class Pass:
    """What the sign-up form may take as decided."""

    country: str
    band: AgeBand


class PassInvalid(Exception):
    """The form's pass was changed, or is older than an hour."""


def jurisdiction_of(country: str, jurisdictions: Mapping[str, Jurisdiction]) -> Jurisdiction:
    """The country's own, its union's, or the one for everywhere else."""
    if country in jurisdictions:
        return jurisdictions[country]
    return jurisdictions["EU" if country in EUROPEAN_UNION else "*"]


def judge(birth: Birth, *, law: Jurisdiction, now: datetime) -> Verdict:
    """Pure. Under the age of digital consent nothing is taken; under full age a guardian must agree."""
    years = birth.years_by(now)
    if years < law.consent_age:
        return Verdict.REFUSED
    return Verdict.ALONE if years >= law.adult_age else Verdict.WITH_GUARDIAN


def count_refusal(now: datetime) -> None:
    """One more for today. Neither who nor from where."""
    with writing():
        row, _ = ScreenTally.objects.get_or_create(day=now.date())
        ScreenTally.objects.filter(pk=row.pk).update(refused=F("refused") + 1)


def seal_pass(country: str, verdict: Verdict) -> str:
    """The signed pass that the next form carries."""
    band = AgeBand.ADULT if verdict is Verdict.ALONE else AgeBand.MINOR
    return signing.dumps([country, band.value], salt=_SALT)


def open_pass(text: str) -> Pass:
    """Raises PassInvalid."""
    try:
        country, band = signing.loads(text, salt=_SALT, max_age=PASS_SECONDS)
    except signing.BadSignature as error:
        raise PassInvalid from error
    if country not in country_names():
        raise PassInvalid
    return Pass(country, AgeBand(band))
