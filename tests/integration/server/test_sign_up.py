"""Signing up over HTTP: age screen, form, mail, confirmation, first sign-in."""

from __future__ import annotations

from tests.support.server import Served
from tests.support.visitor import PASSWORD, Visitor, mails_to


def test_signing_up_with_nothing_optional_ends_signed_in(shared_server: Served) -> None:
    visitor = Visitor(shared_server)
    sent = visitor.fill_sign_up("first@example.org")
    assert (sent.status_code, sent.headers["location"]) == (302, "/accounts/confirm")
    early = visitor.sign_in("first@example.org")
    assert (early.status_code, early.headers["location"]) == (302, "/accounts/confirm")
    assert visitor.get("/overview").status_code == 302
    done = visitor.confirm("first@example.org")
    assert (done.status_code, done.headers["location"]) == (302, "/overview")
    page = visitor.get("/overview")
    assert page.status_code == 200
    assert "Nothing is backed up yet" in page.text
    for path in ("/profile", "/profile/security", "/devices", "/confirmations", "/profile/details", "/profile/country"):
        assert visitor.get(path).status_code == 200, path
    again = Visitor(shared_server).sign_in("first@example.org", PASSWORD)
    assert (again.status_code, again.headers["location"]) == (302, "/overview")
    assert len(mails_to(shared_server.data, "first@example.org")) >= 1
