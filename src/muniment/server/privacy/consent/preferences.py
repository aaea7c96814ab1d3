"""What somebody can decide, as the preference centre shows it, and what keeping a form of it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from muniment.server.privacy.consent.choices import Subject, choose, events_of, last_said, snapshot
from muniment.server.privacy.consent.effect import State
from muniment.server.privacy.consent.models import ConsentEvent
from muniment.server.privacy.consent.notices import Notice, notice_for
from muniment.server.privacy.statement import read_statement
from muniment.server.privacy.terms import Purpose
from muniment.server.transactions import writing

NAMED = "named_sharing"
_PER_RECIPIENT = frozenset({NAMED, "channel_partner"})
"""Granted to one recipient at a time, where that recipient is named; here they can only be taken back."""
METHOD = "page /preferences"


class Group(Enum):
    """What a purpose is about, as people sort it; in the order of the page."""

    MAILS = "Mails"
    PAGES = "Our pages"
    OTHERS = "Others"


_MAILS = frozenset({"announcement", "promotion", "survey", "measure_email"})
_OTHERS = frozenset({"advertise", "affiliate_offers"})


class NoSuchGrant(Exception):
    """Nothing of the kind stands."""


@dataclass(frozen=True, slots=True)
class Preference:
    """One purpose that rests on consent. `said` is what was chosen; `holds` is what follows from it now."""

    purpose: Purpose
    notice: Notice
    said: State | None
    holds: bool

    @property
    def group(self) -> Group:
        if self.purpose.name in _MAILS:
            return Group.MAILS
        return Group.OTHERS if self.purpose.name in _OTHERS else Group.PAGES

    @property
    def is_held_back(self) -> bool:
        """Somebody said yes, and the browser's signal says no."""
        return self.said is State.GRANTED and not self.holds


@dataclass(frozen=True, slots=True)
class Grant:
    """A yes for one recipient."""

    purpose: Purpose
    recipient: str
    event: ConsentEvent


def preferences_of(subject: Subject, *, gpc: bool, now: datetime) -> list[Preference]:
    """Every purpose that an account is asked about, in the order of the statement."""
    said, allowed = last_said(subject), snapshot(subject, now)
    return [
        Preference(
            purpose,
            notice_for(purpose, gpc=gpc),
            said.get((purpose.name, "")),
            allowed.allows(purpose.name, gpc=gpc),
        )
        for purpose in read_statement().consent_purposes
        if purpose.name not in _PER_RECIPIENT
    ]


def grants_of(subject: Subject, now: datetime) -> list[Grant]:
    """What stands for single recipients."""
    purposes = read_statement().purposes
    granted = sorted(snapshot(subject, now).granted)
    last = {(event.purpose, event.recipient): event for event in reversed(events_of(subject))}
    return [
        Grant(purposes[name], recipient, last[name, recipient]) for name, recipient in granted if recipient
    ]


def keep_preferences(subject: Subject, answers: Mapping[str, State], *, gpc: bool, now: datetime) -> None:
    """Keep what was answered; what was left open stays as it is, and what nobody is asked is ignored."""
    with writing():
        for preference in preferences_of(subject, gpc=gpc, now=now):
            name, notice = preference.purpose.name, preference.notice
            if name in answers:
                choose(
                    subject,
                    name,
                    answers[name],
                    notice=notice,
                    method=METHOD,
                    now=now,
                    mentions_gpc=notice.mentions_gpc,
                )


def withdraw_grant(subject: Subject, *, purpose: str, recipient: str, now: datetime) -> None:
    """Take back what was granted to one recipient. Raises NoSuchGrant."""
    if (purpose, recipient) not in snapshot(subject, now).granted or not recipient:
        raise NoSuchGrant
    notice = Notice(read_statement().purposes[purpose].text)
    with writing():
        choose(subject, purpose, State.WITHDRAWN, notice=notice, method=METHOD, now=now, recipient=recipient)


def event_of(subject: Subject, entry: int) -> ConsentEvent | None:
    """What the subject said that has this entry of the ledger."""
    return next((event for event in events_of(subject) if event.entry == entry), None)
