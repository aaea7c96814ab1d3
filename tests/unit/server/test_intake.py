"""Requests about data, fetched from a mailbox: each is one request, and nothing there is lost or deleted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from muniment.server.deployment import Deployment
from muniment.server.egress import allow_list
from muniment.server.mail.intake import PostboxFailed, take_in_new
from muniment.server.mail.models import Mail
from muniment.server.mail.postbox import BadPostbox, postbox
from muniment.server.privacy.gate.counterparts import Standing
from muniment.server.privacy.requests.incoming import take_in_mail
from muniment.server.privacy.requests.machine import verify_request
from muniment.server.privacy.requests.models import Channel, Kind, Request
from muniment.server.privacy.requests.queue import unverified
from muniment.server.transactions import writing
from tests.support.domain import Clock, Member
from tests.support.imap_server import PASSWORD, ImapServer
from tests.support.pages import some_address

SEEN, FLAGGED = "\\Seen", "\\Flagged"


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


def asking(email: str, *, number: str, subject: str = "Please delete my account", more: str = "") -> bytes:
    return (
        f"From: Somebody <{email}>\r\nTo: privacy@backup.example.org\r\nSubject: {subject}\r\n"
        f"Message-ID: <{number}@example.org>\r\n{more}\r\nThank you.\r\n"
    ).encode()


def requests_of(email: str) -> list[Request]:
    return list(Request.objects.filter(email=email).order_by("id"))


@pytest.mark.clause("P44")
def test_an_unread_mail_becomes_a_request_and_is_read_then(fetching: Deployment, server: ImapServer) -> None:
    first, second = some_address(), some_address()
    mails = [
        server.deliver(asking(first, number="1" + first)),
        server.deliver(asking(second, number="2" + first)),
    ]
    assert take_in_new(fetching) == 2
    for email in (first, second):
        (row,) = requests_of(email)
        assert (row.kind, row.channel, row.verified_at) == (Kind.ERASE, Channel.MAIL, None)
        assert Mail.objects.filter(to=email, message="VerifyRequest").count() == 1
    assert [mail.flags for mail in mails] == [{SEEN}, {SEEN}]
    assert take_in_new(fetching) == 0


def test_a_mail_that_could_not_be_marked_is_no_second_request(
    fetching: Deployment, server: ImapServer, clock: Clock
) -> None:
    email = some_address()
    mail = server.deliver(asking(email, number=email))
    server.dies_at = "STORE"
    with pytest.raises(PostboxFailed):
        take_in_new(fetching)
    assert mail.flags == set()
    (row,) = requests_of(email)
    with writing():
        verify_request(row.ref, now=clock())
    server.dies_at = ""
    assert take_in_new(fetching) == 1
    assert mail.flags == {SEEN}
    assert [found.ref for found in requests_of(email)] == [row.ref]
    assert Mail.objects.filter(to=email, message="VerifyRequest").count() == 1


def test_what_is_taken_in_at_two_doors_is_one_request(fetching: Deployment, server: ImapServer) -> None:
    email = some_address()
    content = asking(email, number=email)
    ref = take_in_mail(content, now=fetching.now())
    server.deliver(content)
    server.deliver(asking(email, number="another" + email, subject="What do you know about me?"))
    assert take_in_new(fetching) == 2
    erasing, access = requests_of(email)
    assert (erasing.ref, access.kind) == (ref, Kind.ACCESS)


def test_what_is_no_request_is_left_to_people(fetching: Deployment, server: ImapServer) -> None:
    email = some_address()
    automatic = server.deliver(asking(email, number=email, more="Auto-Submitted: auto-replied\r\n"))
    nonsense = server.deliver(b"\xff\xfe\r\n\r\n")
    real = server.deliver(asking(email, number="real" + email))
    assert take_in_new(fetching) == 3
    assert automatic.flags == nonsense.flags == {SEEN, FLAGGED}
    assert real.flags == {SEEN}
    assert len(requests_of(email)) == 1


def test_a_mail_that_the_database_refused_stays_unread(
    fetching: Deployment, server: ImapServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    email, other = some_address(), some_address()
    stopped = server.deliver(asking(email, number=email))
    fine = server.deliver(asking(other, number=other))

    def refuse(content: bytes, **named: object) -> object:
        if email.encode() in content:
            raise RuntimeError("the database is full")
        return take_in_mail(content, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("muniment.server.mail.intake.take_in_mail", refuse)
    assert take_in_new(fetching) == 1
    assert (stopped.flags, fine.flags) == (set(), {SEEN})
    monkeypatch.undo()
    monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
    assert take_in_new(fetching) == 1
    assert len(requests_of(email)) == 1


def test_a_mail_that_fails_three_times_is_left_to_people_and_keeps_no_other_waiting(
    fetching: Deployment, server: ImapServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    email, late = some_address(), some_address()
    monkeypatch.setattr("muniment.server.mail.intake._AT_ONCE", 1)
    stuck = server.deliver(asking(email, number=email))
    real = server.deliver(asking(late, number=late))

    def refuse(content: bytes, **named: object) -> object:
        if email.encode() in content:
            raise RuntimeError("nobody thought of this")
        return take_in_mail(content, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("muniment.server.mail.intake.take_in_mail", refuse)
    assert [take_in_new(fetching) for _ in range(2)] == [0, 0]
    assert stuck.flags == set()
    assert take_in_new(fetching) == 1
    assert stuck.flags == {SEEN, FLAGGED}
    assert (take_in_new(fetching), real.flags) == (1, {SEEN})
    assert len(requests_of(late)) == 1


def test_what_a_person_flagged_is_left_alone(fetching: Deployment, server: ImapServer) -> None:
    email = some_address()
    server.deliver(asking(email, number=email)).flags.add(FLAGGED)
    assert take_in_new(fetching) == 0
    assert requests_of(email) == []


def test_a_mailbox_is_no_way_to_flood_somebody_with_links(
    fetching: Deployment, server: ImapServer, clock: Clock
) -> None:
    """Whoever forges a sender reaches them three times a day, whatever they ask under whatever Message-ID."""
    victim, other = some_address(), some_address()
    words = (
        "Delete it",
        "Correct my name",
        "What do you know?",
        "Stop it",
        "Wrong town",
        "Delete my account",
    )
    unanswered = unverified(now=clock()).unanswered
    mails = [
        server.deliver(asking(victim, number=f"{number}{victim}", subject=subject))
        for number, subject in enumerate(words)
    ]
    mails.append(server.deliver(asking(other, number=other)))
    assert take_in_new(fetching) == 7
    assert Mail.objects.filter(to=victim).count() == len(requests_of(victim)) == 3
    assert [mail.flags for mail in mails] == [{SEEN}] * 3 + [{SEEN, FLAGGED}] * 3 + [{SEEN}]
    assert unverified(now=clock()).unanswered == unanswered + 3
    assert len(requests_of(other)) == 1
    clock.turn(days=1, seconds=1)
    server.deliver(asking(victim, number="tomorrow" + victim))
    assert take_in_new(fetching) == 1
    assert Mail.objects.filter(to=victim).count() == 4


def test_a_mail_without_a_name_of_its_own_is_known_by_its_words(
    fetching: Deployment, server: ImapServer
) -> None:
    email = some_address()
    for _ in range(2):
        server.deliver(f"From: {email}\r\nSubject: Delete my account\r\n\r\nThank you.\r\n".encode())
    assert take_in_new(fetching) == 2
    assert Mail.objects.filter(to=email).count() == 1


def test_the_password_goes_to_nobody_else(
    fetching: Deployment, server: ImapServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(OSError, match="certificate"):
        take_in_new(fetching)
    assert "LOGIN" not in server.heard


def test_a_host_that_nobody_declared_is_not_asked(deployment: Deployment) -> None:
    config = replace(deployment.config, imap_url="imaps://a:b@mail.example.net")
    with pytest.raises(PostboxFailed, match="declared by nobody"):
        take_in_new(replace(deployment, config=config))
    shown = [(item.address, item.standing) for item in allow_list(config, now=deployment.now())]
    assert ("mail.example.net:993", Standing.UNDECLARED) in shown


def test_a_wrong_password_is_told(fetching: Deployment, server: ImapServer) -> None:
    config = replace(fetching.config, imap_url=f"imaps://a:b@127.0.0.1:{server.port}")
    with pytest.raises(PostboxFailed):
        take_in_new(replace(fetching, config=config))
    assert "SELECT" not in server.heard


def test_without_a_mailbox_nothing_happens(deployment: Deployment, member: Member) -> None:
    assert take_in_new(deployment) == 0


@pytest.mark.parametrize(
    "url",
    [
        "imap://a:b@mail.example.org", "imaps://mail.example.org", "imaps://a@mail.example.org",
        "imaps://a:b@mail.example.org:x", "imaps://a:b%0D%0AX@mail.example.org",
        "imaps://a@mail.example.org?password_file=/nowhere/at/all",
    ],
)  # fmt: skip
def test_a_mailbox_has_an_address_that_we_can_use(url: str) -> None:
    with pytest.raises(BadPostbox):
        postbox(url)
    found = postbox("imaps://a%40b:c%3Ad@mail.example.org/Requests%20of%20people")
    assert (found.user, found.password, found.folder, found.port) == ("a@b", "c:d", "Requests of people", 993)
    assert "c:d" not in repr(found)
