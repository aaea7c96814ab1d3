"""An authority asks: two of staff approve, the person is told, and everybody can read that it happened."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
from playwright.sync_api import Browser, Page, expect

from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.ledger.verification import verify_export
from tests.support.browsing import Site, assert_accessible, cookies_of, opened
from tests.support.visitor import Visitor

SCOPE = ["accounts.Account.country", "accounts.Account.email"]


@contextmanager
def somebody(browser: Browser, site: Site, email: str) -> Iterator[Page]:
    """A person with an account, in a browser of their own."""
    visitor = Visitor(site.served)
    assert visitor.sign_up(email).status_code == 302
    for page in opened(browser, site):
        page.context.add_cookies(cookies_of(visitor.client, site))
        yield page


@contextmanager
def staff(browser: Browser, site: Site) -> Iterator[Page]:
    email, visitor = f"{secrets.token_hex(6)}@example.org", Visitor(site.served)
    assert visitor.sign_up(email).status_code == 302
    visitor.become_staff(email)
    for page in opened(browser, site):
        page.context.add_cookies(cookies_of(visitor.client, site))
        page.goto(site.url + "/console/orders")
        page.get_by_role("heading", name="Orders of authorities").wait_for()
        yield page


def enter_order(page: Page, *, about: str, issuer: str) -> None:
    page.get_by_label("Why", exact=True).select_option("an order of a court or authority")
    page.get_by_label("Court or authority").fill(issuer)
    page.get_by_label("Its country").fill("IE")
    page.get_by_label("Legal basis").fill("section 15")
    page.get_by_label("Address of the account").fill(about)
    asked = page.get_by_role("group", name="What is asked for")
    asked.get_by_text("Accounts", exact=True).first.click()
    for title in ("Country", "E-mail address"):
        asked.get_by_role("group", name="Accounts", exact=True).get_by_label(title, exact=True).check()
    page.get_by_label("Days until it is owed").fill("10")
    page.get_by_role("button", name="Take in").click()
    expect(page.get_by_text("Two different people have to approve it.")).to_be_visible()


def figures(page: Page) -> dict[str, int]:
    """What the page counts, by the words beside each number."""
    terms = page.locator("dl.facts dt").all_inner_texts()
    values = page.locator("dl.facts dd").all_inner_texts()
    return {term: int(value.split()[0]) for term, value in zip(terms, values, strict=True)}


def test_two_of_staff_approve_an_order_and_the_person_is_told(browser: Browser, site: Site) -> None:
    email, issuer = f"{secrets.token_hex(6)}@example.org", f"district court {secrets.token_hex(3)}"
    with somebody(browser, site, email) as person, staff(browser, site) as one, staff(browser, site) as two:
        enter_order(one, about=email, issuer=issuer)
        case = one.get_by_role("listitem").filter(has_text=issuer)
        case.get_by_role("button", name="Approve").click()
        expect(case).to_contain_text("Somebody else has to, too.")
        expect(case.get_by_role("button", name="Export")).to_have_count(0)
        assert_accessible(one)
        person.goto(site.url + "/ledger")
        expect(person.get_by_text(issuer)).to_have_count(0)

        two.reload()
        case = two.get_by_role("listitem").filter(has_text=issuer)
        case.get_by_role("button", name="Approve").click()
        expect(case).to_contain_text("by two people")
        case.get_by_role("button", name="Export what it covers").click()
        expect(two.get_by_text("The document is made.")).to_be_visible()
        assert_accessible(two)
        case = two.get_by_role("listitem").filter(has_text=issuer)
        with two.expect_download() as download:
            case.get_by_role("button", name="Fetch the document").click()
        document = json.loads(Path(download.value.path()).read_text())
        assert document["fields"] == {SCOPE[0]: ["IE"], SCOPE[1]: [email]}
        assert "sealed with a key that we never had" in document["cannot_be_given"]
        case.get_by_role("button", name="They have it").click()
        expect(two.get_by_text("Our copy of the document is deleted.")).to_be_visible()
        expect(two.get_by_role("listitem").filter(has_text=issuer)).to_have_count(0)
        expect(two.get_by_role("row").filter(has_text=issuer)).to_contain_text("answered")
        assert_accessible(two)

        person.goto(site.url + "/mailbox")
        letter = person.get_by_role("listitem").filter(has_text=email).filter(has_text=issuer)
        expect(letter.get_by_role("link")).to_have_attribute("href", site.url + "/ledger")
        person.goto(site.url + "/ledger")  # by the name that the browser is signed in at
        told = person.get_by_role("row").filter(has_text=issuer)
        expect(told.first).to_contain_text("accounts.Account.email")
        assert_accessible(person)


def test_reading_the_transparency_page(page: Page, site: Site) -> None:
    """And believing none of it: the figures are counted again from the ledger that everybody can fetch."""
    page.goto(site.url + "/")
    page.get_by_role("contentinfo").get_by_role("link", name="Transparency").click()
    assert_accessible(page)
    cannot = page.get_by_role("region", name="What we could not give")
    expect(cannot).to_contain_text("The contents, names, sizes and shapes of what is backed up")
    expect(cannot.get_by_role("link", name="proof page")).to_have_attribute("href", "/privacy/proof")
    shown = figures(page)

    with httpx2.Client(base_url=site.served.url, timeout=60) as client:
        lines = client.get("/ledger/entries").content.splitlines(keepends=True)
    assert verify_export(lines)
    kinds = Counter(json.loads(line).get("kind") for line in lines)
    assert shown["Received"] == kinds[Kind.ORDER_RECEIVED]
    assert shown["Refused"] == kinds[Kind.ORDER_REFUSED]
    assert shown["Answered"] == kinds[Kind.ORDER_EXPORTED]
    assert shown["Told to the person"] == kinds[Kind.ORDER_TOLD]
    assert shown["Refused by the gate"] == kinds[Kind.DISCLOSURE_REFUSED]

    answer = page.goto(site.url + str(page.get_by_role("link", name="as JSON").get_attribute("href")))
    assert answer is not None
    orders = answer.json()["orders"]
    assert [orders[name] for name in ("received", "refused", "exported", "told")] == list(shown.values())[:4]
