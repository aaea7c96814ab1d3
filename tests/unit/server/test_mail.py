"""Mail: a class for every template, marketing only for those who asked, off the list at once."""

from __future__ import annotations

import smtplib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from email import message_from_bytes, policy
from pathlib import Path
from smtplib import SMTPServerDisconnected
from typing import ClassVar

import pytest
from django.test import Client

from muniment.server.accounts.models import Account
from muniment.server.deployment import Deployment
from muniment.server.jobs.models import Job
from muniment.server.jobs.runner import Runner
from muniment.server.jobs.standing import State as JobState
from muniment.server.jobs.standing import standings
from muniment.server.jobs.timetable import TIMETABLE
from muniment.server.mail import checking, delivery, messages
from muniment.server.mail.checking import complaints, text_complaints
from muniment.server.mail.delivery import as_html, deliver_due, letter
from muniment.server.mail.mail_server import BadMailUrl, mail_server
from muniment.server.mail.messages import Message
from muniment.server.mail.models import Mail, Suppression
from muniment.server.mail.requests import RequestDone, RequestRefused
from muniment.server.mail.send import send
from muniment.server.mail.suppression import unsubscribe_token, wants_no_marketing
from muniment.server.privacy.consent.choices import Subject, choose, is_granted
from muniment.server.privacy.consent.effect import State
from muniment.server.privacy.consent.notices import notice_for
from muniment.server.privacy.ledger.entries import entries_of
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.statement import read_statement
from muniment.server.privacy.terms import MessageClass
from muniment.server.transactions import writing
from tests.support.domain import Clock, Member


@dataclass(frozen=True)
class News(Message):
    message_class: ClassVar[MessageClass] = MessageClass.PROMOTION
    subject: ClassVar[str] = "News"
    template: ClassVar[str] = "mail/mail/request_done.txt"
    kind: str = "news"
    path: str = "/"


messages.MESSAGES.remove(News)


def grant(account: Account, deployment: Deployment, purpose: str = "promotion") -> None:
    with writing():
        declared = read_statement().purposes[purpose]
        choose(
            Subject(account), purpose, State.GRANTED, notice=notice_for(declared, gpc=False),
            method="test", now=deployment.now(),
        )  # fmt: skip


def post(message: Message, account: Account, deployment: Deployment) -> bool:
    with writing():
        return send(message, to=account, now=deployment.now())


def mails(account: Account) -> list[Mail]:
    """Those of these tests: that a device was connected is told before."""
    return list(Mail.objects.filter(to=account.email).exclude(message="DeviceConnected").order_by("id"))


# --- classes, and what may stand in a mail


@pytest.mark.clause("P20", aspect="beyond")
def test_a_message_without_a_class_cannot_be_defined() -> None:
    with pytest.raises(TypeError, match="service, announcement, promotion or survey"):

        class Classless(Message):
            subject: ClassVar[str] = "?"
            template: ClassVar[str] = "x.txt"


def test_this_release_has_nothing_to_complain_about() -> None:
    assert complaints() == []


def test_a_template_that_no_message_claims_is_found(tmp_path: Path) -> None:
    stray = tmp_path / "shop" / "templates" / "shop" / "mail" / "stray.txt"
    stray.parent.mkdir(parents=True)
    stray.write_text("hello")
    assert complaints([], root=tmp_path) == [
        "the template shop/mail/stray.txt belongs to no message, so it has no class"
    ]


@pytest.mark.clause("P47", aspect="beyond")
@pytest.mark.parametrize(
    "text",
    [
        "Your backup is done. Upgrade now to Pro.",
        "20 % off until Sunday",
        "See our special offer.",
        "Look: https://elsewhere.example/",
        'Hello <img src="{{ site }}/open.gif">',
        "{{ site }}/page?who={{ to }}",
    ],
)
def test_planted_violations_in_service_mail_are_found(text: str) -> None:
    assert list(text_complaints(text, MessageClass.SERVICE))


def test_every_sold_word_is_fine_where_people_asked_for_it() -> None:
    assert list(text_complaints("Special offers: 20 % off", MessageClass.PROMOTION)) == []
    assert checking.source_of(RequestDone).startswith("You asked")


# --- who gets what


@pytest.mark.clause("P20", aspect="off")
def test_marketing_goes_to_nobody_who_did_not_ask(deployment: Deployment, member: Member) -> None:
    assert not post(News(), member.account, deployment)
    with writing():
        assert not send(News(), to="stranger@example.org", now=deployment.now())
    assert mails(member.account) == []


