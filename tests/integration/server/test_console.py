"""The staff's pages over HTTP: recipients as their file has them, a buyer declared, and the way there."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from tests.integration.server.test_orders import member_of_staff
from tests.support.server import Served
from tests.support.visitor import Visitor

CARRIER = f"""
[recipients.carrier]
title = "a carrier of mail"
kind = "processor"
purposes = ["service_mail"]
categories = ["contact"]
country = "IE"
contract = "terms of processing"
expires = 2099-01-01
reviewed = {datetime.now(UTC).date().isoformat()}
contact = "privacy@carrier.example"
hosts = ["mail.carrier.example:587"]
"""


def test_only_staff_have_a_way_to_the_console(shared_server: Served) -> None:
    person, staff = Visitor(shared_server), member_of_staff(shared_server, "navigating")
    person.sign_up("not-staff@example.org")
    assert 'href="/console"' not in person.get("/overview").text
    assert 'href="/console"' in staff.get("/overview").text
    assert staff.get("/console").headers["location"] == "/console/requests"
    for path in (
        "/console", "/console/breaches", "/console/recipients", "/console/letters", "/console/succession",
    ):  # fmt: skip
        assert person.get(path).status_code == 404, path
        assert Visitor(shared_server).get(path).status_code == 404, path
    for path in (
        "/console/requests", "/console/orders", "/console/breaches", "/console/recipients",
        "/console/letters", "/console/succession",
    ):  # fmt: skip
        page = staff.get(path)
        assert page.status_code == 200
        assert f'href="{path}" aria-current="page"' in page.text


def test_a_buyer_is_declared_and_nothing_goes_at_once(shared_server: Served) -> None:
    staff = member_of_staff(shared_server, "selling")
    page = staff.get("/console/succession")
    unsure = staff.submit(page, buyer="a company", country="IE")
    assert unsure.status_code == 422
    assert "Nobody takes the service over" in staff.get("/console/succession").text
    assert staff.submit(page, buyer="a company", country="Ireland", certain="on").status_code == 422
    assert staff.submit(page, buyer="a company", country="QQ", certain="on").status_code == 422
    assert staff.submit(page, buyer="a company", country="IE", certain="on").status_code == 302
    page = staff.get("/console/succession")
    assert "a company (IE)" in page.text
    assert "/hand-over" not in page.text


def test_a_letter_takes_two_of_staff(shared_server: Served) -> None:
    writer, other = (member_of_staff(shared_server, name) for name in ("writing", "approving"))
    said = {"message_class": "announcement", "title": "Vaults that share", "text": "They are here.\r\nBye"}
    assert writer.submit(writer.get("/console/letters"), **said).status_code == 302
    assert "/approve" not in writer.get("/console/letters").text
    found = re.search(r"/console/letters/[0-9a-f-]{36}/approve", other.get("/console/letters").text)
    assert found is not None
    assert other.submit(other.get("/console/letters"), found[0]).status_code == 302
    page = writer.get("/console/letters").text
    assert "Vaults that share" in page
    assert "waits for approval" not in page


def test_recipients_are_read_shown_told_and_listed(server: Served) -> None:
    file = server.data / "recipients.toml"
    file.write_text(CARRIER.replace('"processor"', '"friend"'))
    server.stop()
    with pytest.raises(AssertionError, match=r"line 4: recipients\.carrier: kind is none of") as refused:
        server.start()
    assert "Traceback" not in str(refused.value)
    assert server.try_admin("egress").returncode == 1

    file.write_text(CARRIER)
    server.start()
    stranger, staff = Visitor(server), member_of_staff(server, "staff")
    assert "a carrier of mail" not in stranger.get("/privacy").text
    assert "a carrier of mail" in stranger.get("/privacy/version/2").text
    assert "Recipient “carrier”: is new." in stranger.get("/privacy/history").text
    page = staff.get("/console/recipients").text
    assert "a carrier of mail" in page
    assert "not yet as it stands here" in page
    assert server.admin("egress")["egress"] == [
        {"host": "mail.carrier.example", "port": 587, "why": "service_mail", "recipient": "carrier",
         "standing": "declared"},
    ]  # fmt: skip

    file.write_text(CARRIER.replace("2099-01-01", "2020-01-01"))
    server.restart()
    assert "does not hold: nothing is sent" in staff.get("/console/recipients").text
    assert server.try_admin("egress").returncode == 1


def test_a_first_start_with_recipients_has_them_in_force(tmp_path_factory: pytest.TempPathFactory) -> None:
    served = Served(tmp_path_factory.mktemp("declared") / "server")
    served.data.mkdir(mode=0o700)
    (served.data / "recipients.toml").write_text(CARRIER)
    served.start()
    try:
        visitor = Visitor(served)
        for path in ("/privacy", "/privacy/data"):
            assert "a carrier of mail" in visitor.get(path).text
        receives = visitor.get("/privacy/data-map.json").json()["recipients"]
        assert receives["carrier"]["contract_until"] == "2099-01-01"
    finally:
        served.close()


def test_mail_has_a_declared_carrier_or_nothing_is_served(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("mailing") / "server"
    served = Served(folder, environment={"MUNIMENT_SMTP_URL": "smtp://mail.carrier.example"})
    try:
        with pytest.raises(AssertionError, match=r"nobody declared mail\.carrier\.example:587") as refused:
            served.start()
        assert "Traceback" not in str(refused.value)
        (folder / "recipients.toml").write_text(CARRIER)
        served.start()
    finally:
        served.close()


@pytest.mark.parametrize("variable", ["MUNIMENT_SMTP_URL", "MUNIMENT_IMAP_URL"])
def test_egress_says_which_address_is_none(
    shared_server: Served, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "nonsense")
    said = shared_server.try_admin("egress")
    assert said.returncode == 1
    assert said.stderr.startswith(f"muniment admin: {variable}: the address of the mail")
    assert len(said.stderr.splitlines()) == 1


def test_a_buyer_is_declared_on_the_command_line_with_a_country_and_a_yes(server: Served) -> None:
    said = ["declare-buyer", "a company", "--basis", "", "--country"]
    unsure = server.try_admin(*said, "IE")
    assert unsure.returncode == 2
    assert "cannot be taken back" in unsure.stdout
    nowhere = server.try_admin(*said, "QQ", "--yes")
    assert nowhere.returncode == 2
    assert "is no country" in nowhere.stdout
    staff = member_of_staff(server, "selling-by-command")
    assert "Nobody takes the service over" in staff.get("/console/succession").text
    assert server.admin(*said, "IE", "--yes")["succession"]
    assert "a company (IE)" in staff.get("/console/succession").text


def test_an_allowance_is_given_in_bytes_or_larger_units(shared_server: Served) -> None:
    Visitor(shared_server).sign_up("roomy@example.org")
    for said, size in (("12345", 12345), ("10G", 10 << 30), ("500m", 500 << 20), ("1TiB", 1 << 40)):
        assert shared_server.admin("set-allowance", "roomy@example.org", said) == {"allowance": size}
    for said in ("ten", "10X", "1.5G", "99999999999999T"):
        refused = shared_server.try_admin("set-allowance", "roomy@example.org", said)
        assert refused.returncode == 2
        assert "is no size" in refused.stdout
