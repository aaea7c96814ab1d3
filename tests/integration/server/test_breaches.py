"""A breach on a real server: entered by staff on their page or by the operator's command, told, closed."""

from __future__ import annotations

import json
import re

import pytest

from tests.integration.server.test_orders import member_of_staff
from tests.support.server import Served, wait_until
from tests.support.visitor import Visitor

PAGE = "/console/breaches"
JUDGED = {"risk": "high", "consequences": "Somebody may write to you.", "measures": "The disk was found."}


@pytest.mark.clause("A4")
def test_staff_enter_judge_report_and_close(shared_server: Served) -> None:
    staff, person = member_of_staff(shared_server, "keeping-the-register"), Visitor(shared_server)
    person.sign_up("affected@example.org")
    page = staff.get(PAGE)
    values = {
        "happened": "A disk was sent back without being wiped", "noticed": "2026-01-05T10:30",
        "people": "affected@example.org", "categories": "contact",
    }  # fmt: skip
    assert staff.submit(page, **{**values, "people": "unknown@example.org"}).status_code == 422
    assert staff.submit(page, **values).status_code == 302
    page = staff.get(PAGE)
    assert "A disk was sent back" in page.text
    assert "overdue" in page.text
    assert "affected@example.org" not in page.text
    found = re.search(r"/console/breaches/([0-9a-f-]{36})/notice", page.text)
    assert found is not None
    base = f"{PAGE}/{found[1]}"
    notice = staff.get(f"{base}/notice")
    assert notice.headers["content-disposition"].startswith("attachment")
    assert "article 33" in notice.text
    assert "People concerned\n1\n" in notice.text

    def does(step: str, **said: str) -> str:
        assert staff.submit(staff.get(PAGE), f"{base}/{step}", **said).status_code == 302
        return str(staff.get(PAGE).text)

    assert "Judge first what" in does("close", outcome="over")
    does("judge", **JUDGED)
    wait_until(lambda: "all told" in staff.get(PAGE).text)
    assert "authority has to be told" in does("close", outcome="over")
    assert "say why" in does("reported", authority="an authority", at="2026-03-01T09:00").lower()
    does("reported", authority="an authority, 17", at="2026-03-01T09:00", why_late="It was not understood.")
    page_after = does("close", outcome="It was wiped.")
    assert "Closed." in page_after
    assert page_after.count("by keeping-the-register@example.org") == 4
    mails = shared_server.admin("mailbox", "--to", "affected@example.org")["mails"]
    [mail] = [one for one in mails if one["subject"] == "Data about you got out"]
    assert "Somebody may write to you." in mail["text"]
    assert "breach told" in person.get("/ledger").text


def test_the_operator_has_commands_for_it(shared_server: Served) -> None:
    person = Visitor(shared_server)
    person.sign_up("affected-too@example.org")
    said = ["--happened", "A copy was lost", "--noticed", "2026-01-05T10:30Z", "--category", "contact"]
    refused = shared_server.try_admin("breach", "open", *said, "--person", "nobody-here@example.org")
    assert refused.returncode == 2
    assert "no account has the address" in refused.stdout
    assert shared_server.try_admin("breach", "open", *said[:3], "yesterday").returncode == 2
    ref = shared_server.admin("breach", "open", *said, "--person", "affected-too@example.org")["breach"]
    listed = shared_server.try_admin("breach", "list")
    assert listed.returncode == 1, "it is late"
    assert ref in listed.stdout
    early = shared_server.try_admin("breach", "close", ref, "--outcome", "over")
    assert early.returncode == 1
    assert "judge first" in early.stderr
    harm = ["--consequences", "Nobody can read it.", "--measures", "none"]
    assert shared_server.try_admin("breach", "judge", ref, "--risk", "dreadful", *harm).returncode == 2
    shared_server.admin("breach", "judge", ref, "--risk", "some", *harm)
    shared_server.admin("breach", "widen", ref, "--category", "device")
    assert "Nobody can read it." in shared_server.admin("breach", "notice", ref)["notice"]
    late = ["--why-late", "nobody was there"]
    shared_server.admin("breach", "reported", ref, "--authority", "an authority", *late)
    assert shared_server.admin("breach", "close", ref, "--outcome", "over") == {"closed": True}
    seen = json.loads(shared_server.try_admin("breach", "list").stdout)["breaches"]
    rows = {one["breach"]: one for one in seen}
    assert rows[ref]["state"] == "closed"
    assert rows[ref]["categories"] == ["contact", "device"]
    assert shared_server.try_admin("breach", "close", ref, "--outcome", "again").returncode == 1
