"""A story: somebody wants no more offers, presses a link in one, and is sent none until they ask again."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx2
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browsing import Site, assert_accessible, cookies_of, opened
from tests.support.promoting import try_to_promote
from tests.support.server import Served
from tests.support.visitor import Visitor


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server whose directory is there before it: what another process seals it can open."""
    served = Served(tmp_path_factory.mktemp("opting-out")).start()
    yield Site(served)
    served.close()


def decide_on_offers(page: Page, site: Site, answer: str) -> None:
    page.goto(site.url + "/preferences")
    offers = page.get_by_role("group", name="May we send you offers?")
    offers.get_by_label(answer).check()
    page.get_by_role("button", name="Keep these choices").click()
    expect(offers).to_contain_text(f"you said {answer.lower()}")


def offers_in_mailbox(page: Page, site: Site, email: str) -> list[str]:
    """The texts of the offers that the mailbox shows, newest first."""
    page.goto(f"{site.url}/mailbox?to={email}")
    cards = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name="An offer"))
    return [card.inner_text() for card in cards.all()]


def link_in(text: str) -> str:
    found = re.search(r"Not any more: (\S+)", text)
    assert found is not None, text
    return urlsplit(found[1]).path


@pytest.mark.clause("P44")
def test_somebody_opts_out_from_a_mail_without_a_cookie(browser: Browser, page: Page, site: Site) -> None:
    served, email = site.served, f"{secrets.token_hex(6)}@example.org"
    visitor = Visitor(served)
    visitor.sign_up(email)
    page.context.add_cookies(cookies_of(visitor.client, site))
    assert not try_to_promote(served.data, email), "nobody asked for any"
    decide_on_offers(page, site, "Yes")
    assert try_to_promote(served.data, email)

    for stranger in opened(browser, site):
        (offer,) = offers_in_mailbox(stranger, site, email)
        stranger.goto(site.url + link_in(offer))
        assert_accessible(stranger)
        assert try_to_promote(served.data, email), "looking changes nothing"
        stranger.get_by_role("button", name="Send me no more").click()
        expect(stranger.get_by_role("heading", name="You get no more of it")).to_be_visible()
        assert not stranger.context.cookies()
        assert offers_in_mailbox(stranger, site, email) == [], "what waited is dropped"
    assert not try_to_promote(served.data, email)
    page.goto(site.url + "/preferences")
    expect(page.get_by_role("group", name="May we send you offers?")).to_contain_text("you said no")

    decide_on_offers(page, site, "Yes")
    assert try_to_promote(served.data, email), "a later yes counts more"
    (offer,) = offers_in_mailbox(page, site, email)
    # As a mail program does it by itself, RFC 8058.
    done = httpx2.post(served.url + link_in(offer), data={"List-Unsubscribe": "One-Click"}, timeout=60)
    assert (done.status_code, done.headers.get("set-cookie")) == (200, None)
    assert not try_to_promote(served.data, email)
    assert offers_in_mailbox(page, site, email) == []
