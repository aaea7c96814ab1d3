"""Rows of a succession: who takes over, and whom we told about it."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from django.conf import settings
from django.db import models
from django.db.models import F as Column
from django.db.models import Q

from muniment.server.privacy.registry import Erase, Placement, acted, personal, public

F = TypeVar("F", bound="models.Field[Any, Any]")

_PUBLISHED = "announced to everybody"
_OURS = "when we did something for everybody at once"


def _told(field: F) -> F:
    return personal(field, category="agreement", purposes=("succession",), keep="account", erase=Erase.DELETE)


class Succession(models.Model):
    """Somebody takes over. `hands_over_at` is thirty days after it was declared, at the earliest."""

    subject_path: ClassVar[str] = ""
    placement: ClassVar[Placement] = Placement.REGION

    id = public(models.BigAutoField(primary_key=True), why="a row number, meaningless outside this database")
    ref = public(models.UUIDField(unique=True, editable=False), why="a random name for the row")
    buyer = public(models.CharField(max_length=200), why=_PUBLISHED)
    country = public(models.CharField(max_length=2), why=_PUBLISHED)
    transfer_basis = public(models.CharField(max_length=300), why=_PUBLISHED)
    declared_at = public(models.DateTimeField(), why=_PUBLISHED)
    hands_over_at = public(models.DateTimeField(), why=_PUBLISHED)
    # Empty where the operator did it by command, and once the account of who did is gone.
    declared_by = acted()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(hands_over_at__gt=Column("declared_at")), name="succession_waits"
            ),
        ]


class HandOver(models.Model):
    """A file for the buyer: made once, fetched as often as it takes, and gone once somebody says it arrived.

    Its lines are in the notices of those who are in it.
    """

    subject_path: ClassVar[str] = ""
    placement: ClassVar[Placement] = Placement.REGION

    id = public(models.BigAutoField(primary_key=True), why="a row number, meaningless outside this database")
    ref = public(models.UUIDField(unique=True, editable=False), why="a random name for the row")
    succession = public(
        models.ForeignKey(Succession, on_delete=models.PROTECT, related_name="hand_overs"), why=_PUBLISHED
    )
    begun_at = public(models.DateTimeField(), why=_OURS)
    begun_by = acted()
    # Everybody who may be in it is: from then on it is fetched, and nobody is added.
    made_at = public(models.DateTimeField(null=True), why=_OURS)
    delivered_at = public(models.DateTimeField(null=True), why=_OURS)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["succession"], condition=Q(delivered_at=None), name="one_hand_over_at_a_time"
            ),
        ]


class SuccessionNotice(models.Model):
    """A person was told, and what came of it."""

    subject_path: ClassVar[str] = "account"
    placement: ClassVar[Placement] = Placement.REGION
    ended: ClassVar[dict[str, tuple[str, ...]]] = {"outgoing": ("handed_over_at",)}

    id = public(models.BigAutoField(primary_key=True), why="a row number, meaningless outside this database")
    account = _told(models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+"))
    succession = _told(models.ForeignKey(Succession, on_delete=models.PROTECT, related_name="notices"))
    told_at = _told(models.DateTimeField())
    handed_over_at = _told(models.DateTimeField(null=True))
    hand_over = _told(
        models.ForeignKey(HandOver, null=True, on_delete=models.PROTECT, related_name="notices")
    )
    # The person's line of the file.
    line = personal(
        models.TextField(blank=True), category="agreement", purposes=("succession",), keep="outgoing",
        erase=Erase.CLEAR,
    )  # fmt: skip

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account", "succession"], name="succession_told_once"),
        ]
