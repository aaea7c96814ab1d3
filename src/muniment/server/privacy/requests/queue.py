"""What staff do with requests: enter post, vouch for its sender, and close what no program can do.

What runs by itself is out of their hands: nobody hurries it, and only a recorded hold stops it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from muniment.server.privacy.ports import correct
from muniment.server.privacy.purposes import Purpose, purpose
from muniment.server.privacy.requests.clock import ALARM_DAYS
from muniment.server.privacy.requests.holds import hold_on, people_on_hold
from muniment.server.privacy.requests.incoming import mail_link, take_in
from muniment.server.privacy.requests.machine import (
    WORDS,
    NoSuchRequest,
    account_of,
    fulfil_request,
    refuse_request,
    says_whose,
    verify_request,
)
from muniment.server.privacy.requests.models import Channel, Kind, Request, TakenIn
from muniment.server.privacy.staff import staff_reading
from muniment.server.transactions import writing

AT_ONCE = 100
"""Lines on one page."""
_MOST_PAGES = 1_000_000
_LATELY = timedelta(days=90)
_DID = {"entered_by": "Entered", "vouched_by": "Compared", "closed_by": "Closed"}


class Stage(Enum):
    """What an open request waits for."""

    SENDER = "its sender to use the mailed link"
    LETTER = "its sender to use the mailed link, or for you to compare the letter with what we know"
    NAMELESS = "you to say whose account it is about"
    ITSELF = "its time: it runs by itself"
    STAFF = "you"


class NotForStaff(Exception):
    """It runs by itself, or nobody knows yet whom it is from."""


class OwnLetter(Exception):
    """Who entered a letter does not vouch for it: nobody makes up a person's request alone."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One line of the queue: nothing of what somebody wrote, nor who it was."""

    request: Request
    stage: Stage
    is_held: bool
    """A hold keeps it from running."""
    is_of_account: bool
    alarm: int
    """The day of its last alarm; 0 where none went off."""
    did: tuple[tuple[str, str], ...]
    """What staff did, and the address of who did it; without those whose account is gone."""


@dataclass(frozen=True, slots=True)
class Letter:
    """What one request says, for whoever has to answer it. Empty is what there is not."""

    email: str
    words: str
    held: str
    """The reason of a hold that keeps it from running."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One page of a list, the most urgent first."""

    lines: list[Waiting]
    page: int
    has_more: bool
    unanswered: int = 0
    """Of ninety days, mails beside these: the address on each was sent links enough for that day."""


_FROM_ANYBODY = Q(verified_at=None) & ~Q(channel=Channel.POST)
"""Whoever writes an address into a form makes one: however many there are, they hide nothing else."""


def queue(*, now: datetime, page: int = 1) -> Listed:
    """What is known to come from whom it is about, and letters, which staff entered."""
    return _listed(Request.objects.exclude(_FROM_ANYBODY), page=page, now=now)


def unverified(*, now: datetime, page: int = 1) -> Listed:
    """What waits for its sender alone; after thirty days it lapses."""
    listed = _listed(Request.objects.filter(_FROM_ANYBODY), page=page, now=now)
    return replace(listed, unanswered=TakenIn.objects.filter(request=None).count())


@purpose(Purpose.REQUESTS)
def _listed(rows: QuerySet[Request], *, page: int, now: datetime) -> Listed:
    page = min(max(page, 1), _MOST_PAGES)
    first = (page - 1) * AT_ONCE
    waiting = rows.filter(closed_at=None).select_related("subject", *_DID).order_by("due", "id")
    found = list(waiting[first : first + AT_ONCE + 1])
    held = set(people_on_hold(now=now))
    lines = [
        Waiting(
            request=row,
            stage=stage_of(row),
            is_held=row.kind == Kind.ERASE and row.subject_id in held,
            is_of_account=row.subject_id is not None,
            alarm=ALARM_DAYS[min(row.alarms, len(ALARM_DAYS)) - 1] if row.alarms else 0,
            did=_did(row),
        )
        for row in found[:AT_ONCE]
    ]
    return Listed(lines, page, len(found) > AT_ONCE)


@purpose(Purpose.REQUESTS)
def answered(*, now: datetime) -> list[tuple[Request, tuple[tuple[str, str], ...]]]:
    """What staff decided in the last ninety days, with who did what; the newest first, and a page at most."""
    rows = Request.objects.exclude(closed_by=None).filter(closed_at__gt=now - _LATELY)
    newest = rows.select_related(*_DID).order_by("-closed_at", "-id")[:AT_ONCE]
    return [(row, _did(row)) for row in newest]


