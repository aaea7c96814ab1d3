"""Somebody's own data over HTTP: the copy, objections, Delete Account with its receipt; and nobody else's."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

from muniment.server.privacy.export import read_archive
from tests.support.databases import change, environment_for, rows
from tests.support.server import Served
from tests.support.visitor import PASSWORD, Visitor, link_in


def surroundings(server: Served) -> dict[str, str]:
    return {**os.environ, **environment_for(server.data), "PYTHONWARNINGS": "ignore"}


def run_what_is_due(server: Served, *, later: timedelta) -> None:
    """As if `later` had passed: the rows get older, then the operator's own command runs what is due."""
    table = "privacy_requests_request"
    seconds = int(later.total_seconds())
    for key, runs_at in rows(server.data, f"select id, runs_at from {table} where outcome = ''"):
        aged = f"received = received - {seconds}, due = due - {seconds}"
        if runs_at is not None:
            aged += f", runs_at = '{datetime.fromisoformat(str(runs_at)) - later}'"
        change(server.data, f"update {table} set {aged} where id = {key}")
    done = subprocess.run(
        [sys.executable, "-m", "muniment.main.admin", "requests", "--run", "--data", str(server.data)],
        capture_output=True, text=True, timeout=120, env=surroundings(server),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def verify_offline(document: dict[str, object], place: Path) -> subprocess.CompletedProcess[str]:
    place.write_text(json.dumps(document))
    return subprocess.run(
        [sys.executable, "-m", "muniment.main.ledger_verify", str(place)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def signed_up(server: Served, name: str) -> Visitor:
    visitor = Visitor(server)
    assert visitor.sign_up(f"{name}@example.org").status_code == 302
    return visitor


def test_delete_account_ends_with_a_receipt_that_verifies_offline(
    shared_server: Served, tmp_path: Path
) -> None:
    visitor = signed_up(shared_server, "leaving")
    page = visitor.sign_in_afresh("/profile/delete")
    assert "Delete your account?" in page.text
    assert visitor.submit(page).headers["location"] == "/requests"
    shown = visitor.get("/requests")
    assert "Your account will be deleted" in shown.text
    action = re.search(r'href="(/requests/[^"]+/receipt)"', shown.text)
    assert action is not None
    link = visitor.get(action[1]).headers["location"]
    stranger = Visitor(shared_server)
    assert "until then it can be taken back" in stranger.get(link).text
    assert stranger.get(f"{link}.json").status_code == 404
    run_what_is_due(shared_server, later=timedelta(hours=71))
    assert visitor.get("/overview").status_code == 200
    run_what_is_due(shared_server, later=timedelta(hours=2))
    assert visitor.get("/overview").status_code == 302
    refused = Visitor(shared_server).sign_in("leaving@example.org", PASSWORD)
    assert refused.status_code != 302 or refused.headers["location"] != "/overview"
    receipt = stranger.get(link)
    assert "Receipt of an erasure" in receipt.text
    assert "leaving" not in receipt.text
    document = stranger.get(f"{link}.json").json()
    checked = verify_offline(document, tmp_path / "receipt.json")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    document["content"]["deleted"]["accounts.Account"] = 2
    assert verify_offline(document, tmp_path / "forged.json").returncode != 0


def test_the_copy_has_ones_own_rows(shared_server: Served) -> None:
    visitor = signed_up(shared_server, "copying")
    page = visitor.sign_in_afresh("/requests/copy")
    assert page.status_code == 200
    archive = visitor.submit(page, "/requests/export")
    assert archive.headers["content-type"] == "application/zip"
    rows = read_archive(io.BytesIO(archive.content))
    assert [row["email"] for row in rows["accounts.Account"]] == ["copying@example.org"]
    assert rows["privacy_requests.Request"][0]["kind"] == "export"


def test_objecting_holds_at_once(shared_server: Served) -> None:
    visitor = signed_up(shared_server, "objecting")
    page = visitor.get("/requests")
    assert visitor.submit(page, "/requests/object", purpose="security").status_code == 302
    assert "In force" in visitor.get("/requests").text
    assert visitor.submit(page, "/requests/object", purpose="backup").status_code == 400


def test_requests_of_others_are_not_there(shared_server: Served) -> None:
    first, second = signed_up(shared_server, "one"), signed_up(shared_server, "two")
    first.submit(first.sign_in_afresh("/profile/delete"))
    page = first.get("/requests").text
    ref = page.split("/requests/")[1].split("/")[0]
    token = second.sign_in_afresh("/requests/copy")
    assert second.submit(token, "/requests/export").status_code == 200
    from_second = second.client.post(
        f"/requests/{ref}/take-back",
        data={"csrfmiddlewaretoken": token.text.split('csrfmiddlewaretoken" value="')[1].split('"')[0]},
    )
    assert from_second.status_code == 404
    assert second.get(f"/requests/{ref}/receipt").status_code == 404
    assert "Your account will be deleted" in first.get("/requests").text
    back = first.submit(first.get("/requests"), f"/requests/{ref}/take-back")
    assert back.status_code == 302
    assert "Your account will be deleted" not in first.get("/requests").text


def test_links_to_receipts_cannot_be_guessed(shared_server: Served) -> None:
    visitor = Visitor(shared_server)
    zero = "00000000-0000-4000-8000-000000000000"
    assert visitor.get(f"/receipt/{zero}/{'0' * 32}").status_code == 404
    assert visitor.get(f"/receipt/{zero}/{'0' * 32}.json").status_code == 404


def test_a_mail_to_the_operator_becomes_a_request(shared_server: Served) -> None:
    """As a mail server pipes it in; the sender could be anybody, so a link goes there first."""
    visitor = signed_up(shared_server, "writing")
    mail = b"From: Writing <writing@example.org>\r\nSubject: Please delete my account\r\n\r\nThanks\r\n"
    for content, code in ((mail, 0), (b"no mail at all", 1)):
        done = subprocess.run(
            [sys.executable, "-m", "muniment.main.admin", "intake", "--data", str(shared_server.data)],
            input=content, capture_output=True, timeout=120, env=surroundings(shared_server),
        )  # fmt: skip
        assert done.returncode == code, done.stderr
    assert link_in(shared_server, "writing@example.org", "Was it you who asked?").startswith(
        "/privacy/request/"
    )
    page = visitor.get("/requests").text
    assert "Delete it" in page
    assert "Keep my account" not in page, "nobody used the link"