@pytest.mark.clause("P20", aspect="allowed")
def test_marketing_goes_to_who_asked_and_says_how_to_stop_it(deployment: Deployment, member: Member) -> None:
    grant(member.account, deployment)
    assert post(News(), member.account, deployment)
    (row,) = mails(member.account)
    sent = letter(row, sender="Muniment <noreply@backup.example.org>")
    assert sent.extra_headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert sent.extra_headers["List-Unsubscribe"] == f"<{row.unsubscribe}>"
    assert row.unsubscribe in row.text
    assert member.account.email not in row.unsubscribe


@pytest.mark.clause("P47", aspect="allowed")
def test_service_mail_ignores_opting_out(deployment: Deployment, member: Member) -> None:
    Client(headers={"host": "localhost"}).post(f"/unsubscribe/{unsubscribe_token(member.account.email)}")
    assert post(RequestDone(kind="x"), member.account, deployment)
    (row,) = mails(member.account)
    assert row.unsubscribe == ""
    assert entries_of(member.account)[0].said["class"] == "service"


@pytest.mark.clause("P47", aspect="off")
def test_what_is_recorded_of_a_mail_names_nobody(deployment: Deployment, member: Member) -> None:
    post(RequestDone(kind="x"), member.account, deployment)
    entry = entries_of(member.account)[0]
    assert entry.leaf.kind == Kind.MAIL_QUEUED
    assert member.account.email not in entry.payload
    assert set(entry.said) == {"class", "message", "subject"}


# --- opting out


@pytest.mark.clause("P44")
def test_one_post_without_a_cookie_opts_out_at_once(deployment: Deployment, member: Member) -> None:
    grant(member.account, deployment)
    post(News(), member.account, deployment)
    path = f"/unsubscribe/{unsubscribe_token(member.account.email)}"
    stranger = Client(headers={"host": "localhost"}, enforce_csrf_checks=True)
    for _ in range(2):
        looked = stranger.get(path)
        assert looked.status_code == 200
        assert b"<form" in looked.content
        assert is_granted(Subject(member.account), "promotion", gpc=False, now=deployment.now())
        assert len(mails(member.account)) == 1
    done = stranger.post(path, {"List-Unsubscribe": "One-Click"})
    assert done.status_code == 200
    assert not done.cookies
    assert not is_granted(Subject(member.account), "promotion", gpc=False, now=deployment.now())
    assert wants_no_marketing(member.account.email.upper())
    assert mails(member.account) == []
    assert entries_of(member.account)[0].leaf.kind == Kind.OPTED_OUT
    assert not post(News(), member.account, deployment)
    assert stranger.post(path).status_code == 200


def test_the_list_of_those_who_want_nothing_names_nobody(deployment: Deployment, member: Member) -> None:
    Client(headers={"host": "localhost"}).post(f"/unsubscribe/{unsubscribe_token(member.account.email)}")
    assert not any(member.account.email.encode() in bytes(row.address) for row in Suppression.objects.all())


def test_a_yes_after_opting_out_counts_more_and_opting_out_again_more_than_that(
    deployment: Deployment, member: Member
) -> None:
    path = f"/unsubscribe/{unsubscribe_token(member.account.email)}"
    stranger = Client(headers={"host": "localhost"})
    for _ in range(2):
        stranger.post(path)
        grant(member.account, deployment, "demographics")
        assert not post(News(), member.account, deployment), "a yes to something that is no mail"
        grant(member.account, deployment)
        assert post(News(), member.account, deployment)
        assert not is_granted(Subject(member.account), "survey", gpc=False, now=deployment.now())
        mails(member.account)[-1].delete()
    stranger.post(path)
    assert not post(News(), member.account, deployment)


def test_a_yes_from_before_opting_out_stays_taken_back(deployment: Deployment, member: Member) -> None:
    grant(member.account, deployment, "promotion")
    grant(member.account, deployment, "survey")
    Client(headers={"host": "localhost"}).post(f"/unsubscribe/{unsubscribe_token(member.account.email)}")
    grant(member.account, deployment, "survey")
    assert not post(News(), member.account, deployment), "a yes to one class is no yes to another"


def test_links_that_we_did_not_make_change_nothing(deployment: Deployment) -> None:
    before = Suppression.objects.count()
    stranger = Client(headers={"host": "localhost"})
    for token in ("x", "gAAAAABh" + "A" * 80, unsubscribe_token("a@example.org")[:-4]):
        assert stranger.post(f"/unsubscribe/{token}").status_code == 404
        assert stranger.get(f"/unsubscribe/{token}").status_code == 404
    assert Suppression.objects.count() == before


# --- sending


