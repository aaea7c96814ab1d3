"""Rows of the register of breaches. The database itself holds the 72 hours, and how one ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, TypeVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from muniment.server.privacy.registry import Erase, Placement, acted, personal, public

Field = TypeVar("Field", bound="models.Field[Any, Any]")

CLOCK = timedelta(hours=72)
"""From noticing it to telling the authority (GDPR, article 33)."""

_ROW = "a row number, meaningless outside this database"
_NAMELESS = "about an event; whom it concerns stands in a table of its own"
_WORDS = "what staff write about an event; they are asked to name nobody"


def _affected(field: Field) -> Field:
    return personal(field, category="record", purposes=("breach",), keep="account", erase=Erase.DELETE)


class Risk(models.TextChoices):
    """What it may do to people; from it follows who has to be told."""

    UNJUDGED = "", "not judged yet"
    NONE = "none", "unlikely to harm anybody"
    SOME = "some", "may harm people: the authority is told"
    HIGH = "high", "likely to harm people badly: the authority and they are told"


class Breach(models.Model):
    """One time that data got out, was lost, or was changed by somebody who should not."""

    subject_path: ClassVar[str] = ""
    placement: ClassVar[Placement] = Placement.REGION

    id = public(models.BigAutoField(primary_key=True), why=_ROW)
    ref = public(models.UUIDField(unique=True, editable=False), why="a random name for the row")
    happened = public(models.TextField(), why=_WORDS)
    # Seconds since the epoch: the database compares them without knowing what an hour is.
    noticed = public(models.BigIntegerField(), why=_NAMELESS)
    due = public(models.BigIntegerField(), why=_NAMELESS)
    opened_at = public(models.DateTimeField(), why=_NAMELESS)
    # Every account that there was when it was entered; otherwise those named in `Affected`.
    everybody = public(models.BooleanField(default=False), why=_NAMELESS)
    categories = public(models.JSONField(default=list), why="names of categories of the statement")
    risk = public(
        models.CharField(max_length=4, choices=Risk, blank=True, default=Risk.UNJUDGED), why=_NAMELESS
    )
    consequences = public(models.TextField(blank=True, default=""), why=_WORDS)
    measures = public(models.TextField(blank=True, default=""), why=_WORDS)
    alarms = public(models.SmallIntegerField(default=0), why=_NAMELESS)
    # When the authority was told, which one, and why not in time.
    reported = public(models.BigIntegerField(null=True), why=_NAMELESS)
    authority = public(
        models.CharField(max_length=300, blank=True, default=""), why="an authority, no person"
    )
    why_late = public(models.TextField(blank=True, default=""), why=_WORDS)
    # When nobody was left who had to be told and was not.
    told_at = public(models.DateTimeField(null=True), why=_NAMELESS)
    outcome = public(models.TextField(blank=True, default=""), why=_WORDS)
    closed_at = public(models.DateTimeField(null=True), why=_NAMELESS)
    # Staff; empty where the operator's command did it.
    entered_by = acted()
    judged_by = acted()
    reported_by = acted()
    closed_by = acted()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(due__lte=F("noticed") + int(CLOCK.total_seconds())), name="breach_due_in_72_hours"
            ),
            models.CheckConstraint(
                condition=Q(reported__isnull=True) | Q(reported__lte=F("due")) | ~Q(why_late=""),
                name="breach_late_with_reason",
            ),
            models.CheckConstraint(
                condition=Q(closed_at__isnull=True, outcome="")
                | (Q(closed_at__isnull=False) & ~Q(outcome="") & ~Q(risk="")),
                name="breach_closed_with_outcome",
            ),
            models.CheckConstraint(
                condition=Q(closed_at__isnull=True)
                | Q(risk="none")
                | Q(reported__isnull=False, risk="some")
                | Q(reported__isnull=False, told_at__isnull=False),
                name="breach_closed_once_told",
            ),
        ]

    @property
    def noticed_at(self) -> datetime:
        return datetime.fromtimestamp(self.noticed, UTC)

    @property
    def due_at(self) -> datetime:
        return datetime.fromtimestamp(self.due, UTC)

    @property
    def reported_at(self) -> datetime | None:
        return None if self.reported is None else datetime.fromtimestamp(self.reported, UTC)


class Affected(models.Model):
    """Somebody whose data it is, and when they were written to."""

    subject_path: ClassVar[str] = "account"
    placement: ClassVar[Placement] = Placement.REGION

    id = public(models.BigAutoField(primary_key=True), why=_ROW)
    account = _affected(
        models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    )
    breach = _affected(models.ForeignKey(Breach, on_delete=models.PROTECT, related_name="affected"))
    told_at = _affected(models.DateTimeField(null=True))

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account", "breach"], name="breach_affects_once"),
        ]
