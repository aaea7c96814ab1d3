"""What staff do with requests: enter post, vouch for its sender, and close what no program can do.

What runs by itself is out of their hands: nobody hurries it, and only a recorded hold stops it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from enum import Enum
from uuid import UUID

from muniment.server.privacy.ports import correct
from muniment.server.privacy.purposes import Purpose, purpose
from muniment.server.privacy.requests.clock import ALARM_DAYS
from muniment.server.privacy.requests.holds import hold_on
from muniment.server.privacy.requests.incoming import take_in
from muniment.server.privacy.requests.machine import (
    WORDS,
    NoSuchRequest,
    fulfil_request,
    open_requests,
    refuse_request,
    verify_request,
)
from muniment.server.privacy.requests.models import Channel, Kind, Request
from muniment.server.privacy.staff import staff_reading
from muniment.server.transactions import writing


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


@purpose(Purpose.REQUESTS)
def queue(*, now: datetime) -> list[Waiting]:
    """Everything open, the most urgent first."""
    return [
        Waiting(
            request=row,
            stage=stage_of(row),
            is_held=bool(_hold_on(row, now=now)),
            is_of_account=row.subject_id is not None,
            alarm=ALARM_DAYS[min(row.alarms, len(ALARM_DAYS)) - 1] if row.alarms else 0,
        )
        for row in open_requests()
    ]


def read_letter(ref: UUID, *, reason: str, now: datetime) -> Letter:
    """For staff, who say why; the person sees it in the ledger. Raises NoSuchRequest, ReasonMissing."""
    with purpose(Purpose.REQUESTS):
        row = Request.objects.select_related("subject").filter(ref=ref, closed_at=None).first()
        subject = None if row is None else row.subject
    if row is None:
        raise NoSuchRequest
    with staff_reading(Purpose.REQUESTS, reason=reason, subject=subject, about=row.ref.hex, now=now):
        return Letter(row.email, str(row.details.get(WORDS, "")), _hold_on(row, now=now))


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


def _hold_on(row: Request, *, now: datetime) -> str:
    if row.subject_id is None or row.kind != Kind.ERASE:
        return ""
    return hold_on(row.subject_id, now=now) or ""


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
