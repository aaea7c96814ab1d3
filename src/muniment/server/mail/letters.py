"""Letters to people who asked for news, offers or surveys: written by one of staff, approved by another.

    write ──▶ approve, by somebody else ──▶ send_letters (every ten minutes) ──▶ mails, which `delivery` sends
      └─▶ take_back, until then

Whom a letter goes to nobody chooses: everybody who said yes to its class. `send` decides about each of them
when their mail is queued, and delivery asks again when it goes out. Staff see numbers, never who.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID, uuid4

from django.contrib.auth import get_user_model
from django.db.models import F

from muniment.server.deployment import Deployment
from muniment.server.mail.messages import Message
from muniment.server.mail.models import Letter, LetterClass
from muniment.server.mail.send import send
from muniment.server.privacy.consent.counted import yeses
from muniment.server.privacy.holding import hold_person
from muniment.server.privacy.statement import read_statement
from muniment.server.privacy.terms import MessageClass
from muniment.server.transactions import writing

_AT_ONCE = 20
"""People in one transaction, which keeps every other writer waiting."""
_MOST_SHOWN = 100


@dataclass(frozen=True)
class _LetterMessage(Message):
    """Its subject is its own."""

    title: str
    text: str
    path: str = "/preferences"

    @property
    def headline(self) -> str:
        return self.title


@dataclass(frozen=True)
class Announcement(_LetterMessage):
    message_class: ClassVar[MessageClass] = MessageClass.ANNOUNCEMENT
    template: ClassVar[str] = "mail/mail/announcement.txt"


@dataclass(frozen=True)
class Promotion(_LetterMessage):
    message_class: ClassVar[MessageClass] = MessageClass.PROMOTION
    template: ClassVar[str] = "mail/mail/promotion.txt"


@dataclass(frozen=True)
class Survey(_LetterMessage):
    message_class: ClassVar[MessageClass] = MessageClass.SURVEY
    template: ClassVar[str] = "mail/mail/survey.txt"


_MESSAGES: dict[str, type[_LetterMessage]] = {
    LetterClass.ANNOUNCEMENT: Announcement,
    LetterClass.PROMOTION: Promotion,
    LetterClass.SURVEY: Survey,
}


class NoSuchLetter(LookupError):
    """None of that name was written, or it was taken back."""


class NeedsAnother(Exception):
    """Who wrote a letter does not approve it, too: it takes two people, as orders do."""


class AlreadyApproved(Exception):
    """It goes out, and cannot be taken back."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A class, and how many people asked for it. Those whose mails come back are among them."""

    title: str
    people: int


@dataclass(frozen=True, slots=True)
class LettersSeen:
    """What staff see: letters that are not sent yet first, then the newest."""

    asked: tuple[Asked, ...]
    letters: tuple[Letter, ...]


def write(message_class: LetterClass, *, title: str, text: str, by: Any, now: datetime) -> UUID:
    """Durable when it returns. ValueError: it lacks words, or its subject has more than one line."""
    title, text = title.strip(), "\n".join(text.strip().splitlines())
    if not title or not text or not title.isprintable():
        raise ValueError("a letter has a subject of one line, and a text")
    with writing():
        row = Letter.objects.create(
            ref=uuid4(), message_class=message_class, title=title, text=text, written_at=now, written_by=by
        )
    return row.ref


def approve(ref: UUID, *, by: Any, now: datetime) -> None:
    """From now on it goes out; again changes nothing. Raises NoSuchLetter, NeedsAnother."""
    with writing():
        hold_person(by.pk)  # first: who erases them holds them, and then takes their name off letters
        letter = _locked(ref)
        if letter.written_by_id == by.pk:
            raise NeedsAnother
        if letter.approved_at is None:
            Letter.objects.filter(pk=letter.pk).update(approved_at=now, approved_by=by)


def take_back(ref: UUID) -> None:
    """It is gone, and went to nobody. Raises NoSuchLetter, AlreadyApproved."""
    with writing():
        letter = _locked(ref)
        if letter.approved_at is not None:
            raise AlreadyApproved
        letter.delete()


def send_letters(deployment: Deployment) -> int:
    """Queue what was approved for everybody who asked for it; returns how many mails that made."""
    made = 0
    approved = Letter.objects.filter(approved_at__isnull=False, ended_at=None).order_by("pk")
    for key in list(approved.values_list("pk", flat=True)):
        while (queued := _queue_next(key, now=deployment.now())) is not None:
            made += queued
    return made


def read_letters(*, now: datetime) -> LettersSeen:
    unsent_first = Letter.objects.order_by(F("ended_at").desc(nulls_first=True), "-pk")
    return LettersSeen(
        asked=tuple(Asked(each.label, yeses(_purpose_of(each), now=now).count()) for each in LetterClass),
        letters=tuple(unsent_first[:_MOST_SHOWN]),
    )


def _queue_next(key: int, *, now: datetime) -> int | None:
    """How many of the next people it was queued for; None once everybody had their turn.

    How far it came moves in the transaction that queues their mails: who kills us makes nobody get it twice.
    """
    with writing():
        letter = Letter.objects.filter(pk=key, ended_at=None).first()
        if letter is None:
            return None
        people = _next_people(letter, now=now)
        # After the accounts: who erases one of them holds it, and then takes its name off letters.
        rows = Letter.objects.select_for_update(no_key=True)
        if rows.filter(pk=key, reached=letter.reached, ended_at=None).first() is None:
            return 0  # another process was faster: these people had their turn
        message = _MESSAGES[letter.message_class](letter.title, letter.text)
        queued = sum(send(message, to=person, now=now) for person in people)
        is_last = len(people) < _AT_ONCE
        Letter.objects.filter(pk=key).update(
            reached=people[-1].pk if people else letter.reached,
            queued=letter.queued + queued,
            ended_at=now if is_last else None,
        )
    return queued


def _next_people(letter: Letter, *, now: datetime) -> list[Any]:
    """Only who said yes is looked at, and `send` looks at more than that."""
    said_yes = yeses(_purpose_of(letter.message_class), now=now).values("subject")
    accounts = get_user_model()._default_manager.select_for_update(no_key=True)
    return list(accounts.filter(pk__gt=letter.reached, pk__in=said_yes).order_by("pk")[:_AT_ONCE])


def _purpose_of(message_class: str) -> str:
    return read_statement().messages[MessageClass(message_class)].purpose


def _locked(ref: UUID) -> Letter:
    """Only inside `writing()`."""
    letter = Letter.objects.select_for_update().filter(ref=ref).first()
    if letter is None:
        raise NoSuchLetter(ref)
    return letter
