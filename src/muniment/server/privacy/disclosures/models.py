"""Rows of order cases. That two different people approved, the database itself holds."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, TypeVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from muniment.server.privacy.registry import Erase, Placement, acted, personal, public

Field = TypeVar("Field", bound="models.Field[Any, Any]")

_NAMELESS = "of a case that names nobody once the columns beside it are empty"


def _about(field: Field) -> Field:
    return personal(
        field, category="correspondence", purposes=("legal_order",), keep="order", erase=Erase.CLEAR
    )


class Cause(models.TextChoices):
    """Why the operator discloses at all."""

    ORDER = "order", "an order of a court or authority"
    LAW = "law", "a duty by law"
    PROTECT = "protect", "to protect somebody's rights, in our own judgement"
    FRAUD = "fraud", "against fraud or crime, in our own judgement"


ENOUGH = 2
"""So many different people approve an order before it is exported."""

OWN_JUDGEMENT = (Cause.PROTECT, Cause.FRAUD)


class State(models.TextChoices):
    OPEN = "open"
    EXPORTED = "exported"
    REFUSED = "refused"


class OrderCase(models.Model):
    """One order, about one account."""

    subject_path: ClassVar[str] = "subject"
    placement: ClassVar[Placement] = Placement.REGION
    ended: ClassVar[dict[str, tuple[str, ...]]] = {"order": ("closed_at",), "outgoing": ("closed_at",)}
    # Before the person is told, and while a gag holds, no copy of theirs has it.
    shown_where: ClassVar[dict[str, bool]] = {"told_at__isnull": False}

    id = public(models.BigAutoField(primary_key=True), why="a row number, meaningless outside this database")
    ref = public(models.UUIDField(unique=True, editable=False), why="a random name for the row")
    subject = _about(
        models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    )
    cause = public(models.CharField(max_length=10, choices=Cause), why=_NAMELESS)
    issuer = public(models.CharField(max_length=200), why="a court or authority, no person")
    country = public(models.CharField(max_length=2), why="of a court or authority")
    legal_basis = public(models.CharField(max_length=300), why="the law that the order rests on")
    # What is asked for, by column of the registry; nothing else can be exported.
    scope = public(models.JSONField(default=list), why=_NAMELESS)
    reason = _about(models.TextField(blank=True))
    received_at = public(models.DateTimeField(), why=_NAMELESS)
    deadline = public(models.DateTimeField(), why=_NAMELESS)
    # Until then the order forbids telling the person.
    gagged_until = public(models.DateTimeField(null=True), why=_NAMELESS)
    review_at = public(models.DateTimeField(), why=_NAMELESS)
    # These are empty where nobody did it yet, and once the account of who did is gone.
    taken_in_by = acted()
    first_approver = acted()
    second_approver = acted()
    # Counted by itself: an order once approved by two stays so when the account of one is gone.
    approvals = public(models.PositiveSmallIntegerField(default=0), why="how many approved, not who")
    closed_by = acted()
    delivered_by = acted()
    state = public(models.CharField(max_length=10, choices=State, default=State.OPEN), why=_NAMELESS)
    refusal = public(models.TextField(blank=True), why="why an order was refused; names no person")
    closed_at = public(models.DateTimeField(null=True), why=_NAMELESS)
    told_at = public(models.DateTimeField(null=True), why=_NAMELESS)
    # What the authority gets, from when it was made until somebody says that it has it.
    document = personal(
        models.TextField(blank=True), category="correspondence", purposes=("legal_order",), keep="outgoing",
        erase=Erase.CLEAR,
    )  # fmt: skip
    delivered_at = public(models.DateTimeField(null=True), why=_NAMELESS)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=~Q(second_approver=F("first_approver")),
                name="two_different_approvers",
            ),
            models.CheckConstraint(
                condition=Q(approvals__lte=ENOUGH) & (Q(second_approver=None) | Q(approvals=ENOUGH)),
                name="approvals_counted",
            ),
            models.CheckConstraint(
                condition=~Q(cause__in=("protect", "fraud"), reason=""), name="own_judgement_has_reason"
            ),
            models.CheckConstraint(condition=~Q(state="refused", refusal=""), name="refusal_has_reason"),
        ]
        indexes: ClassVar = [models.Index(fields=["state", "gagged_until"], name="orders_by_gag")]

    cleared: ClassVar[dict[str, str]] = {"reason": "forgotten with the person"}

    @property
    def is_approved(self) -> bool:
        return self.approvals == ENOUGH

    def has_lapsed(self, now: datetime) -> bool:
        """Whether approvals, given or not, are too old to export by."""
        return now >= self.review_at
