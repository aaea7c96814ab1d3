"""Saying yes and no, and asking what was said."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from django.db.models import Q, QuerySet

from muniment.server.privacy.consent.effect import (
    EVERY_PURPOSE,
    NOTHING,
    Consents,
    Said,
    State,
    Target,
    consents,
    newest,
)
from muniment.server.privacy.consent.models import ConsentEvent
from muniment.server.privacy.consent.notices import Notice
from muniment.server.privacy.consent.withdrawal import take_away
from muniment.server.privacy.holding import hold_person
from muniment.server.privacy.ledger.entries import record
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.ledger.leaves import Json
from muniment.server.privacy.ports import announce_grant
from muniment.server.privacy.purposes import Purpose, purpose
from muniment.server.privacy.statement import read_statement
from muniment.server.privacy.terms import Basis
from muniment.server.privacy.versions.in_force import in_force
from muniment.server.transactions import writing

_KINDS = {
    State.GRANTED: Kind.CONSENT_GRANTED,
    State.DENIED: Kind.CONSENT_DENIED,
    State.WITHDRAWN: Kind.CONSENT_WITHDRAWN,
    State.SIGNALLED: Kind.SIGNAL_HONOURED,
}
_CLAUSES = {
    "advertise": "P21", "personalise": "P56", "demographics": "P14", "preferences": "P51", "visits": "P61",
    "announcement": "P20", "promotion": "P20", "survey": "P20", "measure_email": "P62",
    "affiliate_offers": "P31", "channel_partner": "P32",
}  # fmt: skip
_OTHERWISE = "P37"
_SIGNAL = "P41"


class NotAsked(Exception):
    """The statement does not rest this purpose on consent, so nobody can be asked for it."""


class _Account(Protocol):
    pk: Any
    ref: UUID


@dataclass(frozen=True, slots=True)
class Subject:
    """Who says it: an account, a browser (the number in its cookie), or somebody signed in, in a browser.

    What is said by somebody signed in is kept with the account. Of both, what was said last counts: a browser
    without an account is only ever asked about what is kept in that browser.
    """

    account: _Account | None = None
    browser: bytes | None = None

    @property
    def is_anybody(self) -> bool:
        return self.account is not None or self.browser is not None


@purpose(Purpose.AGREEMENT)
def choose(
    subject: Subject,
    purpose: str,
    state: State,
    *,
    notice: Notice,
    method: str,
    now: datetime,
    mentions_gpc: bool = False,
    recipient: str = "",
    until: datetime | None = None,
    fields: Collection[str] = (),
) -> int:
    """Keep what was said, and do at once what follows; returns the ledger's entry. Only inside `writing()`.

    A refusal of what was granted is a withdrawal. Saying the same again adds nothing. Raises NotAsked, and
    ValueError where it is claimed that the notice spoke of Global Privacy Control and it did not.
    """
    declared = read_statement().purposes.get(purpose)
    if declared is None or declared.basis is not Basis.CONSENT:
        raise NotAsked(purpose)
    if mentions_gpc and not notice.mentions_gpc:
        raise ValueError("the notice does not speak of Global Privacy Control")
    if subject.account is not None:
        hold_person(subject.account.pk)  # it is recorded first here, and others change their profile first
    kept_with = subject if subject.account is None else Subject(subject.account)
    before = _events(kept_with).filter(purpose=purpose, recipient=recipient).last()
    if state is State.DENIED and before is not None and before.state == State.GRANTED:
        state = State.WITHDRAWN
    if before is not None and _says_the_same(before, state, notice, until, fields):
        return before.entry
    entry = _add(
        subject, (purpose, recipient), state, notice=notice, method=method, now=now, until=until,
        mentions_gpc=mentions_gpc, fields=fields,
    )  # fmt: skip
    if subject.account is not None:
        if state is State.GRANTED:
            announce_grant(subject.account, purpose)
        else:
            take_away(subject.account.pk, purpose=purpose)
    return entry


@purpose(Purpose.AGREEMENT)
def honour_signal(subject: Subject, *, now: datetime) -> int | None:
    """Keep, once for each account, that its browser sent Global Privacy Control. Only inside `writing()`."""
    if subject.account is None:
        return None
    hold_person(subject.account.pk)
    if was_signalled(subject):
        return None
    for declared in read_statement().purposes.values():
        if declared.gpc:
            take_away(subject.account.pk, purpose=declared.name)
    return _add(
        subject, (EVERY_PURPOSE, ""), State.SIGNALLED, notice=Notice(""), method="Sec-GPC", now=now,
        until=None, mentions_gpc=False,
    )  # fmt: skip


def keep_signal(subject: Subject, *, now: datetime) -> None:
    """Honour the signal of somebody signed in, unless that was done before."""
    if subject.account is not None and not was_signalled(subject):
        with writing():
            honour_signal(subject, now=now)


def was_signalled(subject: Subject) -> bool:
    return _events(subject).filter(state=State.SIGNALLED).exists()


def is_granted(subject: Subject, purpose: str, *, gpc: bool, now: datetime, recipient: str = "") -> bool:
    """Whether the subject allows this now. Nothing said means no."""
    return snapshot(subject, now).allows(purpose, recipient=recipient, gpc=gpc)


def snapshot(subject: Subject, now: datetime) -> Consents:
    """All that the subject allows at this moment."""
    if not subject.is_anybody:
        return NOTHING
    refused = [purpose.name for purpose in read_statement().purposes.values() if purpose.gpc]
    return consents(_said(subject), refused_by_gpc=refused, now=now)


def last_said(subject: Subject) -> Mapping[Target, State]:
    """What was last said about each purpose; what is missing was never decided."""
    return newest(_said(subject)) if subject.is_anybody else {}


def events_of(subject: Subject) -> list[ConsentEvent]:
    """All that was said, newest first."""
    return list(_events(subject).order_by("-id"))


def browser_hash(token: bytes) -> bytes:
    """What is kept of the number in a browser's cookie."""
    return hashlib.sha256(token).digest()


