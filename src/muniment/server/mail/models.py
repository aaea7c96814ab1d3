"""Rows of mail: what is still to be sent (or stands in the mailbox), and who wants nothing more."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from muniment.server.privacy.registry import ByAddress, Erase, Placement, acted, personal, public

Field = TypeVar("Field", bound="models.Field[Any, Any]")


def _letter(field: Field) -> Field:
    return personal(
        field, category="correspondence", purposes=("service_mail",), keep="mail", erase=Erase.DELETE
    )


class Mail(models.Model):
    """A message from when it was caused until it is sent. Without a mail server it stays: the mailbox."""

    subject_path: ClassVar[str] = "account"
    placement: ClassVar[Placement] = Placement.REGION
    ended: ClassVar[dict[str, tuple[str, ...]]] = {"mail": ("queued_at",)}
    by_address: ClassVar[ByAddress] = ByAddress("to")

    id = public(models.BigAutoField(primary_key=True), why="a row number, meaningless outside this database")
    account = _letter(
        models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, related_name="+")
    )
    # Who had it sent to somebody else: it goes with their account. Not theirs to read: links are in it.
    caused_by = _letter(
        models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, related_name="+")
    )
    to = _letter(models.EmailField())
    message = _letter(models.CharField(max_length=60))
    message_class = _letter(models.CharField(max_length=15))
    subject = _letter(models.CharField(max_length=200))
    text = _letter(models.TextField())
    # What takes the recipient off the list; empty for service mail.
    unsubscribe = _letter(models.CharField(max_length=500, blank=True))
    queued_at = _letter(models.DateTimeField())
    tries = public(models.SmallIntegerField(default=0), why="how often a mail server refused")
    next_at = public(models.DateTimeField(), why="when it is tried again")

    class Meta:
        indexes: ClassVar = [models.Index(fields=["next_at"], name="mail_by_turn")]


class LetterClass(models.TextChoices):
    """The classes of messages that people must have asked for."""

    ANNOUNCEMENT = "announcement", "News: new features and events"
    PROMOTION = "promotion", "Offers"
    SURVEY = "survey", "Surveys: questions about how we do"


_SAME_FOR_ALL = "the operator's own words, the same for everybody who asked for them"
_OURS = "when we did something for everybody at once"


class Letter(models.Model):
    """What the operator writes to everybody who asked for its class; nobody's name is in it.

    To whom it went is not kept here: mails wait until they are sent, and each person's ledger has theirs.
    """

    subject_path: ClassVar[str] = ""
    placement: ClassVar[Placement] = Placement.REGION

    id = public(models.BigAutoField(primary_key=True), why="a row number, meaningless outside this database")
    ref = public(models.UUIDField(unique=True, editable=False), why="a random name for the row")
    message_class = public(models.CharField(max_length=15, choices=LetterClass), why=_SAME_FOR_ALL)
    title = public(models.CharField(max_length=150), why=_SAME_FOR_ALL)
    text = public(models.TextField(), why=_SAME_FOR_ALL)
    written_at = public(models.DateTimeField(), why=_OURS)
    # Both are empty once the account of who did is gone.
    written_by = acted()
    approved_at = public(models.DateTimeField(null=True), why=_OURS)
    approved_by = acted()
    # Accounts up to this row had their turn.
    reached = public(
        models.BigIntegerField(default=0),
        why="how far sending came; it went to some on the way, and not to others",
    )
    queued = public(models.BigIntegerField(default=0), why="a total: nothing in it tells who")
    ended_at = public(models.DateTimeField(null=True), why=_OURS)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=~Q(approved_by=F("written_by")), name="letter_of_two_people"),
            models.CheckConstraint(
                condition=Q(approved_at__isnull=False) | Q(ended_at=None, queued=0, reached=0),
                name="letter_waits_for_approval",
            ),
            models.CheckConstraint(
                condition=Q(message_class__in=("announcement", "promotion", "survey")),
                name="letter_of_a_class_people_ask_for",
            ),
        ]


class Stuck(models.Model):
    """A message in the operator's mailbox that could not be taken in, and how often that was tried."""

    subject_path: ClassVar[str] = ""
    placement: ClassVar[Placement] = Placement.REGION

    id = public(models.BigAutoField(primary_key=True), why="a row number, meaningless outside this database")
    mail = public(
        models.BinaryField(max_length=32, unique=True),
        why="a keyed hash: it recognises a mail that is tried again, and tells nothing of it",
    )
    tries = public(models.SmallIntegerField(), why="how often it could not be taken in")
    at = public(models.DateTimeField(), why="when that was tried last")


class Unreachable(models.Model):
    """An address from which mails came back: a keyed hash recognises it, and can tell it to nobody."""

    subject_path: ClassVar[str] = ""
    placement: ClassVar[Placement] = Placement.REGION

    id = public(models.BigAutoField(primary_key=True), why="a row number, meaningless outside this database")
    address = public(
        models.BinaryField(max_length=16, unique=True),
        why="a keyed hash: it recognises an address that somebody gives, and names none",
    )
    at = public(models.DateTimeField(), why="when a mail to an address that nobody can read came back")


class Suppression(models.Model):
    """An address that wants no marketing: a keyed hash recognises it, and can tell it to nobody."""

    subject_path: ClassVar[str] = ""
    placement: ClassVar[Placement] = Placement.REGION

    id = public(models.BigAutoField(primary_key=True), why="a row number, meaningless outside this database")
    address = public(
        models.BinaryField(max_length=32, unique=True),
        why="a keyed hash: it recognises an address that somebody gives, and names none",
    )
    at = public(models.DateTimeField(), why="when an address that nobody can read was added")
