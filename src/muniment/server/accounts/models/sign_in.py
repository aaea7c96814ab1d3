"""Signing in: sessions of browsers, the security log, counters against guessing."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models

from muniment.server.accounts.models.columns import activity, credential, held, row_id
from muniment.server.accounts.models.people import Account
from muniment.server.privacy.registry import Erase, Placement, personal, public


class WebSession(AbstractBaseSession):
    """A browser's session. Only a hash of the cookie is kept."""

    subject_path: ClassVar[str] = "account"
    placement: ClassVar[Placement] = Placement.REGION

    session_key = credential(models.CharField(max_length=64, primary_key=True), keep="web_session")
    session_data = credential(models.TextField(), keep="web_session")
    expire_date = activity(models.DateTimeField(db_index=True), keep="web_session")
    account = activity(
        models.ForeignKey(Account, null=True, on_delete=models.CASCADE, related_name="web_sessions"),
        keep="web_session",
    )
    ref = public(models.UUIDField(unique=True, editable=False), why="a random name for the row, to end it by")
    made_at = activity(models.DateTimeField(), keep="web_session")
    seen_at = activity(models.DateTimeField(), keep="web_session")
    network = held(
        models.CharField(max_length=50, blank=True),
        category="network", purposes=("security",), keep="web_session",
    )  # fmt: skip
    browser = held(
        models.CharField(max_length=60, blank=True),
        category="activity", purposes=("security",), keep="web_session",
    )  # fmt: skip

    class Meta:
        pass


class SecurityEvent(models.Model):
    """A sign-in, a failure, a change of how one signs in. Shown to the account's owner.

    `address` is the full network address: emptied after thirty days. `network` is its truncated form.
    """

    subject_path: ClassVar[str] = "account"
    placement: ClassVar[Placement] = Placement.REGION
    ended: ClassVar[dict[str, tuple[str, ...]]] = {"security_log": ("at",), "security_ip": ("at",)}

    class Kind(models.TextChoices):
        SIGNED_UP = "signed_up", "Account made"
        CONFIRMED = "confirmed", "Address confirmed"
        SIGNED_IN = "signed_in", "Signed in"
        REFUSED = "refused", "Sign-in refused"
        SIGNED_OUT = "signed_out", "Signed out"
        SESSION_ENDED = "session_ended", "Session ended"
        PASSWORD_CHANGED = "password_changed", "Password changed"
        ADDRESS_CHANGED = "address_changed", "E-mail address changed"
        FACTOR_ADDED = "factor_added", "Way to sign in added"
        FACTOR_REMOVED = "factor_removed", "Way to sign in removed"
        SIGN_UP_REPEATED = "sign_up_repeated", "Somebody signed up with this address again"
        GUARDIAN_AGREED = "guardian_agreed", "Guardian agreed"

    id = row_id()
    # Empty where somebody tried an address that has no account.
    account = held(
        models.ForeignKey(Account, null=True, on_delete=models.CASCADE, related_name="security_events"),
        category="activity", purposes=("fraud", "security"), keep="security_log",
    )  # fmt: skip
    at = held(
        models.DateTimeField(db_index=True),
        category="activity", purposes=("fraud", "security"), keep="security_log",
    )  # fmt: skip
    kind = held(
        models.CharField(max_length=20, choices=Kind),
        category="activity", purposes=("fraud", "security"), keep="security_log",
    )  # fmt: skip
    method = held(
        models.CharField(max_length=20, blank=True),
        category="activity", purposes=("fraud", "security"), keep="security_log",
    )  # fmt: skip
    address = personal(
        models.GenericIPAddressField(null=True),
        category="network", purposes=("fraud",), keep="security_ip", erase=Erase.CLEAR,
    )  # fmt: skip
    network = held(
        models.CharField(max_length=50, blank=True),
        category="network", purposes=("fraud", "security"), keep="security_log",
    )  # fmt: skip
    browser = held(
        models.CharField(max_length=60, blank=True),
        category="activity", purposes=("fraud", "security"), keep="security_log",
    )  # fmt: skip


KEY_BYTES = 16
"""Of the hash: enough that no two are counted as one."""


class Attempts(models.Model):
    """How often something was tried lately. What it was tried on is a keyed hash that lives half an hour."""

    subject_path: ClassVar[str] = ""
    placement: ClassVar[Placement] = Placement.REGION

    id = row_id()
    key = public(
        models.BinaryField(max_length=KEY_BYTES),
        why="half of a hash under a key of those ten minutes; without the site's secret it fits nothing",
    )
    window = public(models.BigIntegerField(), why="the number of a ten-minute window")
    count = public(models.IntegerField(), why="a count")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["key", "window"], name="one_count_per_window")]


class ScreenTally(models.Model):
    """How often the age screen said no, by day. Nothing else is left of it."""

    subject_path: ClassVar[str] = ""
    placement: ClassVar[Placement] = Placement.REGION

    id = row_id()
    day = public(models.DateField(unique=True), why="a day, counted over all visitors")
    refused = public(models.IntegerField(default=0), why="a count over all visitors")
