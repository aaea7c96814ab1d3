"""Every page there is, as people's browsers show it: accessible, no wider than the window, alone."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest
from playwright.sync_api import Browser, Page

from tests.support.browsing import NARROW, WIDE, Site, cookies_of, opened, overflow, serious_findings
from tests.support.crawl import crawl
from tests.support.visitor import Visitor

SIGHTS = [("light", WIDE), ("dark", NARROW)]


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


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "viewport"), SIGHTS, ids=["wide-light", "narrow-dark"])
def test_pages_for_everybody(browser: Browser, site: Site, scheme: str, viewport: dict[str, int]) -> None:
    with httpx2.Client(base_url=site.served.url, timeout=60) as client:
        paths = [*whole_pages(client), "/no/such/page"]
    assert len(paths) > 15
    for page in opened(browser, site, color_scheme=scheme, viewport=viewport):
        assert not list(findings(page, site, paths))


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "viewport"), SIGHTS, ids=["wide-light", "narrow-dark"])
def test_pages_of_an_owner(browser: Browser, site: Site, scheme: str, viewport: dict[str, int]) -> None:
    visitor = Visitor(site.served)
    visitor.sign_up(f"every-page-{scheme}@example.org")
    public = ("/privacy", "/editions", "/sealed", "/cookies")
    found = whole_pages(visitor.client, "/overview", "/profile")
    paths = [path for path in found if not path.startswith(public)]
    assert len(paths) > 8
    for page in opened(browser, site, color_scheme=scheme, viewport=viewport):
        page.context.add_cookies(cookies_of(visitor.client, site))
        assert not list(findings(page, site, paths))