class MailServer:
    """A mail server of the plainest kind on loopback; `refusing` makes it refuse recipients, and a mail with
    `hangs_up_at` in it breaks the connection.
    """

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.refusing = False
        self.hangs_up_at = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            with peer, peer.makefile("rwb") as line:
                self._talk(line)

    def _talk(self, line: object) -> None:
        def say(text: bytes) -> None:
            line.write(text + b"\r\n")  # type: ignore[attr-defined]
            line.flush()  # type: ignore[attr-defined]

        say(b"220 here")
        for said in line:  # type: ignore[attr-defined]
            word = said[:4].upper()
            if word == b"DATA":
                say(b"354 go on")
                content = b""
                for part in line:  # type: ignore[attr-defined]
                    if part == b".\r\n":
                        break
                    content += part
                if self.hangs_up_at and self.hangs_up_at in content:
                    return
                self.taken.append(content)
                say(b"250 taken")
            elif word == b"RCPT" and self.refusing:
                say(b"451 later")
            elif word == b"QUIT":
                say(b"221 bye")
                return
            else:
                say(b"250 yes")


@pytest.fixture
def mail_to_take() -> Iterator[MailServer]:
    made = MailServer()
    yield made
    made.close()


def with_server(deployment: Deployment, port: int) -> Deployment:
    config = replace(
        deployment.config, smtp_url=f"smtp://127.0.0.1:{port}?tls=off", mail_from="noreply@b.example"
    )
    return replace(deployment, config=config)


def test_what_the_server_took_is_gone_here(
    deployment: Deployment, member: Member, mail_to_take: MailServer
) -> None:
    Mail.objects.all().delete()
    post(RequestDone(kind="a copy"), member.account, deployment)
    assert deliver_due(with_server(deployment, mail_to_take.port)) == 1
    mail = message_from_bytes(mail_to_take.taken[0], policy=policy.default)
    assert mail["To"] == member.account.email
    assert mail.get_body(("plain",)).get_content().startswith("You asked: a copy")  # type: ignore[union-attr]
    html = mail.get_body(("html",)).get_content()  # type: ignore[union-attr]
    assert "<img" not in html
    assert "src=" not in html
    assert not Mail.objects.exists()


def test_refused_mail_is_tried_again_and_given_up_after_three_days(
    deployment: Deployment, member: Member, mail_to_take: MailServer, clock: Clock
) -> None:
    Mail.objects.all().delete()
    post(RequestDone(kind="x"), member.account, deployment)
    served = with_server(deployment, mail_to_take.port)
    mail_to_take.refusing = True
    assert deliver_due(served) == 0
    assert deliver_due(served) == 0
    assert mails(member.account)[0].tries == 1
    clock.turn(minutes=1)
    mail_to_take.refusing = False
    assert deliver_due(served) == 1
    post(RequestDone(kind="x"), member.account, deployment)
    mail_to_take.refusing = True
    for _ in range(80):
        assert deliver_due(served) == 0
        clock.turn(hours=1)
    assert mails(member.account) == []


