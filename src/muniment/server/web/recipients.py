"""Whom pages may load from besides us: only a recipient that the gate allows for the person who asks.

The content security policy is made of the same table as everything else that leaves. Where it names no
recipient with origins, which is how a release ships, every page has the policy that names us alone.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from muniment.server.privacy.gate.decide import Ask, SubjectFacts, decide
from muniment.server.privacy.signals import Signals
from muniment.server.privacy.statement import Statement, read_statement
from muniment.server.privacy.terms import Basis
from muniment.server.web.choices import consents_of
from muniment.server.web.context import now
from muniment.server.web.csp import WIDENED, Sources
from muniment.server.web.middleware import Answer


def sources_of(statement: Statement, subject: SubjectFacts, *, signals: Signals, now: datetime) -> Sources:
    """Origins that pages for this person may load from. What is loaded learns who loads it: so each needs a
    yes of the person's own, whatever else the recipient may be sent without one."""
    origins: set[str] = set()
    for recipient in statement.recipients.values():
        for name in recipient.purposes if recipient.origins else ():
            purpose = statement.purposes.get(name)
            ask = Ask(name, recipient.name, recipient.fields, subject, now, signals)
            if purpose and purpose.basis is Basis.CONSENT and decide(statement, ask).allow:
                origins |= recipient.origins
    return {directive: sorted(origins) for directive in WIDENED} if origins else {}


def admit_recipients(answer: Answer) -> Answer:
    """`request.content_sources`, for `middleware.protect`. Inside of who is signed in."""

    def admitted(request: HttpRequest) -> HttpResponseBase:
        statement = read_statement()
        if any(recipient.origins for recipient in statement.recipients.values()):
            sources = sources_of(statement, _facts_of(request), signals=request.signals, now=now())  # type: ignore[attr-defined]
            request.content_sources = sources  # type: ignore[attr-defined]
        return answer(request)

    return admitted


def _facts_of(request: HttpRequest) -> SubjectFacts:
    """Of a browser that nobody signed in on nothing is known, not even that somebody is of age."""
    account: Any = getattr(request, "user", None)
    is_adult = bool(account and account.is_authenticated and account.age_band == "adult")
    region = read_statement().regions.get(settings.REGION)
    country = region.country if region else ""
    return SubjectFacts(country=country, is_adult=is_adult, consents=consents_of(request))
