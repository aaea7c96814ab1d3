"""Stories of one's own data: a copy of all of it; an account deleted, with its receipt; a stranger asking."""

from __future__ import annotations

import io
import json
import re
import sqlite3
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

from playwright.sync_api import Page

from muniment.server.privacy.export import read_archive
from tests.support.browsing import Site, assert_accessible, cookies_of
from tests.support.server import Served
from tests.support.visitor import PASSWORD, Visitor, link_in, mails_to, text_of


def sign_in(page: Page, site: Site, email: str) -> None:
    """Somebody with an account, in this browser."""
    visitor = Visitor(site.served)
    assert visitor.sign_up(email).status_code == 302
    page.context.add_cookies(cookies_of(visitor.client, site))


def prove(page: Page) -> None:
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Go on").click()


def let_days_pass(served: Served, *, days: int) -> None:
    """As if: open requests get older, then the operator's command does what is due."""
    table, by = "privacy_requests_request", timedelta(days=days)
    with sqlite3.connect(served.data / "muniment.sqlite3", timeout=30) as rows:
        for key, runs_at in rows.execute(f"select id, runs_at from {table} where outcome = ''").fetchall():
            earlier = runs_at and str(datetime.fromisoformat(runs_at) - by)
            rows.execute(
                f"update {table} set received = received - ?1, due = due - ?1, runs_at = ?2 where id = ?3",
                (int(by.total_seconds()), earlier, key),
            )
    served.admin("requests", "--run")


def test_taking_a_copy_of_everything(page: Page, site: Site) -> None:
    sign_in(page, site, "copy@example.org")
    page.goto(site.url + "/requests")
    assert_accessible(page)
    page.get_by_role("link", name="Get the archive").click()
    prove(page)
    assert_accessible(page)
    with page.expect_download() as download:
        page.locator("form[action='/requests/export'] button").click()
    rows = read_archive(io.BytesIO(Path(download.value.path()).read_bytes()))
    assert [row["email"] for row in rows["accounts.Account"]] == ["copy@example.org"]
    page.goto(site.url + "/requests")
    page.get_by_role("row").filter(has_text="Take it away").filter(has_text="done").wait_for()


def test_deleting_the_account_and_holding_the_receipt(page: Page, site: Site, tmp_path: Path) -> None:
    email = "gone@example.org"
    sign_in(page, site, email)
    page.goto(site.url + "/profile/delete")
    prove(page)
    assert_accessible(page)
    page.get_by_role("button", name="Delete my account").click()
    page.get_by_text("Your account will be deleted").wait_for()
    assert_accessible(page)
    page.get_by_role("button", name="Keep my account").click()
    page.get_by_text("Taken back. Nothing was deleted.").wait_for()
    page.goto(site.url + "/profile/delete")
    page.get_by_role("button", name="Delete my account").click()
    page.get_by_role("link", name="This is where the receipt will be").click()
    page.get_by_text("until then it can be taken back").wait_for()
    receipt = page.url
    let_days_pass(site.served, days=3)
    page.goto(site.url + "/overview")
    assert "/accounts/login" in page.url
    page.goto(receipt)
    page.get_by_text("Everything that this service held about a person was deleted").wait_for()
    assert_accessible(page)
    mailed = re.search(r"/receipt/\S+", text_of(mails_to(site.served.data, email)[-1]))
    assert mailed is not None
    assert receipt.endswith(mailed[0])
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the receipt with its proof").click()
    kept = tmp_path / "receipt.json"
    kept.write_bytes(Path(download.value.path()).read_bytes())
    assert email not in kept.read_text()
    assert json.loads(kept.read_text())["content"]["deleted"]["accounts.Account"] == 1
    checked = subprocess.run(
        [sys.executable, "-m", "muniment.main.ledger_verify", str(kept)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_asking_without_an_account(page: Page, site: Site) -> None:
    email = "stranger@example.org"
    page.goto(site.url + "/privacy/request")
    assert_accessible(page)
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("What you ask").select_option("See what is held")
    page.get_by_role("button", name="Ask").click()
    page.get_by_role("heading", name="Look into your mail").wait_for()
    assert_accessible(page)
    link = site.url + link_in(site.served, email, "Was it you who asked?")
    page.goto(link)
    assert_accessible(page)
    page.get_by_role("button", name="It was me").click()
    page.get_by_role("heading", name="We have your request").wait_for()
    assert_accessible(page)
    page.goto(link)
    page.get_by_text("This link does not work any more").wait_for()
    site.served.admin("requests", "--run")
    assert "no account under this address" in text_of(mails_to(site.served.data, email)[-1])
