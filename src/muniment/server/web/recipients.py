"""Whom pages may load from besides us: only a recipient that the gate allows for the person who asks.

The content security policy is made of the same table as everything else that leaves. Where it names no
recipient with origins, which is how a release ships, every page has the policy that names us alone.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from django.db import DatabaseError
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from muniment.server.privacy.gate.decide import Ask, SubjectFacts, decide
from muniment.server.privacy.gate.facts import facts_of
from muniment.server.privacy.operator import read_operator
from muniment.server.privacy.signals import Signals
from muniment.server.privacy.statement import Statement
from muniment.server.privacy.terms import Basis
from muniment.server.privacy.versions.acceptance import held_by
from muniment.server.privacy.versions.in_force import statement_in_force
from muniment.server.web.choices import consents_of
from muniment.server.web.context import NotDeployed, deployment, now
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
        answered = answer(request)
        if answered.headers.get("Content-Type", "").startswith("text/html") and _is_anybody_loaded():
            statement = held_by(getattr(request, "user", None), now()).statement
            sources = sources_of(statement, _facts_of(request), signals=request.signals, now=now())  # type: ignore[attr-defined]
            request.content_sources = sources  # type: ignore[attr-defined]
        return answered

    return admitted


def _is_anybody_loaded() -> bool:
    """Whether anybody is declared. Nobody, where the database does not answer: errors are pages too."""
    try:
        held = statement_in_force(now())
    except (DatabaseError, NotDeployed):
        return False
    return any(recipient.origins for recipient in held.recipients.values())


def _facts_of(request: HttpRequest) -> SubjectFacts:
    """Of a browser that nobody signed in on nothing is known, not even that somebody is of age."""
    account: Any = getattr(request, "user", None)
    country, said = read_operator(deployment().config.data).country, consents_of(request)
    if account is None or not account.is_authenticated:
        return SubjectFacts(country=country, is_adult=False, consents=said)
    return replace(facts_of(account, country=country, now=now()), consents=said)