def _did(row: Request) -> tuple[tuple[str, str], ...]:
    acts = ((words, getattr(row, name)) for name, words in _DID.items())
    return tuple((words, who.email) for words, who in acts if who is not None)


def read_letter(ref: UUID, *, reason: str, now: datetime) -> Letter:
    """For staff, who say why; the person sees it in the ledger. Raises NoSuchRequest, ReasonMissing."""
    with purpose(Purpose.REQUESTS):
        row = Request.objects.select_related("subject").filter(ref=ref, closed_at=None).first()
        subject = None if row is None else row.subject
    if row is None:
        raise NoSuchRequest
    with staff_reading(Purpose.REQUESTS, reason=reason, subject=subject, about=row.ref.hex, now=now):
        held = row.kind == Kind.ERASE and row.subject_id is not None and hold_on(row.subject_id, now=now)
        return Letter(row.email, str(row.details.get(WORDS, "")), held or "")


def stage_of(row: Request) -> Stage:
    if row.channel == Channel.POST and not says_whose(row):
        return Stage.NAMELESS
    if row.verified_at is None:
        return Stage.LETTER if row.channel == Channel.POST else Stage.SENDER
    return Stage.STAFF if row.runs_at is None else Stage.ITSELF


@purpose(Purpose.REQUESTS)
def enter_post(
    kind: Kind, *, email: str, received: date, details: Mapping[str, str], by: Any, now: datetime
) -> UUID:
    """A letter that came on the day `received`. Where it names an address, a link goes there.

    ValueError: the day lies ahead, or so far back that the answer was due already.
    """
    with writing():
        ref = take_in(
            kind, channel=Channel.POST, email=email, now=now, details=details,
            received_at=datetime.combine(received, time(), UTC),
        )  # fmt: skip
        Request.objects.filter(ref=ref, channel=Channel.POST, entered_by=None).update(entered_by=by)
        return ref


@purpose(Purpose.REQUESTS)
def name_sender(ref: UUID, *, email: str, by: Any, now: datetime) -> None:
    """Say which address the account of a letter has, as it says none that is one's now. A link goes there.

    Whoever names it has entered it, and does not vouch for it. Raises NoSuchRequest; NotForStaff: it has one.
    """
    with writing():
        row = _found(ref)
        if stage_of(row) is not Stage.NAMELESS:
            raise NotForStaff
        row.email, row.entered_by = email.strip().lower(), by
        row.subject = account_of(row.email)
        row.verified_at = row.runs_at = row.vouched_by = None  # before, nobody knew of whom
        row.save(update_fields=["email", "entered_by", "subject", "verified_at", "runs_at", "vouched_by"])
        mail_link(row, now=now)


@purpose(Purpose.REQUESTS)
def vouch_for(ref: UUID, *, by: Any, now: datetime) -> None:
    """Somebody compared the letter with what we know, and somebody else than entered it.

    Raises NoSuchRequest; NotForStaff: it was no letter, or says nobody's address; OwnLetter.
    """
    with writing():
        row = _found(ref)
        if stage_of(row) is not Stage.LETTER:
            raise NotForStaff
        if row.entered_by_id == by.pk:
            raise OwnLetter
        verify_request(ref, now=now, by=by)


@purpose(Purpose.REQUESTS)
def carry_out(ref: UUID, *, changes: Mapping[str, str], by: Any, now: datetime) -> None:
    """Close it as done; of a correction, with what is to be changed.

    Raises NoSuchRequest, NotForStaff; ValueError: what cannot be changed.
    """
    with writing():
        row = _for_staff(ref)
        if row.kind == Kind.RECTIFY and row.subject_id is not None:
            if not changes:
                raise ValueError("say what is corrected, and to what")
            correct(row.subject_id, changes, now=now)
        fulfil_request(ref, now=now, by=by)


@purpose(Purpose.REQUESTS)
def turn_down(ref: UUID, *, reason: str, by: Any, now: datetime) -> None:
    """Tell the person why not. Raises NoSuchRequest, NotForStaff; ValueError: no reason."""
    with writing():
        if stage_of(_found(ref)) not in (Stage.STAFF, Stage.NAMELESS):
            raise NotForStaff
        refuse_request(ref, reason=reason, now=now, by=by)


def _for_staff(ref: UUID) -> Request:
    row = _found(ref)
    if stage_of(row) is not Stage.STAFF:
        raise NotForStaff
    return row


def _found(ref: UUID) -> Request:
    rows = Request.objects.select_for_update(of=("self",)).select_related("subject")
    row = rows.filter(ref=ref, closed_at=None).first()
    if row is None:
        raise NoSuchRequest
    return row
