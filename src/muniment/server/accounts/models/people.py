"""A person's account, what they told us about themselves, and a guardian's word."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models

from muniment.server.accounts.models.columns import (
    activity,
    contact,
    credential,
    held,
    optional,
    row_id,
    told,
)
from muniment.server.privacy.registry import ByAddress, Placement, public

_SWITCH = "a switch the operator sets"


class Edition(models.TextChoices):
    HOME = "home", "Home"
    PRO = "pro", "Pro"
    ENTERPRISE = "enterprise", "Enterprise"


class AgeBand(models.TextChoices):
    """All that the age screen leaves behind: never a date of birth."""

    ADULT = "adult", "of age"
    MINOR = "minor", "under 18, with a guardian's word"
    UNASKED = "unasked", "not asked: the operator made the account"


class Origin(models.TextChoices):
    """Who made the account."""

    SELF = "self"
    OPERATOR = "operator"


class AccountManager(BaseUserManager["Account"]):
    def create_account(self, email: str, **fields: Any) -> Account:
        """A new account without a password: its owner sets one from a link sent to the address."""
        account = self.model(email=self.normalize_email(email).lower(), **fields)
        account.set_unusable_password()
        account.save(using=self._db)
        return account

    def with_address(self, email: str) -> models.QuerySet[Account]:
        """The account whose address this is, if there is one; capitals are none of its differences."""
        return self.filter(email=email.lower())

    def get_by_natural_key(self, username: str | None) -> Account:
        return self.with_address(username or "").get()


class Account(AbstractBaseUser, PermissionsMixin):
    """One person's sign-in, by e-mail address."""

    subject_path: ClassVar[str] = "self"
    placement: ClassVar[Placement] = Placement.REGION

    id = row_id()
    ref = held(
        models.UUIDField("Account number", unique=True, editable=False),
        category="number",
        purposes=("sign_in", "backup", "accountability", "personalise"),
    )  # fmt: skip
    email = contact(
        models.EmailField("E-mail address", unique=True), purposes=("sign_in", "service_mail", "legal_order")
    )
    password = credential(models.CharField("Password", max_length=128))
    last_login = activity(models.DateTimeField("Last sign-in", null=True, blank=True))
    created_at = activity(models.DateTimeField("Account made"))
    edition = held(
        models.CharField("Edition", max_length=10, choices=Edition, default=Edition.HOME),
        category="agreement", purposes=("contract",),
    )  # fmt: skip
    country = held(
        models.CharField("Country", max_length=2, blank=True), category="region", purposes=("contract",)
    )
    age_band = held(
        models.CharField("Of age", max_length=10, choices=AgeBand, default=AgeBand.UNASKED),
        category="age", purposes=("minors",),
    )  # fmt: skip
    made_by = public(
        models.CharField(max_length=10, choices=Origin, default=Origin.OPERATOR),
        why="says which kind of person made the account, not who",
    )
    # Until then nobody signs in; empty after seven days, the account is forgotten.
    confirmed_at = activity(models.DateTimeField("Address confirmed", null=True, blank=True))
    allowance = held(
        models.BigIntegerField("Allowance", null=True, blank=True), category="vault", purposes=("metering",)
    )
    is_active = public(models.BooleanField(default=True), why=_SWITCH)
    is_staff = public(models.BooleanField(default=False), why=_SWITCH)
    is_superuser = public(models.BooleanField(default=False), why=_SWITCH)

    objects = AccountManager()
    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        indexes = [models.Index(fields=["confirmed_at", "created_at"], name="unconfirmed_accounts")]

    @property
    def is_unconfirmed(self) -> bool:
        """Nobody showed that the address is theirs: anybody can write any into a form. Nobody's account."""
        return self.confirmed_at is None and self.made_by == Origin.SELF


class Profile(models.Model):
    """What the account's owner told us beyond what signing in takes. Empty means not told."""

    subject_path: ClassVar[str] = "account"
    placement: ClassVar[Placement] = Placement.REGION

    id = row_id()
    account = told(models.OneToOneField(Account, on_delete=models.CASCADE, related_name="profile"))
    name = told(models.CharField("Name", max_length=100, blank=True))
    user_name = optional(models.CharField("User name", max_length=50, blank=True))
    title = told(models.CharField("Title", max_length=50, blank=True))
    phone = optional(models.CharField("Phone number", max_length=30, blank=True))
    company_name = told(models.CharField("Company name", max_length=100, blank=True))
    industry = optional(models.CharField("Industry", max_length=100, blank=True))
    employees = optional(models.CharField("Number of employees", max_length=10, blank=True))
    city = told(models.CharField("City", max_length=100, blank=True))
    state = optional(models.CharField("State or province", max_length=100, blank=True))
    postcode = told(models.CharField("Postcode", max_length=20, blank=True))


class Guardianship(models.Model):
    """A parent or guardian, asked to agree to a minor's account. Nobody signs in before they did."""

    subject_path: ClassVar[str] = "account"
    placement: ClassVar[Placement] = Placement.REGION
    by_address: ClassVar[ByAddress] = ByAddress(
        "email", empties=("email",), told=("email", "asked_at", "agreed_at")
    )

    id = row_id()
    account = held(
        models.OneToOneField(Account, on_delete=models.CASCADE, related_name="guardianship"),
        category="age", purposes=("minors",),
    )  # fmt: skip
    email = contact(models.EmailField("Guardian's e-mail address"), purposes=("minors",))
    asked_at = held(models.DateTimeField(), category="agreement", purposes=("minors",))
    agreed_at = held(
        models.DateTimeField("Guardian agreed", null=True), category="agreement", purposes=("minors",)
    )
