"""Machines and the one-time codes that bring them in."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from muniment.server.accounts.models.columns import activity, credential, device, held, row_id
from muniment.server.accounts.models.people import Account
from muniment.server.privacy.registry import Placement, public

_SWITCH = "a switch the operator sets"


class Device(models.Model):
    """An enrolled machine. It is never deleted while its account lives: revoking it is a date."""

    subject_path: ClassVar[str] = "account"
    placement: ClassVar[Placement] = Placement.REGION

    id = row_id()
    ref = device(models.UUIDField(unique=True, editable=False))
    account = device(models.ForeignKey(Account, on_delete=models.CASCADE, related_name="devices"))
    name = device(models.CharField(max_length=100), purposes=("backup", "security"))
    public_key = credential(models.BinaryField(max_length=32), purposes=("backup",))
    token_sha256 = credential(models.BinaryField(max_length=32, unique=True))
    makes_vault = public(models.BooleanField(default=False), why=_SWITCH)
    enrolled_at = activity(models.DateTimeField())
    last_seen_at = activity(models.DateTimeField(null=True))
    revoked_at = activity(models.DateTimeField(null=True))


class EnrolmentCode(models.Model):
    """A one-time code; only the hash of its secret is kept."""

    subject_path: ClassVar[str] = "account"
    placement: ClassVar[Placement] = Placement.REGION
    ended: ClassVar[dict[str, tuple[str, ...]]] = {"enrolment": ("expires_at", "device__enrolled_at")}

    id = row_id()
    secret_sha256 = credential(models.BinaryField(max_length=32, unique=True), keep="enrolment")
    account = credential(
        models.ForeignKey(Account, on_delete=models.CASCADE, related_name="codes"), keep="enrolment"
    )
    makes_vault = public(models.BooleanField(), why=_SWITCH)
    # No foreign key: accounts know nothing of vaults. None grants the account's only vault, or all of them.
    vault_ref = held(models.UUIDField(null=True), category="vault", purposes=("backup",), keep="enrolment")
    made_at = activity(models.DateTimeField(), keep="enrolment")
    expires_at = activity(models.DateTimeField(), keep="enrolment")
    device = device(
        models.OneToOneField(Device, null=True, on_delete=models.CASCADE, related_name="code"),
        purposes=("security",), keep="enrolment",
    )  # fmt: skip
