"""People at the website in this process: Django's own client, our clock, mails as they went out.

Import only after Django is set up (tests/unit/server/conftest.py does that).
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from email.message import EmailMessage
from ipaddress import ip_network
from typing import Any

from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.http import HttpResponse
from django.test import Client

from muniment.server.accounts.models import Account
from muniment.server.deployment import Deployment
from muniment.server.mail.models import Mail
from tests.support.visitor import PASSWORD, Form, forms_in, mail_of, text_of


def some_address() -> str:
    return f"{secrets.token_hex(6)}@example.org"


_NETWORKS = ip_network("10.0.0.0/8").subnets(new_prefix=24)
"""As coarse as addresses are counted."""


def some_network() -> str:
    """An address in a network of nobody else's: what one may try is counted."""
    return str(next(_NETWORKS)[1])


@dataclass
class Person:
    """A browser and an address. `network` is where the person is."""

    deployment: Deployment
    email: str = field(default_factory=some_address)
    network: str = field(default_factory=some_network)
    agent: str = "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"
    codes: list[str] = field(default_factory=list)
    """Recovery codes, where there is a second factor: each works once, at any time."""

    def __post_init__(self) -> None:
        self.browser = Client(
            headers={"host": "localhost", "user-agent": self.agent}, REMOTE_ADDR=self.network
        )

    @property
    def account(self) -> Account:
        return Account.objects.get(email=self.email)

    def get(self, path: str) -> HttpResponse:
        return self.browser.get(path)  # type: ignore[return-value]

    def post(self, path: str, **values: str) -> HttpResponse:
        return self.browser.post(path, values)  # type: ignore[return-value]

    def submit(self, path: str, page: HttpResponse, action: str = "", **values: str) -> HttpResponse:
        return self.post(action or path, **form_on(page, action).fields, **values)

    def screen(self, *, year: int = 1980, country: str = "IE", edition: str = "home") -> HttpResponse:
        return self.post(f"/accounts/signup/{edition}", country=country, year=str(year), month="5")

    def register(
        self, *, year: int = 1980, country: str = "IE", edition: str = "home", **values: str
    ) -> HttpResponse:
        return self.send_form(
            self.screen(year=year, country=country, edition=edition), edition=edition, **values
        )

    def send_form(self, page: HttpResponse, *, edition: str = "home", **values: str) -> HttpResponse:
        """Fill the sign-up form that the page shows."""
        action = f"/accounts/signup/{edition}/register"
        filled = {**form_on(page, action).fields, "email": self.email, "password": PASSWORD, "accept": "on"}
        return self.post(action, **{**filled, **values})

    def mails(self, subject: str, *, to: str = "") -> list[EmailMessage]:
        rows = Mail.objects.filter(to=to or self.email, subject=subject).order_by("id")
        return [mail_of(row.to, row.subject, row.text) for row in rows]

    def link(self, subject: str, *, to: str = "") -> str:
        """The path of the first link in the newest mail with that subject."""
        found = re.search(
            r"^(?:https?://[^/\s]+)?(/accounts/\S+)$", text_of(self.mails(subject, to=to)[-1]), re.M
        )
        assert found is not None
        return found[1]

    def confirm(self) -> HttpResponse:
        return self.post(self.link("Confirm your address"), password=PASSWORD)

    def join(self) -> Person:
        """An account, confirmed and signed in."""
        assert self.register().status_code == 302
        assert self.confirm().status_code == 302
        return self

    def become_staff(self) -> Person:
        """With a second factor, and signed in afresh: the console opens."""
        Account.objects.filter(pk=self.account.pk).update(is_staff=True)
        TOTP.activate(self.account, generate_totp_secret())
        self.codes = RecoveryCodes.activate(self.account).get_unused_codes()
        assert self.prove().status_code == 302
        return self

    def sign_in(self, password: str = PASSWORD) -> HttpResponse:
        answer = self.post("/accounts/login", login=self.email, password=password)
        return self.post("/accounts/login/second", code=self.codes.pop()) if self.codes else answer

    def is_signed_in(self) -> bool:
        return self.get("/overview").status_code == 200

    def prove(self, password: str = PASSWORD) -> HttpResponse:
        """A fresh sign-in."""
        if self.codes:
            return self.post("/accounts/again/code", code=self.codes.pop())
        return self.post("/accounts/again", password=password)


def form_on(page: HttpResponse, action: str) -> Form:
    found = [form for form in forms_in(text(page)) if form.action == action and form.method == "post"]
    assert found, (page.status_code, action)
    return found[-1]


def text(page: Any) -> str:
    return str(page.content.decode())
