"""Every page that a link leads to, without an account and with one: whole, alone, honest about leaving."""

from __future__ import annotations

from collections import Counter

import httpx2
import pytest

from tests.support.crawl import Crawled, crawl, read_page
from tests.support.server import Served
from tests.support.visitor import Visitor

EMAIL = "crawler-of-pages@example.org"
LEAVE_OUT = ("/accounts/logout",)
PUBLIC = {"/", "/sealed", "/editions/home", "/privacy", "/privacy/proof", "/privacy/data", "/cookies"}
OWN = {"/overview", "/profile", "/devices", "/confirmations", "/ledger", "/preferences"}


@pytest.fixture(scope="module")
def public_pages(shared_server: Served) -> list[Crawled]:
    with httpx2.Client(base_url=shared_server.url, timeout=60) as client:
        return crawl(client)


@pytest.fixture(scope="module")
def own_pages(shared_server: Served) -> list[Crawled]:
    visitor = Visitor(shared_server)
    assert visitor.sign_up(EMAIL).status_code == 302
    return crawl(visitor.client, start=("/", *sorted(OWN)), skip=LEAVE_OUT)


@pytest.fixture(scope="module")
def pages(public_pages: list[Crawled], own_pages: list[Crawled]) -> list[Crawled]:
    return public_pages + own_pages


def test_the_crawler_gets_about(public_pages: list[Crawled], own_pages: list[Crawled]) -> None:
    assert {page.path for page in public_pages} >= PUBLIC
    assert {page.path for page in own_pages if page.status == 200} >= PUBLIC | OWN


def test_every_link_leads_somewhere(pages: list[Crawled]) -> None:
    broken = {page.path: page.status for page in pages if page.status not in (200, 302)}
    assert not broken


@pytest.mark.clause("P8", "P9", "P75", "P76")
def test_links_that_leave_say_so(pages: list[Crawled]) -> None:
    leaving = [(page.path, link) for page in pages for link in page.links if link.leaves]
    assert leaving, "no page links elsewhere: this test would show nothing"
    assert not [(path, link.href) for path, link in leaving if not link.is_marked]
    telling = [page for page in pages if any(link.leaves for link in page.links)]
    assert all("(leaves this site: " in page.text for page in telling)
    shown = [page for page in pages if page.text and page.status == 200]
    assert all("our statement does not speak for them" in page.text for page in shown)


def test_the_crawler_sees_a_link_that_does_not_say_so() -> None:
    planted = '<a href="https://example.com/" rel="noreferrer">there</a> <a href="//example.com">there</a>'
    answer = httpx2.Response(200, html=planted)
    assert [(link.leaves, link.is_marked) for link in read_page("/", answer).links] == [(True, False)] * 2


@pytest.mark.clause("P65")
def test_nothing_is_loaded_from_elsewhere_and_nothing_is_inline(pages: list[Crawled]) -> None:
    loads = {(page.path, one) for page in pages for one in page.loads}
    assert not {(path, one) for path, one in loads if not one.startswith(("/", "data:"))}
    assert not {(path, one) for path, one in loads if one.startswith("//")}
    assert not {(page.path, one) for page in pages for one in page.inline}


@pytest.mark.clause("P65")
def test_no_address_of_ours_says_who_somebody_is(own_pages: list[Crawled]) -> None:
    assert any(EMAIL in page.text for page in own_pages)
    local = EMAIL.partition("@")[0]
    addresses = {link.href for page in own_pages for link in page.links} | {page.path for page in own_pages}
    addresses |= {form.action for page in own_pages for form in page.forms}
    assert not {one for one in addresses if local in one or "%40" in one}
    # A form that is sent by GET writes what somebody enters into the address.
    assert not {(page.path, form.action) for page in own_pages for form in page.forms if form.method == "get"}


def test_pages_are_well_made(pages: list[Crawled]) -> None:
    for page in pages:
        if page.status != 200 or not page.text:
            continue
        doubled = [name for name, times in Counter(page.ids).items() if times > 1]
        assert not doubled, (page.path, doubled)
        assert page.text.count("<h1") == 1, page.path
        assert "<title>" in page.text
