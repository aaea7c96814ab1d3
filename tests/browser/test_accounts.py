"""Stories of accounts: signing up with nothing optional, a passkey, an authenticator app."""

from __future__ import annotations

from playwright.sync_api import Page

from tests.support.browsing import Site, assert_accessible, plug_in_authenticator
from tests.support.visitor import PASSWORD, code_of, link_in


def sign_up(page: Page, site: Site, email: str) -> None:
    """From the first page to the overview, with nothing that is optional."""
    page.goto(site.url + "/")
    page.get_by_role("banner").get_by_role("link", name="Create an account").click()
    assert_accessible(page)
    page.get_by_role("link", name="Sign up for Home").click()
    assert_accessible(page)
    page.get_by_label("Country").select_option("IE")
    page.get_by_label("Year of birth").fill("1980")
    page.get_by_label("Month of birth").select_option("5")
    page.get_by_role("button", name="Go on").click()
    assert_accessible(page)
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("I have read the privacy statement").check()
    page.get_by_role("button", name="Create the account").click()
    page.get_by_role("heading", name="Look into your mail").wait_for()
    assert_accessible(page)
    page.goto(site.url + link_in(site.served, email, "Confirm your address"))
    page.get_by_label("The password you chose").fill(PASSWORD)
    page.get_by_role("button", name="Confirm and sign in").click()
    page.get_by_role("heading", name="Nothing is backed up yet").wait_for()


def sign_out(page: Page, site: Site) -> None:
    page.goto(site.url + "/profile")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(site.url + "/")


def test_signing_up_with_nothing_optional(page: Page, site: Site) -> None:
    sign_up(page, site, "plain@example.org")
    assert_accessible(page)
    for path in ("/profile", "/profile/security", "/devices", "/confirmations", "/profile/details"):
        page.goto(site.url + path)
        assert_accessible(page)
    page.goto(site.url + "/profile")
    page.get_by_text("of which we hold nothing").click()
    rows = page.get_by_role("row").filter(has_text="nothing")
    assert rows.filter(has_text="Phone number").count() == 1
    assert page.get_by_role("row").filter(has_text="plain@example.org").count() == 1


def test_registering_a_passkey_and_signing_in_with_it(page: Page, site: Site) -> None:
    sign_up(page, site, "passkey@example.org")
    plug_in_authenticator(page)
    page.goto(site.url + "/profile/security")
    page.get_by_role("link", name="Add a passkey").click()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Go on").click()
    page.get_by_label("Name").fill("this laptop")
    assert_accessible(page)
    page.get_by_role("button", name="Add the passkey").click()
    page.get_by_role("heading", name="Recovery codes").wait_for()
    assert page.get_by_role("listitem").filter(has_text=" ").count() > 0
    assert_accessible(page)
    page.get_by_role("link", name="Done").click()
    page.get_by_text("this laptop").first.wait_for()
    sign_out(page, site)
    page.goto(site.url + "/accounts/login")
    assert_accessible(page)
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.get_by_role("heading", name="Nothing is backed up yet").wait_for()


def test_an_authenticator_app_is_asked_for_after_the_password(page: Page, site: Site) -> None:
    sign_up(page, site, "app@example.org")
    page.goto(site.url + "/profile/security")
    page.get_by_role("link", name="Add an authenticator app").click()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Go on").click()
    assert_accessible(page)
    secret = page.locator(".qr .hash").inner_text().strip()
    page.get_by_label("Authenticator code").fill(code_of(secret))
    page.get_by_role("button", name="Add the app").click()
    page.get_by_role("heading", name="Recovery codes").wait_for()
    spare = page.locator(".codes li").first.inner_text().strip()
    sign_out(page, site)
    page.goto(site.url + "/accounts/login")
    page.get_by_label("E-mail address").fill("app@example.org")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("heading", name="The second step").wait_for()
    assert_accessible(page)
    page.get_by_label("Code").fill(spare)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Nothing is backed up yet").wait_for()
