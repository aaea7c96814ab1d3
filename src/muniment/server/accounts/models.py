"""Accounts, devices, enrolment codes. `ref` is the id that the world sees: 16 random bytes."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models

from muniment.server.privacy.registry import Erase, Placement, personal, public

_ROW = "a row number, meaningless outside this database"
_STATE = "a switch the operator sets"


class AccountManager(BaseUserManager["Account"]):
    def create_account(self, email: str, **fields: Any) -> Account:
        """A new account without a password: it signs in by what the website will send to its address."""
        account = self.model(email=self.normalize_email(email).lower(), **fields)
        account.set_unusable_password()
        account.save(using=self._db)
        return account

    def get_by_natural_key(self, username: str | None) -> Account:
        return self.get(email=(username or "").lower())


class Account(AbstractBaseUser, PermissionsMixin):
    """One person's sign-in, by e-mail address."""

    subject_path: ClassVar[str] = "self"
    placement: ClassVar[Placement] = Placement.REGION

    id = public(models.BigAutoField(primary_key=True), why=_ROW)
    ref = personal(
        models.UUIDField(unique=True, editable=False),
        category="vault", purposes=("backup",), keep="account", erase=Erase.DELETE,
    )  # fmt: skip
    email = personal(
        models.EmailField(unique=True),
        category="contact", purposes=("sign_in",), keep="account", erase=Erase.DELETE,
    )  # fmt: skip
    password = personal(
        models.CharField(max_length=128),
        category="credential", purposes=("sign_in",), keep="account", erase=Erase.DELETE,
    )  # fmt: skip
    last_login = personal(
        models.DateTimeField(null=True, blank=True),
        category="activity", purposes=("security",), keep="account", erase=Erase.DELETE,
    )  # fmt: skip
    created_at = personal(
        models.DateTimeField(),
        category="activity", purposes=("security",), keep="account", erase=Erase.DELETE,
    )  # fmt: skip
    allowance = personal(
        models.BigIntegerField(null=True, blank=True),
        category="vault", purposes=("metering",), keep="account", erase=Erase.DELETE,
    )  # fmt: skip
    is_active = public(models.BooleanField(default=True), why=_STATE)
    is_staff = public(models.BooleanField(default=False), why=_STATE)
    is_superuser = public(models.BooleanField(default=False), why=_STATE)

    objects = AccountManager()
    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []


class Device(models.Model):
    """An enrolled machine. It is never deleted while its account lives: revoking it is a date."""

    subject_path: ClassVar[str] = "account"
    placement: ClassVar[Placement] = Placement.REGION

    id = public(models.BigAutoField(primary_key=True), why=_ROW)
    ref = personal(
        models.UUIDField(unique=True, editable=False),
        category="device", purposes=("backup",), keep="account", erase=Erase.DELETE,
    )  # fmt: skip
    account = personal(
        models.ForeignKey(Account, on_delete=models.CASCADE, related_name="devices"),
        category="device", purposes=("backup",), keep="account", erase=Erase.DELETE,
    )  # fmt: skip
    name = personal(
        models.CharField(max_length=100),
        category="device", purposes=("backup", "security"), keep="account", erase=Erase.DELETE,
    )  # fmt: skip
    public_key = personal(
        models.BinaryField(max_length=32),
        category="credential", purposes=("backup",), keep="account", erase=Erase.DELETE,
    )  # fmt: skip
    token_sha256 = personal(
        models.BinaryField(max_length=32, unique=True),
        category="credential", purposes=("sign_in",), keep="account", erase=Erase.DELETE,
    )  # fmt: skip
    makes_vault = public(models.BooleanField(default=False), why=_STATE)
    enrolled_at = personal(
        models.DateTimeField(),
        category="activity", purposes=("security",), keep="account", erase=Erase.DELETE,
    )  # fmt: skip
    last_seen_at = personal(
        models.DateTimeField(null=True),
        category="activity", purposes=("security",), keep="account", erase=Erase.DELETE,
    )  # fmt: skip
    revoked_at = personal(
        models.DateTimeField(null=True),
        category="activity", purposes=("security",), keep="account", erase=Erase.DELETE,
    )  # fmt: skip


class EnrolmentCode(models.Model):
    """A one-time code; only the hash of its secret is kept."""

    subject_path: ClassVar[str] = "account"
    placement: ClassVar[Placement] = Placement.REGION

    id = public(models.BigAutoField(primary_key=True), why=_ROW)
    secret_sha256 = personal(
        models.BinaryField(max_length=32, unique=True),
        category="credential", purposes=("sign_in",), keep="enrolment", erase=Erase.DELETE,
    )  # fmt: skip
    account = personal(
        models.ForeignKey(Account, on_delete=models.CASCADE, related_name="codes"),
        category="credential", purposes=("sign_in",), keep="enrolment", erase=Erase.DELETE,
    )  # fmt: skip
    makes_vault = public(models.BooleanField(), why=_STATE)
    # No foreign key: accounts know nothing of vaults. None grants the account's only vault, or all of them.
    vault_ref = personal(
        models.UUIDField(null=True),
        category="vault", purposes=("backup",), keep="enrolment", erase=Erase.DELETE,
    )  # fmt: skip
    made_at = personal(
        models.DateTimeField(),
        category="activity", purposes=("security",), keep="enrolment", erase=Erase.DELETE,
    )  # fmt: skip
    expires_at = personal(
        models.DateTimeField(),
        category="activity", purposes=("security",), keep="enrolment", erase=Erase.DELETE,
    )  # fmt: skip
    device = personal(
        models.OneToOneField(Device, null=True, on_delete=models.CASCADE, related_name="code"),
        category="device", purposes=("security",), keep="enrolment", erase=Erase.DELETE,
    )  # fmt: skip
