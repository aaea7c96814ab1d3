"""Rows of the versions. A version is written once; how far it is on its way is beside it."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn, TypeVar

from django.conf import settings
from django.db import models
from django.db.models import F as Column
from django.db.models import Q

from muniment.server.privacy.registry import Erase, Placement, personal, public

F = TypeVar("F", bound="models.Field[Any, Any]")

_PUBLISHED = "published: what we promise to everybody"
_PROGRESS = "how far a version is on its way, about nobody"


class AlteredVersion(Exception):
    """A posted version is what people were told; it can neither be changed nor taken back."""


class Posted(models.QuerySet["StatementVersion"]):
    """Rows that are only ever added."""

    def update(self, **kwargs: Any) -> NoReturn:
        raise AlteredVersion("versions are never changed")

    def delete(self) -> NoReturn:
        raise AlteredVersion("versions are never taken back")


def _agreement(field: F) -> F:
    return personal(field, category="agreement", purposes=("agreement",), keep="account", erase=Erase.DELETE)


class StatementVersion(models.Model):
    """One version as it was posted: both texts, whole, so that it can be read and compared for ever."""

    subject_path: ClassVar[str] = ""
    placement: ClassVar[Placement] = Placement.REGION

    number = public(models.IntegerField(primary_key=True), why=_PUBLISHED)
    # What ships with a release, without the operator's own recipients: `release` is its version, `sealed` its
    # digest. Numbers go on between releases when those recipients change.
    release = public(models.IntegerField(), why=_PUBLISHED)
    sealed = public(models.CharField(max_length=64), why=_PUBLISHED)
    digest = public(models.CharField(max_length=64), why=_PUBLISHED)
    declared = public(models.TextField(), why=_PUBLISHED)
    said = public(models.TextField(), why=_PUBLISHED)
    posted_at = public(models.DateTimeField(), why=_PUBLISHED)
    effective_at = public(models.DateTimeField(), why=_PUBLISHED)
    is_material = public(models.BooleanField(), why="whether it changes anything that matters, as computed")
    changes = public(models.JSONField(), why="what it changes that matters, as computed")

    objects = Posted.as_manager()

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Only ever inserts. Raises AlteredVersion."""
        if not self._state.adding:
            raise AlteredVersion(f"version {self.number}")
        super().save(*args, force_insert=True, using=kwargs.get("using"))

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AlteredVersion(f"version {self.number}")


class Progress(models.Model):
    """Of a version: who was told, how many days were seen to pass since, and from when on it is in force.

    Days are counted one by one, because a clock that jumps must not bring a version into force.
    """

    subject_path: ClassVar[str] = ""
    placement: ClassVar[Placement] = Placement.REGION

    version = public(
        models.OneToOneField(
            StatementVersion, primary_key=True, on_delete=models.PROTECT, related_name="progress"
        ),
        why=_PROGRESS,
    )
    told_at = public(models.DateTimeField(null=True), why=_PROGRESS)
    days = public(models.IntegerField(default=0), why=_PROGRESS)
    counted_at = public(models.DateTimeField(null=True), why=_PROGRESS)
    in_force_at = public(models.DateTimeField(null=True), why=_PROGRESS)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(days__gte=0), name="version_days_passed"),
        ]


class Acceptance(models.Model):
    """A person accepted a version."""

    subject_path: ClassVar[str] = "account"
    placement: ClassVar[Placement] = Placement.REGION

    id = public(models.BigAutoField(primary_key=True), why="a row number, meaningless outside this database")
    account = _agreement(
        models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="acceptances")
    )
    version = _agreement(models.ForeignKey(StatementVersion, on_delete=models.PROTECT, related_name="+"))
    method = _agreement(models.CharField(max_length=40))
    at = _agreement(models.DateTimeField())
    entry = public(models.BigIntegerField(), why="the number of the ledger's entry")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account", "version"], name="version_accepted_once"),
        ]


class ChangeNotice(models.Model):
    """A person was told of a version that is to come: by mail, and by a banner on the pages they see."""

    subject_path: ClassVar[str] = "account"
    placement: ClassVar[Placement] = Placement.REGION

    id = public(models.BigAutoField(primary_key=True), why="a row number, meaningless outside this database")
    account = _agreement(
        models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    )
    version = _agreement(models.ForeignKey(StatementVersion, on_delete=models.PROTECT, related_name="+"))
    mailed_at = _agreement(models.DateTimeField())
    seen_at = _agreement(models.DateTimeField(null=True))
    entry = public(models.BigIntegerField(), why="the number of the ledger's entry")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account", "version"], name="version_told_once"),
            models.CheckConstraint(
                condition=Q(seen_at__isnull=True) | Q(seen_at__gte=Column("mailed_at")),
                name="version_seen_after_told",
            ),
        ]
