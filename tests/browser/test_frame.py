"""The frame of every page: reads without scripts, by keyboard, narrow and wide, light and dark."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page

from tests.support.browsing import NARROW, Sight, Site, assert_accessible, cookies_of, opened, overflow
from tests.support.visitor import Visitor

PAPER = {"light": "rgb(250, 248, 243)", "dark": "rgb(18, 22, 29)"}


def ground(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_every_public_page_reads_without_scripts(scriptless_page: Page, site: Site) -> None:
    page = scriptless_page
    page.goto(site.url + "/")
    links = page.get_by_role("navigation").get_by_role("link")
    paths = {link.get_attribute("href") for link in links.all()}
    assert "/editions" in paths
    for path in sorted(filter(None, paths)):
        answer = page.goto(site.url + path)
        assert answer is not None
        assert answer.status == 200
        assert page.get_by_role("heading", level=1).inner_text().strip()
        assert len(page.get_by_role("main").inner_text()) > 40


@pytest.mark.parametrize("path", ["/", "/editions", "/no/such/page"])
def test_pages_are_accessible_and_fit(browser: Browser, site: Site, path: str, sight: Sight) -> None:
    for page in opened(browser, site, **sight.browser()):
        page.goto(site.url + path)
        assert ground(page) == PAPER[sight.scheme]
        assert overflow(page) == 0
        assert_accessible(page)


def test_a_chosen_appearance_is_kept_without_scripts(scriptless_page: Page, site: Site) -> None:
    page = scriptless_page
    page.emulate_media(color_scheme="light")
    page.goto(site.url + "/editions")
    page.get_by_role("button", name="Dark").click()
    assert page.url == site.url + "/editions"
    assert page.locator("html").get_attribute("data-appearance") == "dark"
    page.goto(site.url + "/")
    assert page.get_by_role("button", name="Dark").get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="As my machine has them").click()
    assert page.context.cookies() == []


def test_the_first_tab_skips_to_what_the_page_says(page: Page, site: Site) -> None:
    page.goto(site.url + "/")
    page.keyboard.press("Tab")
    focused = page.locator(":focus")
    assert focused.inner_text() == "Skip to what this page says"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_a_narrow_window_cuts_nothing_off(browser: Browser, site: Site) -> None:
    visitor = Visitor(site.served)
    visitor.sign_up("narrow@example.org")
    assert visitor.sign_in_afresh("/devices/code").status_code == 200
    for page in opened(browser, site, viewport=NARROW):
        page.context.add_cookies(cookies_of(visitor.client, site))
        page.goto(site.url + "/devices/code")
        page.get_by_role("button", name="Make a code").click()
        places = [link.bounding_box() for link in page.get_by_role("navigation").get_by_role("link").all()]
        assert len(places) > 6
        assert all(box and box["x"] >= 0 and box["x"] + box["width"] <= NARROW["width"] for box in places)
        assert_whole(page, "muniment connect")
        page.goto(site.url + "/ledger")
        assert_whole(page, "muniment-ledger-verify")


def assert_whole(page: Page, command: str) -> None:
    line = page.locator("pre").filter(has_text=command)
    assert line.evaluate("line => line.scrollWidth <= line.clientWidth")
