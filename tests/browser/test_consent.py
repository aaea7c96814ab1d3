"""Two stories: somebody refuses every cookie and uses everything; somebody's browser speaks for them."""

from __future__ import annotations

import json
import re
import secrets
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from muniment.server.privacy.ledger.verification import verify_document
from muniment.server.privacy.statement import read_statement
from tests.support.browsing import Sight, Site, assert_accessible, opened, overflow
from tests.support.visitor import PASSWORD, link_in

COOKIES = read_statement().cookies
SIGNAL = {"Sec-GPC": "1"}


def cookies(page: Page) -> set[str]:
    return {cookie["name"] for cookie in page.context.cookies()}  # type: ignore[typeddict-item]


def sign_up_and_in(page: Page, site: Site) -> None:
    """A new Home account with nothing optional."""
    address = f"{secrets.token_hex(6)}@example.org"
    page.goto(site.url + "/accounts/signup/home")
    page.get_by_label("Country").select_option("IE")
    page.get_by_label("Year of birth").fill("1980")
    page.get_by_label("Month of birth").select_option("5")
    page.get_by_role("button", name="Go on").click()
    page.get_by_label("E-mail address").fill(address)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("I have read the privacy statement").check()
    page.get_by_role("button", name="Create the account").click()
    page.get_by_role("heading", name="Look into your mail").wait_for()
    page.goto(site.url + link_in(site.served, address, "Confirm your address"))
    page.get_by_label("The password you chose").fill(PASSWORD)
    page.get_by_role("button", name="Confirm and sign in").click()
    page.wait_for_url(site.url + "/overview")


@pytest.mark.clause("P52", "P53")
def test_somebody_refuses_all_cookies_and_uses_everything(page: Page, site: Site) -> None:
    page.goto(site.url + "/")
    question = page.get_by_role("region", name="May this browser remember a little more?")
    accept, decline = (
        question.get_by_role("button", name=name).bounding_box() for name in ("Accept", "Decline")
    )
    assert accept is not None
    assert decline is not None
    assert (accept["width"], accept["height"]) == (decline["width"], decline["height"])
    assert not cookies(page)
    question.get_by_role("button", name="Decline").click()
    assert page.url == site.url + "/"
    expect(question).to_have_count(0)
    links = [link.get_attribute("href") or "" for link in page.get_by_role("link").all()]
    paths = {link.partition("#")[0] for link in links}
    for path in sorted(path for path in paths if path.startswith("/") and "." not in path):
        answer = page.goto(site.url + path)
        assert answer is not None
        assert answer.status == 200, path
        expect(question).to_have_count(0)
    assert cookies(page) <= {"cookie_choice", "csrftoken"}

    sign_up_and_in(page, site)
    for path in (
        "/overview",
        "/profile",
        "/devices",
        "/confirmations",
        "/preferences",
        "/ledger",
        "/cookies",
    ):
        answer = page.goto(site.url + path)
        assert answer is not None
        assert answer.status == 200, path
        expect(question).to_have_count(0)
        assert all(COOKIES[name].essential for name in cookies(page)), path


@pytest.mark.clause("P41")
def test_a_browser_that_sends_the_signal_is_heard(browser: Browser, site: Site, tmp_path: Path) -> None:
    for page in opened(browser, site, extra_http_headers=SIGNAL):
        page.goto(site.url + "/preferences")
        expect(page.get_by_text("Your browser sends Global Privacy Control")).to_be_visible()
        answer = page.goto(site.url + "/.well-known/gpc.json")
        assert answer is not None
        assert answer.json()["gpc"] is True

        sign_up_and_in(page, site)
        page.goto(site.url + "/preferences")
        advertising = page.get_by_role("group", name=re.compile("advertising"))
        expect(advertising).to_contain_text("not decided: counts as no")
        expect(advertising).to_contain_text("Global Privacy Control refuses this")
        expect(advertising).to_contain_text("A yes here counts more than the signal")
        advertising.get_by_label("Yes").check()
        page.get_by_role("button", name="Keep these choices").click()
        expect(advertising).to_contain_text("you said yes")
        advertising.get_by_label("No").check()
        page.get_by_role("button", name="Keep these choices").click()
        expect(advertising).to_contain_text("you said no")

        page.goto(site.url + "/ledger")
        for words in ("signal honoured", "consent granted", "consent withdrawn"):
            expect(page.get_by_role("cell", name=words)).to_be_visible()
        with page.expect_download() as download:
            page.get_by_role("link", name="Download all, with proofs").click()
        bundle = json.loads(Path(download.value.path()).read_text())
        assert len(verify_document(bundle)) >= 3


def test_pages_of_choices_are_accessible_and_fit(browser: Browser, site: Site, sight: Sight) -> None:
    headers = SIGNAL if sight.scheme == "dark" else {}
    for page in opened(browser, site, extra_http_headers=headers, **sight.browser()):
        for path in ("/cookies", "/preferences", "/ledger"):
            page.goto(site.url + path)
            assert overflow(page) == 0, path
            assert_accessible(page)
        sign_up_and_in(page, site)
        page.goto(site.url + "/preferences")
        page.get_by_role("group").filter(has_text="offers").first.get_by_label("Yes").check()
        page.get_by_role("button", name="Keep these choices").click()
        for path in ("/preferences", "/ledger"):
            page.goto(site.url + path)
            assert overflow(page) == 0, path
            assert_accessible(page)
