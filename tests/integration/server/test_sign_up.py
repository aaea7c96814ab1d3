"""Signing up over HTTP: age screen, form, mail, confirmation, first sign-in."""

from __future__ import annotations

import re

from muniment.model.codes import EnrolmentCode
from tests.support.server import Served
from tests.support.visitor import PASSWORD, Visitor, mails_to, text_of


def test_signing_up_with_nothing_optional_ends_signed_in(shared_server: Served) -> None:
    visitor = Visitor(shared_server)
    sent = visitor.fill_sign_up("first@example.org")
    assert (sent.status_code, sent.headers["location"]) == (302, "/accounts/confirm")
    early = visitor.sign_in("first@example.org")
    assert early.status_code == 200
    assert "not confirmed yet" in early.text
    assert visitor.get("/overview").status_code == 302
    done = visitor.confirm("first@example.org")
    assert (done.status_code, done.headers["location"]) == (302, "/overview")
    page = visitor.get("/overview")
    assert page.status_code == 200
    assert "Nothing is backed up yet" in page.text
    for path in ("/profile", "/profile/security", "/devices", "/confirmations", "/profile/details"):
        assert visitor.get(path).status_code == 200, path
    again = Visitor(shared_server).sign_in("first@example.org", PASSWORD)
    assert (again.status_code, again.headers["location"]) == (302, "/overview")
    assert len(mails_to(shared_server.data, "first@example.org")) >= 1


def test_who_asked_at_localhost_gets_a_link_there_and_how_to_read_it(shared_server: Served) -> None:
    shown = []
    for name in ("localhost", "127.0.0.1"):
        visitor = Visitor(shared_server)
        visitor.client.base_url = f"http://{name}:{shared_server.port}"
        sent = visitor.fill_sign_up(f"at-{name}@example.org")
        shown.append(visitor.get(sent.headers["location"]).text)
        [mail] = mails_to(shared_server.data, f"at-{name}@example.org")
        assert f"http://{name}:{shared_server.port}/accounts/confirm/" in text_of(mail)
    assert all("No mail server is set up" in page and 'href="/mailbox"' in page for page in shown)


def test_what_was_guessed_counts_after_a_restart(server: Served) -> None:
    owner, guesser = Visitor(server), Visitor(server)
    owner.sign_up("guessed@example.org")
    for _ in range(10):
        assert "do not go together" in guesser.sign_in("guessed@example.org", "not this one at all").text
    server.restart()
    assert "Too many tries" in guesser.sign_in("guessed@example.org").text


def test_the_owner_of_an_operators_account_agrees_and_sets_a_password(shared_server: Served) -> None:
    shared_server.create_account("made@example.org")
    link = str(shared_server.admin("sign-in-link", "made@example.org")["link"])
    assert link.startswith(shared_server.url)
    visitor = Visitor(shared_server)
    path = link.removeprefix(shared_server.url)
    page = visitor.get(path)
    assert "privacy statement" in page.text
    assert visitor.submit(page, password=PASSWORD).status_code == 422  # not without agreeing
    assert visitor.submit(page, password=PASSWORD, accept="on").status_code == 200
    assert visitor.get(path).status_code == 410
    assert visitor.sign_in("made@example.org").headers["location"] == "/overview"
    assert visitor.get("/overview").status_code == 200


def test_an_owner_makes_a_code_that_enrols_a_device(shared_server: Served) -> None:
    visitor = Visitor(shared_server)
    visitor.sign_up("codes@example.org")
    page = visitor.sign_in_afresh("/devices/code")
    shown = visitor.submit(page)
    found = re.search(r'id="code">([^<]+)<', shown.text)
    assert found is not None
    assert EnrolmentCode.parse(found[1]).new_vault
    assert found[1] not in visitor.get("/devices/code").text


def test_an_account_of_a_child_is_gone_at_once(shared_server: Served) -> None:
    visitor = Visitor(shared_server)
    visitor.sign_up("young@example.org")
    assert shared_server.admin("forget-child", "young@example.org") == {"forgotten": True}
    assert visitor.get("/overview").status_code == 302
    assert visitor.sign_in("young@example.org").status_code == 200
    assert shared_server.try_admin("forget-child", "young@example.org").returncode == 1
    # What is left is the receipt, on its way to the address.
    assert mails_to(shared_server.data, "young@example.org")
