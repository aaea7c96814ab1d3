"""What staff do with requests: enter post, vouch for its sender, and close what no program can do.

What runs by itself is out of their hands: nobody hurries it, and only a recorded hold stops it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from enum import Enum
from uuid import UUID

from django.db.models import Q, QuerySet

from muniment.server.privacy.ports import correct
from muniment.server.privacy.purposes import Purpose, purpose
from muniment.server.privacy.requests.clock import ALARM_DAYS
from muniment.server.privacy.requests.holds import hold_on, people_on_hold
from muniment.server.privacy.requests.incoming import take_in
from muniment.server.privacy.requests.machine import (
    WORDS,
    NoSuchRequest,
    fulfil_request,
    refuse_request,
    verify_request,
)
from muniment.server.privacy.requests.models import Channel, Kind, Request, TakenIn
from muniment.server.privacy.staff import staff_reading
from muniment.server.transactions import writing

AT_ONCE = 100
"""Lines on one page."""
_MOST_PAGES = 1_000_000


class Stage(Enum):
    """What an open request waits for."""

    SENDER = "its sender to use the mailed link"
    LETTER = "its sender to use the mailed link, or for you to compare the letter with what we know"
    ITSELF = "its time: it runs by itself"
    STAFF = "you"


class NotForStaff(Exception):
    """It runs by itself, or nobody knows yet whom it is from."""


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
    found = list(rows.filter(closed_at=None).order_by("due", "id")[first : first + AT_ONCE + 1])
    held = set(people_on_hold(now=now))
    lines = [
        Waiting(
            request=row,
            stage=stage_of(row),
            is_held=row.kind == Kind.ERASE and row.subject_id in held,
            is_of_account=row.subject_id is not None,
            alarm=ALARM_DAYS[min(row.alarms, len(ALARM_DAYS)) - 1] if row.alarms else 0,
        )
        for row in found[:AT_ONCE]
    ]
    return Listed(lines, page, len(found) > AT_ONCE)


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
    if row.verified_at is None:
        return Stage.LETTER if row.channel == Channel.POST else Stage.SENDER
    return Stage.STAFF if row.runs_at is None else Stage.ITSELF


@purpose(Purpose.REQUESTS)
def enter_post(kind: Kind, *, email: str, received: date, details: Mapping[str, str], now: datetime) -> UUID:
    """A letter that came on the day `received`. Where it names an address, a link goes there.

    ValueError: the day lies ahead, or so far back that the answer was due already.
    """
    with writing():
        return take_in(
            kind, channel=Channel.POST, email=email, now=now, details=details,
            received_at=datetime.combine(received, time(), UTC),
        )  # fmt: skip


@purpose(Purpose.REQUESTS)
def vouch_for(ref: UUID, *, now: datetime) -> None:
    """Somebody compared the letter with what we know. Raises NoSuchRequest; NotForStaff: it was no letter."""
    with writing():
        if stage_of(_found(ref)) is not Stage.LETTER:
            raise NotForStaff
        verify_request(ref, now=now, by_staff=True)


@purpose(Purpose.REQUESTS)
def carry_out(ref: UUID, *, changes: Mapping[str, str], now: datetime) -> None:
    """Close it as done; of a correction, with what is to be changed.

    Raises NoSuchRequest, NotForStaff; ValueError: what cannot be changed.
    """
    with writing():
        row = _for_staff(ref)
        if row.kind == Kind.RECTIFY and row.subject_id is not None:
            if not changes:
                raise ValueError("say what is corrected, and to what")
            correct(row.subject_id, changes, now=now)
        fulfil_request(ref, now=now)


@purpose(Purpose.REQUESTS)
def turn_down(ref: UUID, *, reason: str, now: datetime) -> None:
    """Tell the person why not. Raises NoSuchRequest, NotForStaff; ValueError: no reason."""
    with writing():
        _for_staff(ref)
        refuse_request(ref, reason=reason, now=now)


def _for_staff(ref: UUID) -> Request:
    row = _found(ref)
    if stage_of(row) is not Stage.STAFF:
        raise NotForStaff
    return row


def _found(ref: UUID) -> Request:
    row = Request.objects.select_for_update().filter(ref=ref, closed_at=None).first()
    if row is None:
        raise NoSuchRequest
    return row
