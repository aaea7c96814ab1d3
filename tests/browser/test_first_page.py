"""Somebody comes by, believes nothing, and tries both promises."""

from __future__ import annotations

import zipfile

import pytest
from playwright.sync_api import Page, expect

from muniment.server.site.sealed import sample, sample_archive
from tests.support.browsing import Site, assert_accessible


def test_somebody_tries_both_promises(page: Page, site: Site) -> None:
    page.goto(site.url + "/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Backup that nobody else can read")
    page.get_by_label("Look for a word of the letter").fill("kitchen")
    page.get_by_role("button", name="Look", exact=True).click()
    expect(page.get_by_text("Not one of them can be found")).to_be_visible()
    assert "kitchen" not in page.url
    assert_accessible(page)

    shown = page.get_by_role("region", name="The bytes of the pack")
    assert "4d 55 4e 49 50 41 43 4b" in shown.inner_text()
    page.get_by_role("link", name="The end").click()
    last = sample().pack[-16:].hex(" ")
    assert last in shown.inner_text()

    with page.expect_download() as started:
        page.get_by_role("link", name="Download the sealed vault").click()
    taken = started.value.path().read_bytes()
    assert taken == sample_archive()
    assert zipfile.is_zipfile(started.value.path())

    page.get_by_role("banner").get_by_role("link", name="Proof").click()
    assert page.locator("#P7").is_visible()
    assert page.context.cookies() == []


@pytest.mark.parametrize(("word", "said"), [
    ("submarine", "Neither here nor there"), ("  ", "No word to look for"), ("e", "It is there by chance"),
    ("<b>bread", "Neither here nor there"),
])  # fmt: skip
def test_whatever_word_somebody_enters(page: Page, site: Site, word: str, said: str) -> None:
    page.goto(site.url + "/sealed")
    page.get_by_label("Look for a word in the sealed pack").fill(word)
    page.get_by_role("button", name="Look", exact=True).click()
    expect(page.get_by_text(said)).to_be_visible()
