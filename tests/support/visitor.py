"""A person at the website without a browser: cookies, forms as they stand on the page, mails.

visitor = Visitor(server)
visitor.sign_up("a@example.org", "quiet lantern harbour")
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import struct
import time
from dataclasses import dataclass, field
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx2

from tests.support.databases import rows
from tests.support.server import Served

PASSWORD = "quiet lantern harbour"


@dataclass
class Form:
    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._select = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        got = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(got.get("action", ""), got.get("method", "get").lower()))
        if not self.forms:
            return
        fields = self.forms[-1].fields
        if tag == "input" and got.get("name") and got.get("type") not in ("submit", "checkbox", "radio"):
            fields[got["name"]] = got.get("value", "")
        elif tag == "select":
            self._select = got.get("name", "")
            fields[self._select] = ""
        elif tag == "option" and "selected" in got:
            fields[self._select] = got.get("value", "")


class Visitor:
    """Follows no redirect by itself."""

    def __init__(self, server: Served, **headers: str) -> None:
        self.server = server
        self.client = httpx2.Client(base_url=server.url, headers=headers, timeout=60)

    def get(self, path: str, **more: Any) -> httpx2.Response:
        return self.client.get(path, **more)

    def submit(self, page: httpx2.Response, action: str | None = None, **values: str) -> httpx2.Response:
        """Send the page's form (the last with this action, or with none), filled with `values`."""
        found = [form for form in forms_of(page) if form.method == "post"]
        chosen = [form for form in found if form.action == (action or "")]
        assert chosen, f"no form for {action!r} on {page.url}: {[form.action for form in found]}"
        target = chosen[-1].action or page.url.raw_path.decode()
        return self.client.post(target, data=chosen[-1].fields | values)

    def pass_screen(self, edition: str = "home", *, year: int = 1980, country: str = "IE") -> httpx2.Response:
        page = self.get(f"/accounts/signup/{edition}")
        return self.submit(page, country=country, year=str(year), month="5")

    def fill_sign_up(self, email: str, password: str = PASSWORD, **more: str) -> httpx2.Response:
        """The form for Home, with nothing optional."""
        page = self.pass_screen()
        values = {"email": email, "password": password, "accept": "on", **more}
        return self.submit(page, "/accounts/signup/home/register", **values)

    def sign_up(self, email: str, password: str = PASSWORD) -> httpx2.Response:
        """All the way: form, mail, confirmation. Signed in afterwards."""
        assert self.fill_sign_up(email, password).status_code == 302
        return self.confirm(email, password)

    def confirm(self, email: str, password: str = PASSWORD) -> httpx2.Response:
        page = self.get(link_in(self.server, email, "Confirm your address"))
        assert page.status_code == 200, page.text
        return self.submit(page, password=password)

    def sign_in(self, email: str, password: str = PASSWORD) -> httpx2.Response:
        return self.submit(self.get("/accounts/login"), "/accounts/login", login=email, password=password)

    def sign_in_afresh(self, path: str, password: str = PASSWORD) -> httpx2.Response:
        """Open a page that asks who is there once more."""
        asked = self.get(path)
        assert asked.status_code == 302, asked.status_code
        again = self.submit(self.get(asked.headers["location"]), password=password)
        assert again.status_code == 302, again.text
        return self.get(again.headers["location"])

    def become_staff(self, email: str) -> None:
        """With an authenticator app, which the console asks for; signed in afresh."""
        self.server.admin("staff", email)
        self.add_app()

    def add_app(self) -> None:
        """A second factor; whoever has just added one is signed in afresh."""
        page = self.sign_in_afresh("/profile/security/app/add")
        secret = re.search(r'<p class="hash">([A-Z2-7]+)</p>', page.text)
        assert secret is not None, page.text
        assert self.submit(page, code=code_of(secret[1])).status_code == 302


def code_of(secret: str) -> str:
    """RFC 6238, as an authenticator app has it."""
    counter = struct.pack(">Q", int(time.time()) // 30)
    digest = hmac.digest(base64.b32decode(secret), counter, hashlib.sha1)
    start = digest[-1] & 15
    return f"{(int.from_bytes(digest[start : start + 4]) & 0x7FFFFFFF) % 10**6:06d}"


def forms_of(page: httpx2.Response) -> list[Form]:
    return forms_in(page.text)


def forms_in(html: str) -> list[Form]:
    parser = _Forms()
    parser.feed(html)
    return parser.forms


def mails_to(data: Path, address: str) -> list[EmailMessage]:
    """Oldest first, from the mailbox of a server."""
    assert "'" not in address
    query = f"""select subject, text from mail_mail where "to" = '{address}' order by id"""
    return [mail_of(address, *row) for row in rows(data, query)]


def mail_of(address: str, subject: str, text: str) -> EmailMessage:
    mail = EmailMessage()
    mail["To"], mail["Subject"] = address, subject
    mail.set_content(text)
    return mail


def text_of(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def link_in(server: Served, address: str, subject: str, *, seconds: float = 20.0) -> str:
    """The path of the first link of the newest mail with that subject; waits for it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for mail in reversed(mails_to(server.data, address)):
            if mail["Subject"] == subject:
                found = re.search(rf"https?://(?:localhost|127\.0\.0\.1):{server.port}(/\S+)", text_of(mail))
                assert found is not None, text_of(mail)
                return found[1]
        time.sleep(0.05)
    raise AssertionError(
        f"no mail {subject!r} to {address}: {[m['Subject'] for m in mails_to(server.data, address)]}"
    )
