"""A story: somebody names a recipient, staff fetch what goes there, and taking it back ends that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.test_orders import somebody, staff
from tests.support.browsing import Site, assert_accessible
from tests.support.server import Served

ACCOUNTANT = f"""
[recipients.accountant]
title = "an accountant"
kind = "affiliate"
purposes = ["named_sharing"]
fields = ["accounts.Account.email", "accounts.Device.name"]
country = "IE"
transfer_basis = "asked for by the person"
contract = "terms of processing"
expires = 2099-01-01
reviewed = {datetime.now(UTC).date().isoformat()}
contact = "privacy@accountant.example"
"""
EMAIL = "naming@example.org"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server that began with a recipient whom people can name."""
    served = Served(tmp_path_factory.mktemp("naming") / "server")
    served.data.mkdir(mode=0o700)
    (served.data / "recipients.toml").write_text(ACCOUNTANT)
    served.start()
    yield Site(served)
    served.close()


def fetched(page: Page, site: Site) -> list[dict[str, list[str]]]:
    page.goto(site.url + "/console/recipients")
    with page.expect_download() as download:
        page.get_by_role("button", name="Fetch what people had us send").click()
    text = Path(download.value.path()).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.clause("P37")
def test_somebody_names_a_recipient_and_takes_it_back(browser: Browser, site: Site) -> None:
    with staff(browser, site) as console, somebody(browser, site, EMAIL) as page:
        assert fetched(console, site) == []
        page.goto(site.url + "/preferences")
        choice = page.get_by_role("group", name="to an accountant (IE)")
        choice.get_by_label("Accounts: E-mail address").check()
        last_day = datetime.now(UTC).date() + timedelta(days=90)
        choice.get_by_label("Last day").fill(last_day.isoformat())
        page.get_by_role("button", name="Yes, send it").click()
        stands = page.get_by_role("listitem").filter(has_text="an accountant gets")
        expect(stands).to_contain_text("Accounts: E-mail address")
        assert_accessible(page)
        with page.expect_download() as download:
            stands.get_by_role("link", name="Receipt").click()
        receipt = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
        assert receipt["events"][0]["event_state"] == "consent given"

        assert fetched(console, site) == [{"accounts.Account.email": [EMAIL]}]
        page.goto(site.url + "/ledger")
        for fact in ("accountant", "accounts.Account.email"):
            expect(page.get_by_role("row").filter(has_text="isclosed").first).to_contain_text(fact)

        page.goto(site.url + "/preferences")
        stands.get_by_role("button", name="Take it back").click()
        expect(page.get_by_text("Kept. It holds from now on.")).to_be_visible()
        expect(stands).to_have_count(0)
        assert fetched(console, site) == []
