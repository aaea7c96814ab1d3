"""Every page there is, as people's browsers show it: accessible, no wider than the window, alone."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser, Page

from tests.support.browsing import Sight, Site, cookies_of, opened, overflow, serious_findings
from tests.support.crawl import crawl
from tests.support.machine import Machine
from tests.support.visitor import Visitor

PUBLIC = ("/privacy", "/editions", "/sealed", "/cookies", "/console")
ORDER = {
    "cause": "order", "issuer": "a district court", "country": "IE", "legal_basis": "section 15",
    "scope": "accounts.Account.email", "days": "10", "gag_days": "30",
}  # fmt: skip
BREACH = {"happened": "A disk was lost", "noticed": "2026-01-05T10:30", "categories": "contact"}
LETTER = {"message_class": "promotion", "title": "Two vaults for one", "text": "Until Sunday.\n\nYours"}


def whole_pages(client: httpx2.Client, *start: str) -> list[str]:
    """Each page once, whatever its query."""
    found = crawl(client, start=start or ("/",), skip=("/accounts/logout",))
    whole = [page for page in found if page.text and page.status == 200]
    return list(dict.fromkeys(page.path.partition("?")[0] for page in whole))


def findings(page: Page, site: Site, paths: list[str]) -> Iterator[str]:
    for path in paths:
        page.goto(site.url + path)
        yield from (f"{path}: {finding}" for finding in serious_findings(page))
        if wider := overflow(page):
            yield f"{path}: {wider} pixels wider than the window"


def look_at(browser: Browser, site: Site, sight: Sight, visitor: Visitor, paths: list[str]) -> None:
    for page in opened(browser, site, **sight.browser()):
        page.context.add_cookies(cookies_of(visitor.client, site))
        assert not list(findings(page, site, paths))


@pytest.fixture(scope="module")
def owner(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Visitor:
    """Somebody with a machine that backs up and an open request, signed in just now."""
    folder = tmp_path_factory.mktemp("owner")
    email = f"owner-{secrets.token_hex(4)}@example.org"
    visitor = Visitor(site.served)
    assert visitor.sign_up(email).status_code == 302
    code = site.served.admin("enrol", email, "--new-vault")["code"]
    machine = Machine(folder / "machine").connect(site.served.url, code)
    machine.done("backup", Path(__file__).parent / "vendored")
    assert visitor.sign_in_afresh("/profile/delete").status_code == 200
    assert visitor.submit(visitor.get("/profile/delete")).status_code == 302
    return visitor


@pytest.fixture(scope="module")
def staff(site: Site, owner: Visitor) -> Visitor:
    """A member of staff, signed in just now, who has an order, a breach and a letter before them."""
    email = f"staff-{secrets.token_hex(4)}@example.org"
    visitor = Visitor(site.served)
    assert visitor.sign_up(email).status_code == 302
    visitor.become_staff(email)
    orders = visitor.get("/console/orders")
    assert visitor.submit(orders, **ORDER, email=email).status_code == 302
    assert visitor.submit(visitor.get("/console/breaches"), **BREACH).status_code == 302
    assert visitor.submit(visitor.get("/console/letters"), **LETTER).status_code == 302
    return visitor


@pytest.mark.slow
def test_pages_for_everybody(browser: Browser, site: Site, sight: Sight) -> None:
    visitor = Visitor(site.served)
    paths = [*whole_pages(visitor.client), "/no/such/page"]
    assert len(paths) > 15
    look_at(browser, site, sight, visitor, paths)


@pytest.mark.slow
def test_pages_of_an_owner(browser: Browser, site: Site, sight: Sight, owner: Visitor) -> None:
    found = whole_pages(owner.client, "/overview", "/profile")
    paths = [path for path in found if not path.startswith(PUBLIC)]
    assert {"/overview", "/devices", "/requests", "/profile/delete"} <= set(paths)
    look_at(browser, site, sight, owner, paths)


def test_pages_of_staff(browser: Browser, site: Site, sight: Sight, staff: Visitor) -> None:
    found = whole_pages(staff.client, "/console/orders", "/console/requests")
    paths = [path for path in found if path.startswith("/console")]
    assert "/console/letters" in paths
    assert "a district court" in staff.get("/console/orders").text
    look_at(browser, site, sight, staff, paths)
