"""Consent events: added, never changed."""

from __future__ import annotations

from typing import ClassVar, TypeVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from muniment.server.privacy.registry import Erase, Placement, personal, public

F = TypeVar("F", bound="models.Field")


def _agreement(field: F, *, keep: str = "account") -> F:
    return personal(field, category="agreement", purposes=("agreement",), keep=keep, erase=Erase.DELETE)


class LinkKey(models.Model):
    """Made once somebody agreed that visits are linked to the account; gone with that agreement."""

    subject_path: ClassVar[str] = "subject"
    placement: ClassVar[Placement] = Placement.REGION

    subject = personal(
        models.OneToOneField(
            settings.AUTH_USER_MODEL, primary_key=True, on_delete=models.CASCADE, related_name="+"
        ),
        category="activity", purposes=("personalise",), keep="account", erase=Erase.DELETE,
    )  # fmt: skip
    key = personal(
        models.BinaryField(max_length=32),
        category="activity", purposes=("personalise",), keep="account", erase=Erase.DELETE,
    )  # fmt: skip


class VisitCount(models.Model):
    """How often a page was visited in an hour, by people who agreed to be counted."""

    subject_path: ClassVar[str] = ""
    placement: ClassVar[Placement] = Placement.REGION

    id = public(models.BigAutoField(primary_key=True), why="a row number, meaningless outside this database")
    hour = public(models.CharField(max_length=13), why="an hour, of nobody in particular")
    page = public(models.CharField(max_length=40), why="a page of ours")
    visits = public(models.BigIntegerField(), why="a total: nothing in it tells one visitor from another")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["hour", "page"], name="one_count_of_a_page_an_hour")
        ]


class ConsentEvent(models.Model):
    """Somebody with an account, or a browser without one, said something about a purpose."""

    subject_path: ClassVar[str] = "subject"
    placement: ClassVar[Placement] = Placement.REGION
    ended: ClassVar[dict[str, tuple[str, ...]]] = {"browser_choice": ("at",)}

    id = public(models.BigAutoField(primary_key=True), why="a row number: the order of what was said")
    subject = _agreement(
        models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, related_name="+")
    )
    # SHA-256 of the random number in the cookie: what is kept here cannot be put into a browser.
    browser = _agreement(models.BinaryField(max_length=32, null=True), keep="browser_choice")
    purpose = _agreement(models.CharField(max_length=40, blank=True))
    recipient = _agreement(models.CharField(max_length=40, blank=True))
    state = _agreement(models.CharField(max_length=10))
    notice = _agreement(models.BinaryField(max_length=32))
    statement_version = _agreement(models.IntegerField())
    method = _agreement(models.CharField(max_length=40))
    mentions_gpc = _agreement(models.BooleanField(default=False))
    at = _agreement(models.DateTimeField())
    until = _agreement(models.DateTimeField(null=True))
    # Which fields a recipient gets that the person named.
    fields = _agreement(models.JSONField(default=list))
    entry = public(models.BigIntegerField(), why="the number of the ledger's entry")

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(subject__isnull=True) ^ Q(browser__isnull=True), name="consent_of_exactly_one"
            ),
            models.CheckConstraint(
                condition=Q(state__in=("granted", "denied", "withdrawn", "signalled")), name="consent_state"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["browser"], name="consent_by_browser"),
        ]
