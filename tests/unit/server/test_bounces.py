"""Mails that come back: nothing optional goes there, the owner is told, nobody can forge it for others."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.server.deployment import Deployment
from muniment.server.mail.bounces import comes_back_since, message_id, take_in_bounce
from muniment.server.mail.delivery import letter
from muniment.server.mail.intake import take_in_new
from muniment.server.mail.models import Mail, Unreachable
from muniment.server.mail.requests import RequestDone
from muniment.server.mail.send import send
from muniment.server.mail.suppression import may_send_marketing, wants_no_marketing
from muniment.server.privacy.consent.choices import Subject, choose
from muniment.server.privacy.consent.effect import State
from muniment.server.privacy.consent.notices import notice_for
from muniment.server.privacy.requests.models import Request
from muniment.server.privacy.statement import read_statement
from muniment.server.transactions import writing
from tests.support.domain import Clock, Member
from tests.support.imap_server import PASSWORD, ImapServer
from tests.support.pages import Person, some_address, text

SENDER = "Backup <noreply@backup.example.org>"
FLAGGED = {"\\Seen", "\\Flagged"}
READ = {"\\Seen"}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ImapServer]:
    with ImapServer(tmp_path) as made:
        monkeypatch.setenv("SSL_CERT_FILE", str(made.certificate))
        yield made


@pytest.fixture
def fetching(deployment: Deployment, server: ImapServer, tmp_path: Path) -> Deployment:
    """The deployment with that mailbox."""
    secret = tmp_path / "password"
    secret.write_text(PASSWORD + "\n")
    return replace(deployment, config=replace(deployment.config, imap_url=server.url(password_file=secret)))


def sent_to(email: str, *, now: datetime) -> bytes:
    """A service mail as it goes out, all of it."""
    with writing():
        assert send(RequestDone(kind="a copy"), to=email, now=now)
    row = Mail.objects.filter(to=email, message="RequestDone").latest("id")
    return letter(row, sender=SENDER).message().as_bytes(linesep="\r\n")


def report(
    mail: bytes,
    *,
    status: str = "5.1.1",
    action: str = "failed",
    of: str = "message/rfc822",
    to: str = "x@y.example",
) -> bytes:
    """As mail servers write it (RFC 3464, appendix E)."""
    lines = [
        "Return-Path: <>", "From: MAILER-DAEMON@mx.example.net (Mail Delivery System)", f"To: {SENDER}",
        "Subject: Undelivered Mail Returned to Sender", "Auto-Submitted: auto-replied", "MIME-Version: 1.0",
        'Content-Type: multipart/report; report-type=delivery-status; boundary="=b"', "",
        "--=b", "Content-Type: text/plain; charset=us-ascii", "", "I am sorry.", "",
        "--=b", "Content-Type: message/delivery-status", "",
        "Reporting-MTA: dns; mx.example.net", "Arrival-Date: Sun, 22 Nov 2026 12:00:00 +0000", "",
        f"Final-Recipient: rfc822; {to}", f"Action: {action}", f"Status: {status}",
        "Diagnostic-Code: smtp; 550 no such user here", "",
        "--=b", f"Content-Type: {of}", "", "",
    ]  # fmt: skip
    return "\r\n".join(lines).encode() + mail + b"\r\n--=b--\r\n"


def headers_of(mail: bytes) -> bytes:
    return mail.partition(b"\r\n\r\n")[0] + b"\r\n"


def has_named(mail: bytes) -> str:
    found = re.search(rb"^Message-ID:\s*(<\S+>)", mail, re.MULTILINE | re.IGNORECASE)
    assert found is not None
    return found[1].decode()


def with_name(name: str) -> bytes:
    return f"From: {SENDER}\r\nMessage-ID: {name}\r\nSubject: Hello\r\n\r\nHello.\r\n".encode()


def test_where_mails_come_back_from_nothing_optional_goes_and_service_mail_does(
    fetching: Deployment, server: ImapServer, member: Member, clock: Clock
) -> None:
    email = member.account.email
    with writing():
        notice = notice_for(read_statement().purposes["promotion"], gpc=False)
        choose(
            Subject(member.account), "promotion", State.GRANTED, notice=notice, method="test", now=clock()
        )  # fmt: skip

    def may_send() -> bool:
        return may_send_marketing(email, member.account, purpose="promotion", now=clock())

    assert may_send()
    bounce = server.deliver(report(sent_to(email, now=clock())))
    assert take_in_new(fetching) == 1
    assert bounce.flags == READ
    assert not may_send()
    assert not wants_no_marketing(email), "that is the person's to say"
    assert sent_to(email, now=clock()), "service mail is tried all the same"
    assert comes_back_since(email.upper(), now=clock()) == clock()
    clock.turn(days=90, seconds=1)
    assert comes_back_since(email, now=clock()) is None
    assert may_send()


def test_the_owner_is_told_until_a_link_that_was_mailed_there_is_used(
    fetching: Deployment, server: ImapServer, clock: Clock
) -> None:
    words = "Mails to your address come back"
    owner = Person(fetching).join()
    assert words not in text(owner.get("/overview")) + text(owner.get("/profile"))
    server.deliver(report(sent_to(owner.email, now=clock())))
    take_in_new(fetching)
    owner.prove()
    for page in ("/overview", "/profile"):
        assert words in text(owner.get(page))
    assert words not in text(Person(fetching).join().get("/overview"))
    told = Mail.objects.filter(to=owner.email, message="AddressChanged").count()
    assert owner.post("/profile/address", email=owner.email).status_code == 302
    link = Mail.objects.filter(to=owner.email, message="ConfirmNewAddress").latest("id").text
    path = re.search(r"(/accounts/address/\S+)", link)
    assert path is not None
    assert words in text(owner.get("/profile"))
    assert owner.post(path[1]).status_code == 302
    assert words not in text(owner.get("/profile"))
    assert Mail.objects.filter(to=owner.email, message="AddressChanged").count() == told


@pytest.mark.parametrize("of", ["message/rfc822", "text/rfc822-headers"])
def test_the_mail_may_come_back_whole_or_in_part(deployment: Deployment, clock: Clock, of: str) -> None:
    email = some_address()
    mail = sent_to(email, now=clock())
    content = report(mail if of == "message/rfc822" else headers_of(mail), of=of)
    assert take_in_bounce(content[: content.index(b"\r\n--=b--")], now=clock())
    assert comes_back_since(email, now=clock())


@pytest.mark.parametrize(
    ("status", "action"), [("4.4.1", "delayed"), ("4.2.2", "failed"), ("2.0.0", "relayed")]
)
def test_a_delay_is_no_end(deployment: Deployment, clock: Clock, status: str, action: str) -> None:
    email = some_address()
    assert take_in_bounce(report(sent_to(email, now=clock()), status=status, action=action), now=clock())
    assert comes_back_since(email, now=clock()) is None


def test_a_report_of_somebody_else_harms_nobody(
    fetching: Deployment, server: ImapServer, clock: Clock
) -> None:
    """Whoever forges one has no Message-ID of a mail to their victim, and any of a mail to themselves."""
    victim, forger = some_address(), some_address()
    sent_to(victim, now=clock())
    own = has_named(sent_to(forger, now=clock()))
    token = own[3 : own.index("@")]
    content = bytearray(base64.b32decode(token.upper() + "=" * (-len(token) % 8)))
    other = message_id(victim, queued_at=clock(), domain="elsewhere.example")
    content[8:24] = base64.b32decode(other[3 : other.index("@")].upper() + "======")[8:24]
    moved = base64.b32encode(bytes(content)).decode().rstrip("=").lower()
    before, asked = Unreachable.objects.count(), Request.objects.count()
    bent = token[:-9] + ("a" if token[-9] != "a" else "b") + token[-8:]
    made_up = [f"<m.{word}@backup.example.org>" for word in ("a" * 58, moved, bent)]
    forged = [
        server.deliver(report(with_name(name), to=victim))
        for name in (*made_up, "<1@backup.example.org>", own[1:-1], "")
    ]
    assert take_in_new(fetching) == len(forged)
    assert [mail.flags for mail in forged] == [FLAGGED] * 6
    assert (Unreachable.objects.count(), Request.objects.count()) == (before, asked)
    server.deliver(report(with_name(own), to=victim))
    assert take_in_new(fetching) == 1
    assert comes_back_since(victim, now=clock()) is None
    assert comes_back_since(forger, now=clock()) == clock()


def test_an_old_mail_says_nothing_of_today(deployment: Deployment, clock: Clock) -> None:
    email = some_address()
    mail = sent_to(email, now=clock())
    clock.turn(days=15)
    assert take_in_bounce(report(mail), now=clock())
    assert comes_back_since(email, now=clock()) is None


def test_a_message_id_names_nobody_and_no_two_are_the_same() -> None:
    at = datetime(2026, 11, 22, 12, 34, tzinfo=UTC)
    names = {message_id("somebody@example.org", queued_at=at, domain="b.example") for _ in range(9)}
    assert len(names) == 9
    assert all(re.fullmatch(r"<m\.[a-z2-7]{58}@b\.example>", name) for name in names)


@given(st.binary(max_size=300))
def test_no_report_breaks_the_intake(migrated: None, content: bytes) -> None:
    now = Clock()()
    start = b'Content-Type: multipart/report; boundary="b"\r\n\r\n--b\r\nContent-Type: '
    for kind in (b"message/delivery-status", b"message/rfc822", b"text/rfc822-headers", b""):
        assert not take_in_bounce(start + kind + b"\r\n\r\n" + content, now=now)
    assert not take_in_bounce(content, now=now)