def test_a_server_that_is_away_fails_the_job_until_the_mail_is_given_up(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    Mail.objects.all().delete()
    post(RequestDone(kind="x"), member.account, deployment)
    away = with_server(deployment, 1)
    for _ in range(3 * 24):
        with pytest.raises(OSError, match="refused"):
            deliver_due(away)
        assert mails(member.account)[0].tries == 0
        clock.turn(hours=1)
    with pytest.raises(OSError, match="refused"):
        deliver_due(away)
    assert mails(member.account) == []
    assert deliver_due(away) == 0


def test_the_job_of_mail_shows_that_the_server_is_away_and_that_it_is_back(
    deployment: Deployment, member: Member, mail_to_take: MailServer, clock: Clock
) -> None:
    Mail.objects.all().delete()
    Job.objects.filter(name="mail").delete()
    timetable = [each for each in TIMETABLE if each.name == "mail"]
    away = Runner(with_server(deployment, 1), timetable)
    away.run_due()
    post(RequestDone(kind="x"), member.account, deployment)

    def state() -> JobState:
        (standing,) = standings(timetable, now=clock())
        return standing.state

    said = []
    for _ in range(8):
        away.run_due()
        said.append(state())
        clock.turn(minutes=11)
    assert said[0] == JobState.FAILING
    assert said[-1] == JobState.OVERDUE
    assert len(mails(member.account)) == 1
    Runner(with_server(deployment, mail_to_take.port), timetable).run_due()
    assert state() == JobState.WAITING
    assert len(mail_to_take.taken) == 1


def test_a_letter_to_many_keeps_no_service_mail_waiting(
    deployment: Deployment, member: Member, mail_to_take: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    Mail.objects.all().delete()
    grant(member.account, deployment)
    for message in (News(), News(), RequestDone(kind="a copy")):
        post(message, member.account, deployment)
    monkeypatch.setattr(delivery, "_AT_ONCE", 2)
    assert deliver_due(with_server(deployment, mail_to_take.port)) == 2
    assert [mail.message for mail in mails(member.account)] == ["News"]


def test_a_server_that_breaks_off_at_one_mail_is_given_the_others(
    deployment: Deployment, member: Member, mail_to_take: MailServer, clock: Clock
) -> None:
    Mail.objects.all().delete()
    for kind in ("one", "poison", "three"):
        post(RequestDone(kind=kind), member.account, deployment)
    mail_to_take.hangs_up_at = b"poison"
    served = with_server(deployment, mail_to_take.port)
    with pytest.raises(SMTPServerDisconnected):
        deliver_due(served)
    assert len(mail_to_take.taken) == 2
    (left,) = mails(member.account)
    assert ("poison" in left.text, left.tries) == (True, 1)
    assert deliver_due(served) == 0, "it waits"
    mail_to_take.hangs_up_at = b""
    clock.turn(minutes=1)
    assert deliver_due(served) == 1


def test_a_mail_that_cannot_be_written_keeps_no_other_waiting(
    deployment: Deployment, member: Member, mail_to_take: MailServer
) -> None:
    Mail.objects.all().delete()
    for kind in ("unwritable", "plain"):
        post(RequestDone(kind=kind), member.account, deployment)
    Mail.objects.filter(text__contains="unwritable").update(subject="a line\nand another")
    assert deliver_due(with_server(deployment, mail_to_take.port)) == 1
    assert len(mail_to_take.taken) == 1


def test_consent_withdrawn_between_queue_and_sending_stops_the_mail(
    deployment: Deployment, member: Member, mail_to_take: MailServer
) -> None:
    Mail.objects.all().delete()
    grant(member.account, deployment)
    post(News(), member.account, deployment)
    with writing():
        choose(
            Subject(member.account), "promotion", State.WITHDRAWN,
            notice=notice_for(read_statement().purposes["promotion"], gpc=False), method="test",
            now=deployment.now(),
        )  # fmt: skip
    assert deliver_due(with_server(deployment, mail_to_take.port)) == 0
    assert mail_to_take.taken == []
    assert mails(member.account) == []


def test_a_mailbox_keeps_a_week(deployment: Deployment, member: Member, clock: Clock) -> None:
    post(RequestDone(kind="x"), member.account, deployment)
    clock.turn(days=7)
    deliver_due(deployment)
    assert len(mails(member.account)) == 1
    clock.turn(seconds=1)
    deliver_due(deployment)
    assert mails(member.account) == []


@pytest.mark.parametrize(
    "url", ["http://x", "smtp://", "smtp://mail.example.org?tls=off", "smtp://mail.example.org?tls=maybe"]
)
def test_mail_leaves_the_machine_only_over_tls(url: str) -> None:
    with pytest.raises(BadMailUrl):
        mail_server(url)
    assert mail_server("smtps://u:p%40w@mail.example.org").password == "p@w"
    assert mail_server("smtp://mail.example.org").use_tls
    assert smtplib.SMTP_PORT == 25


def test_the_text_is_the_words_as_they_are(deployment: Deployment, member: Member) -> None:
    post(RequestRefused(kind="x", reason="It's <held> by A & B."), member.account, deployment)
    (row,) = mails(member.account)
    assert "It's <held> by A & B." in row.text
    assert "It&#x27;s &lt;held&gt; by A &amp; B." in as_html(row.text)


def test_html_says_the_same_and_runs_nothing() -> None:
    html = as_html("Hello <b>\n\nhttps://a.example/x?y=1&z=2\nbye")
    assert "&lt;b&gt;" in html
    assert '<a href="https://a.example/x?y=1&amp;z=2" rel="noreferrer">' in html


def test_mail_about_somebody_goes_with_them(deployment: Deployment, member: Member) -> None:
    post(RequestDone(kind="x"), member.account, deployment)
    assert mails(member.account)[0].account_id == member.account.pk
    assert timedelta(days=read_statement().days["mail"]) == timedelta(days=7)


def test_the_mailbox_is_for_this_machine_and_for_nobody_behind_a_proxy(deployment: Deployment) -> None:
    """A proxy on this machine asks from a loopback address, too, whoever sent it."""
    browser = Client(headers={"host": "localhost"})
    assert browser.get("/mailbox").status_code == 200
    for header in ("x-forwarded-for", "forwarded", "x-real-ip", "via"):
        assert browser.get("/mailbox", headers={header: "203.0.113.9"}).status_code == 404
    config = replace(deployment.config, trusted_proxies=("127.0.0.1/32",))
    assert deployment.config.shows_mailbox
    assert not config.shows_mailbox