def _says_the_same(
    before: ConsentEvent, state: State, notice: Notice, until: datetime | None, fields: Collection[str]
) -> bool:
    said = (before.state, bytes(before.notice), before.until, before.fields)
    return said == (state, notice.digest, until, sorted(fields))


@purpose(Purpose.AGREEMENT)
def _said(subject: Subject) -> list[Said]:
    rows = _events(subject).values_list("purpose", "recipient", "state", "mentions_gpc", "until")
    return [Said((row[0], row[1]), State(row[2]), row[3], row[4]) for row in rows]


def _events(subject: Subject) -> QuerySet[ConsentEvent]:
    whose = Q()
    if subject.account is not None:
        whose |= Q(subject=subject.account.pk)
    if subject.browser is not None:
        whose |= Q(browser=browser_hash(subject.browser))
    return ConsentEvent.objects.filter(whose if subject.is_anybody else Q(pk=None)).order_by("id")


def _add(
    subject: Subject,
    target: Target,
    state: State,
    *,
    notice: Notice,
    method: str,
    now: datetime,
    until: datetime | None,
    mentions_gpc: bool,
    fields: Collection[str] = (),
) -> int:
    purpose, recipient = target
    version = in_force(now).number
    payload: dict[str, Json] = {
        "purpose": purpose, "state": state.value, "notice": notice.digest.hex(), "statement": version,
        "method": method, "mentions_gpc": mentions_gpc,
    }  # fmt: skip
    if recipient:
        payload["recipient"] = recipient
    if until is not None:
        payload["until"] = until.isoformat(timespec="seconds")
    if fields:
        payload["fields"] = sorted(fields)
    if subject.account is not None:
        # Of a browser without an account not even the second is kept in the ledger.
        payload["at"] = now.isoformat(timespec="seconds")
    clause = _SIGNAL if state is State.SIGNALLED else _CLAUSES.get(purpose, _OTHERWISE)
    entry = record(_KINDS[state], clause=clause, payload=payload, now=now, subject=subject.account)
    ConsentEvent.objects.create(
        subject_id=None if subject.account is None else subject.account.pk,
        browser=None if subject.account is not None else browser_hash(subject.browser or b""),
        purpose=purpose, recipient=recipient, state=state.value, notice=notice.digest,
        statement_version=version, method=method, mentions_gpc=mentions_gpc, at=now, until=until, entry=entry,
        fields=sorted(fields),
    )  # fmt: skip
    return entry
