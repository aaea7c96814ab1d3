"""Forms of signing up, made from the statement: what it does not declare is not asked, and not taken."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from django import forms
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import SuspiciousOperation

from muniment.server.accounts.countries import country_names
from muniment.server.accounts.models import Account, AgeBand, Edition, Profile
from muniment.server.privacy.forms import DeclaredForm, FormField, declared_form
from muniment.server.web.forms import LongSelect

FIRST_YEAR = 1900
_FRAME = frozenset({"csrfmiddlewaretoken", "next"})
_AUTOCOMPLETE = {
    "email": "email", "name": "name", "user_name": "nickname", "title": "organization-title", "phone": "tel",
    "company_name": "organization", "city": "address-level2", "state": "address-level1",
    "postcode": "postal-code",
}  # fmt: skip
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip


class UndeclaredField(SuspiciousOperation):
    """Somebody posted what the form does not ask: answered with 400."""


class StrictForm(forms.Form):
    """Takes its own fields and nothing beside them."""

    def refuse_others(self, posted: Mapping[str, object]) -> None:
        """Raises UndeclaredField."""
        if set(posted) - set(self.fields) - _FRAME:
            raise UndeclaredField


class AgeScreenForm(StrictForm):
    """Before anything else. No default, no hint at what would pass."""

    def __init__(self, *args: object, this_year: int, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.fields["country"] = forms.ChoiceField(
            label="Country",
            widget=LongSelect,
            choices=[("", "Choose"), *country_names().items()],
            help_text="Where you live: it says whose law applies.",
        )
        self.fields["year"] = forms.IntegerField(
            label="Year of birth",
            min_value=FIRST_YEAR,
            max_value=this_year,
            widget=forms.NumberInput(attrs={"inputmode": "numeric", "autocomplete": "off"}),
        )
        self.fields["month"] = forms.ChoiceField(
            label="Month of birth",
            choices=[("", "Choose"), *((n + 1, name) for n, name in enumerate(_MONTHS))],
        )


class EmailForm(StrictForm):
    email = forms.EmailField(label="E-mail address", widget=forms.EmailInput(attrs={"autocomplete": "email"}))


class PasswordForm(StrictForm):
    """A new password."""

    password = forms.CharField(
        label="New password",
        max_length=128,
        strip=False,
        help_text="Ten characters or more. Three or four words that nobody would put together are good.",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def __init__(self, *args: object, account: Account, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._account = account

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        validate_password(password, self._account)
        return password


class FirstPasswordForm(PasswordForm):
    """Of somebody who has not agreed to the statement yet."""

    statement = forms.IntegerField(widget=forms.HiddenInput)
    accept = forms.BooleanField(label="I have read the privacy statement and agree to it")


class ProveForm(StrictForm):
    """The password chosen at sign-up, when the address is confirmed."""

    password = forms.CharField(
        label="The password you chose",
        max_length=128,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )


class SignUpForm(StrictForm):
    """What the edition asks, the guardian of a minor, and agreement to the statement."""

    def __init__(
        self, *args: object, edition: Edition, band: AgeBand, statement: int, **kwargs: object
    ) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        declared = declared_form("sign_up")
        for field in declared.asked_of(edition):
            if field.name != "country":  # asked by the age screen
                self.fields[field.name] = _form_field(field, required=field.needed[edition] == "required")
        if band is AgeBand.MINOR:
            self.fields["guardian"] = forms.EmailField(
                label="Your parent's or guardian's e-mail address",
                help_text="We ask them before you can sign in, and write to them about nothing else.",
            )
        self.fields["accept"] = forms.BooleanField(label="I have read the privacy statement and agree to it")
        for name, value in (("statement", str(statement)), ("notice", notice_hash(declared))):
            self.fields[name] = forms.CharField(widget=forms.HiddenInput, initial=value)
        self.fields["pass"] = forms.CharField(widget=forms.HiddenInput)

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        validate_password(password, Account(email=self.data.get("email", "")))
        return password

    def clean_notice(self) -> str:
        """The notice shown must be the one in force: what was told is what counts."""
        shown: str = self.cleaned_data["notice"]
        if shown != notice_hash(declared_form("sign_up")):
            raise UndeclaredField
        return shown

    @property
    def has_optional(self) -> bool:
        return any(not field.field.required for field in self.visible_fields())

    @property
    def optional_errors(self) -> bool:
        return any(field.errors for field in self.visible_fields() if not field.field.required)

    def details(self) -> dict[str, str]:
        """Filled columns of Profile."""
        columns = {field.name for field in Profile._meta.concrete_fields}
        return {name: value for name, value in self.cleaned_data.items() if name in columns and value}


class DetailsForm(StrictForm):
    """What the edition asks beyond signing in, to be changed or emptied."""

    def __init__(self, *args: object, edition: str, profile: Profile, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        for field in declared_form("sign_up").asked_of(edition):
            if field.column.startswith("accounts.Profile."):
                made = _form_field(field, required=field.needed[edition] == "required")
                made.initial = getattr(profile, field.name)
                self.fields[field.name] = made


class CountryForm(StrictForm):
    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.fields["country"] = forms.ChoiceField(
            label="Country",
            widget=LongSelect,
            choices=list(country_names().items()),
            help_text="Where you live: it says whose law applies.",
        )


def notice_hash(form: DeclaredForm) -> str:
    """Of everything that the form says: the notice, and the reason beside each field."""
    said = "\n".join([form.notice, *(f"{field.name}: {field.why}" for field in form.fields)])
    return hashlib.sha256(said.encode()).hexdigest()


def _form_field(field: FormField, *, required: bool) -> forms.Field:
    """The form's field for a column: label and length as the column has them, the reason beside it."""
    model = Account if field.column.startswith("accounts.Account.") else Profile
    column = model._meta.get_field(field.column.rpartition(".")[2])
    label = str(column.verbose_name)  # type: ignore[union-attr]
    attributes = {"autocomplete": _AUTOCOMPLETE.get(field.name, "off")}
    if field.name == "email":
        return forms.EmailField(
            label=label, help_text=field.why, widget=forms.EmailInput(attrs=attributes), required=required
        )
    if field.name == "password":
        return forms.CharField(
            label=label,
            max_length=128,
            strip=False,
            help_text=f"{field.why} Ten characters or more.",
            widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        )
    return forms.CharField(
        label=label,
        max_length=column.max_length,  # type: ignore[union-attr]
        required=required,
        help_text=field.why,
        widget=forms.TextInput(attrs=attributes),
    )
