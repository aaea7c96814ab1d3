"""Orders over HTTP: two members of staff, one case, and the page that everybody can read."""

from __future__ import annotations

import re

from tests.support.server import Served
from tests.support.visitor import Visitor

ORDER = {
    "cause": "order", "issuer": "a district court", "country": "IE", "legal_basis": "s. 15",
    "scope": "accounts.Account.email", "days": "10",
}  # fmt: skip


def member_of_staff(server: Served, name: str) -> Visitor:
    visitor = Visitor(server)
    visitor.sign_up(f"{name}@example.org")
    visitor.become_staff(f"{name}@example.org")
    assert visitor.get("/console/orders").status_code == 200
    return visitor


def test_the_console_is_not_there_for_others(shared_server: Served) -> None:
    visitor = Visitor(shared_server)
    assert visitor.get("/console/orders").status_code == 404
    visitor.sign_up("curious@example.org")
    assert visitor.get("/console/orders").status_code == 404


def test_two_of_staff_approve_and_everybody_sees_that_it_happened(shared_server: Served) -> None:
    stranger, person = Visitor(shared_server), Visitor(shared_server)
    person.sign_up("asked-about@example.org")
    page = stranger.get("/transparency")
    assert "No authority has asked" in page.text
    assert "What we could not give" in page.text
    first, second = (
        member_of_staff(shared_server, "first-staff"),
        member_of_staff(shared_server, "second-staff"),
    )
    wrong = first.submit(first.get("/console/orders"), **ORDER, email="nobody@example.org")
    assert wrong.status_code == 422
    taken = first.submit(first.get("/console/orders"), **ORDER, email="asked-about@example.org")
    assert taken.status_code == 302, taken.text
    ref = re.search(r"/console/orders/([0-9a-f-]{36})/approve", first.get("/console/orders").text)
    assert ref is not None
    base = f"/console/orders/{ref[1]}"
    assert "asked-about@example.org" not in first.get("/console/orders").text
    unsaid = first.submit(first.get("/console/orders"), f"{base}/read", reason=" ")
    assert unsaid.status_code == 422
    assert "asked-about@example.org" not in unsaid.text
    looked = first.submit(first.get("/console/orders"), f"{base}/read", reason="to compare the paper")
    assert "asked-about@example.org" in looked.text
    assert first.submit(first.get("/console/orders"), f"{base}/approve").status_code == 302
    assert f"{base}/approve" not in first.get("/console/orders").text
    assert f"{base}/export" not in first.get("/console/orders").text
    assert second.submit(second.get("/console/orders"), f"{base}/approve").status_code == 302
    assert second.submit(second.get("/console/orders"), f"{base}/export").status_code == 302
    for one in (second, second, first):
        document = one.submit(one.get("/console/orders"), f"{base}/document")
        assert document.json()["fields"] == {"accounts.Account.email": ["asked-about@example.org"]}
    assert first.submit(first.get("/console/orders"), f"{base}/delivered").status_code == 302
    assert base not in second.get("/console/orders").text
    report = stranger.get("/transparency.json").json()
    assert report["orders"] == {
        "received": 1, "refused": 0, "exported": 1, "told": 1, "by_country": {"IE": 1},
        "by_cause": {"order": 1},
    }  # fmt: skip
    assert "Authorities asked" in stranger.get("/transparency").text
    mine = person.get("/ledger").text
    assert "staff read" in mine
    assert "to compare the paper" in mine
    assert "a district court" in mine
