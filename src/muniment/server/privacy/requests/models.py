"""Rows of requests. What the law counts is held by the database itself: ten days, an outcome, a reason."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, TypeVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from muniment.server.privacy.registry import ByAddress, Erase, Placement, acted, personal, public

Field = TypeVar("Field", bound="models.Field[Any, Any]")

DUE_AFTER = timedelta(days=10)
"""From receipt, on whatever channel, to the outcome."""

_ROW = "a row number, meaningless outside this database"


_NAMELESS = "of a request that names nobody once the columns beside it are empty"


def _asked(field: Field) -> Field:
    return personal(
        field, category="correspondence", purposes=("requests",), keep="request", erase=Erase.CLEAR
    )


def _held(field: Field) -> Field:
    return personal(
        field, category="correspondence", purposes=("requests",), keep="account", erase=Erase.DELETE
    )


class Kind(models.TextChoices):
    """What somebody asks for."""

    ACCESS = "access", "See what is held"
    EXPORT = "export", "Take it away"
    RECTIFY = "rectify", "Correct it"
    ERASE = "erase", "Delete it"
    RESTRICT = "restrict", "Stop using it for now"
    OBJECT = "object", "Object to a use"
    PUBLIC_REMOVAL = "public_removal", "Remove what is public"


class Channel(models.TextChoices):
    """The way it came."""

    PAGE = "page"
    MAIL = "mail"
    POST = "post"


class Outcome(models.TextChoices):
    OPEN = "", "open"
    DONE = "done"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn", "taken back"
    LAPSED = "lapsed", "never verified"


class Request(models.Model):
    """One request. `verified_at` says that it is known to come from the person it is about."""

    subject_path: ClassVar[str] = "subject"
    placement: ClassVar[Placement] = Placement.REGION
    ended: ClassVar[dict[str, tuple[str, ...]]] = {"request": ("closed_at",)}
    by_address: ClassVar[ByAddress] = ByAddress("email", empties=("email", "details", "reason"))
    # What an erasure puts where emptying is not enough: a refusal always has a reason.
    cleared: ClassVar[dict[str, str]] = {"reason": "forgotten with the person"}

    id = public(models.BigAutoField(primary_key=True), why=_ROW)
    ref = public(models.UUIDField(unique=True, editable=False), why="a random name for the row")
    # Empty for somebody without an account, and once the account is gone.
    subject = _asked(
        models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    )
    kind = public(models.CharField(max_length=20, choices=Kind), why=_NAMELESS)
    channel = public(models.CharField(max_length=10, choices=Channel), why=_NAMELESS)
    # Where the outcome is sent; emptied when the request is closed.
    email = _asked(models.EmailField(blank=True))
    details = _asked(models.JSONField(default=dict))
    # Seconds since the epoch: the database compares them without knowing what a day is.
    received = public(models.BigIntegerField(), why=_NAMELESS)
    due = public(models.BigIntegerField(), why=_NAMELESS)
    verified_at = public(models.DateTimeField(null=True), why=_NAMELESS)
    # From then on it runs by itself, and an erasure cannot be taken back.
    runs_at = public(models.DateTimeField(null=True), why=_NAMELESS)
    alarms = public(models.SmallIntegerField(default=0), why=_NAMELESS)
    outcome = public(
        models.CharField(max_length=10, choices=Outcome, blank=True, default=Outcome.OPEN), why=_NAMELESS
    )
    reason = _asked(models.TextField(blank=True))
    closed_at = public(models.DateTimeField(null=True), why=_NAMELESS)
    # Staff, where they did it: who took the letter in, who compared it, who carried out or refused.
    entered_by = acted()
    vouched_by = acted()
    closed_by = acted()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=~Q(vouched_by=F("entered_by")), name="vouched_by_another"),
            models.CheckConstraint(
                condition=Q(due__lte=F("received") + int(DUE_AFTER.total_seconds())), name="due_in_ten_days"
            ),
            models.CheckConstraint(
                condition=Q(closed_at__isnull=True, outcome="")
                | (Q(closed_at__isnull=False) & ~Q(outcome="")),
                name="closed_with_outcome",
            ),
            models.CheckConstraint(condition=~Q(outcome="refused", reason=""), name="refused_with_reason"),
        ]
        indexes: ClassVar = [models.Index(fields=["closed_at", "due"], name="requests_by_due")]

    @property
    def received_at(self) -> datetime:
        return datetime.fromtimestamp(self.received, UTC)

    @property
    def due_at(self) -> datetime:
        return datetime.fromtimestamp(self.due, UTC)


class TakenIn(models.Model):
    """A mail that a request came in, so that it is one request however often it is handed over."""

    subject_path: ClassVar[str] = ""
    placement: ClassVar[Placement] = Placement.REGION

    id = public(models.BigAutoField(primary_key=True), why=_ROW)
    mail = public(
        models.BinaryField(max_length=32, unique=True),
        why="a keyed hash: it recognises a mail that is handed over again, and tells nothing of it",
    )
    request = public(
        models.ForeignKey(Request, null=True, on_delete=models.CASCADE, related_name="+"),
        why="a row number, of a request that names nobody once it is closed; none where nobody was answered",
    )
    at = public(models.DateTimeField(), why="when a mail that nobody can read was taken in")


class Restriction(models.Model):
    """What a person does not want done: everything but keeping it (`purpose` empty), or one purpose."""

    subject_path: ClassVar[str] = "subject"
    placement: ClassVar[Placement] = Placement.REGION

    id = public(models.BigAutoField(primary_key=True), why=_ROW)
    subject = _held(models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+"))
    purpose = _held(models.CharField(max_length=40, blank=True))
    begun_at = _held(models.DateTimeField())
    ended_at = _held(models.DateTimeField(null=True))


class Hold(models.Model):
    """What the law makes us keep of one person, for a reason and a time. Nothing else stops a request."""

    subject_path: ClassVar[str] = "subject"
    placement: ClassVar[Placement] = Placement.REGION

    id = public(models.BigAutoField(primary_key=True), why=_ROW)
    subject = _held(models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+"))
    reason = _held(models.TextField())
    begins_at = _held(models.DateTimeField())
    ends_at = _held(models.DateTimeField())

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(ends_at__gt=F("begins_at")), name="hold_ends"),
            models.CheckConstraint(condition=~Q(reason=""), name="hold_has_reason"),
        ]


class Erasure(models.Model):
    """An erasure under way or done. After it nothing here says whose it was."""

    subject_path: ClassVar[str] = "subject"
    placement: ClassVar[Placement] = Placement.REGION
    ended: ClassVar[dict[str, tuple[str, ...]]] = {"request": ("done_at",)}

    id = public(models.BigAutoField(primary_key=True), why=_ROW)
    request = public(
        models.OneToOneField(Request, on_delete=models.PROTECT, related_name="erasure"),
        why="a row number, of a request that names nobody any more",
    )
    subject = _asked(
        models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    )
    person = public(models.BigIntegerField(), why="a row number that is never used again")
    begun_at = public(models.DateTimeField(), why="when an erasure that names nobody began")
    deleted = public(models.JSONField(default=dict), why="counts of deleted rows and objects, by table")
    done_at = public(models.DateTimeField(null=True), why="when an erasure that names nobody was complete")
    entry = public(models.BigIntegerField(null=True), why="the number of the ledger's entry: the receipt")
