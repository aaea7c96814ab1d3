"""Requests of people whom we do not know yet: nothing is done before a link mailed to them is used."""

from __future__ import annotations

import re
import time
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.server.accounts.addresses import change_address
from muniment.server.accounts.models import Account, Profile
from muniment.server.accounts.visits import Visit
from muniment.server.deployment import Deployment
from muniment.server.mail.bounces import take_in_bounce
from muniment.server.mail.models import Mail
from muniment.server.privacy.requests.incoming import (
    LinkDead,
    NotARequest,
    confirm_link,
    guess_kind,
    link_of,
    open_link,
    take_in,
    take_in_mail,
)
from muniment.server.privacy.requests.machine import (
    WORDS,
    NamesNobody,
    advance_requests,
    take_back,
    verify_request,
)
from muniment.server.privacy.requests.models import Channel, Kind, Outcome, Request
from muniment.server.transactions import writing
from tests.support.domain import Clock, Member
from tests.support.pages import Person, form_on, some_address, text


def mail_from(sender: str, *, subject: str = "", body: str = "", more: str = "") -> bytes:
    return f"From: {sender}\r\nTo: privacy@example.org\r\nSubject: {subject}\r\n{more}\r\n{body}\r\n".encode()


def row(ref: UUID) -> Request:
    return Request.objects.get(ref=ref)


def mailed(email: str) -> str:
    """The path of the link in the newest mail there."""
    found = re.search(r"(/privacy/request/\S+)", Mail.objects.filter(to=email).order_by("-id")[0].text)
    assert found is not None
    return found[1]


def token_of(ref: UUID) -> str:
    return link_of(row(ref))


@pytest.mark.clause("P44")
def test_a_mail_is_a_request_once_its_link_was_used(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    email = member.account.email
    asked = mail_from(f"Somebody <{email.upper()}>", subject="Please delete my account", body="Thank you.")
    ref = take_in_mail(asked, now=clock())
    assert (row(ref).kind, row(ref).channel, row(ref).details) == (Kind.ERASE, Channel.MAIL, {})
    clock.turn(days=4)
    advance_requests(deployment)
    assert Account.objects.filter(pk=member.account.pk).exists(), "the sender of a mail can be anybody"
    confirm_link(mailed(email).rpartition("/")[2], kind=Kind.ERASE, now=clock())
    clock.turn(days=3)
    advance_requests(deployment)
    assert not Account.objects.filter(pk=member.account.pk).exists()
    assert row(ref).outcome == Outcome.DONE


def test_links_work_once_and_not_for_ever(deployment: Deployment, clock: Clock) -> None:
    refs = []
    for _ in range(3):
        with writing():
            refs.append(take_in(Kind.ACCESS, channel=Channel.PAGE, email=some_address(), now=clock()))
    used, old, open_still = map(token_of, refs)
    confirm_link(used, kind=Kind.ACCESS, now=clock())
    for dead in (used, f"{refs[1].hex}-{'0' * 32}", refs[1].hex, "x", old.replace(refs[1].hex, refs[2].hex)):
        with pytest.raises(LinkDead):
            open_link(dead, now=clock())
    assert open_link(open_still, now=clock()).ref == refs[2]
    clock.turn(days=30)
    with pytest.raises(LinkDead):
        confirm_link(old, kind=Kind.ACCESS, now=clock())


@pytest.mark.parametrize(
    ("given", "shown"),
    [({"detail": "phone", "value": "<5550100>"}, ("Phone number", "&lt;5550100&gt;")),
     ({"detail": "phone", "value": ""}, ("Phone number", "it is emptied")),
     ({"words": "My firm is called 5550100."}, ("In these words", "My firm is called 5550100."))],
)  # fmt: skip
def test_whoever_confirms_a_correction_sees_what_it_would_write(
    deployment: Deployment, member: Member, given: dict[str, str], shown: tuple[str, str]
) -> None:
    """Anybody can have asked, so the page says what; a mail would carry a stranger's words."""
    email, stranger = member.account.email, Person(deployment)
    assert stranger.post("/privacy/request", email=email, kind="rectify", **given).status_code == 200
    letter = Mail.objects.filter(to=email).order_by("-id")[0]
    assert "5550100" not in letter.subject + letter.text
    page = text(Person(deployment).get(mailed(email)))
    assert [said for said in shown if said not in page] == []
    assert "What would be corrected" in page


@pytest.mark.parametrize("guessed", [Kind.ERASE, Kind.ACCESS])
def test_a_late_link_erases_nobody_and_asking_again_gets_one_that_works(
    deployment: Deployment, member: Member, clock: Clock, guessed: Kind
) -> None:
    email = member.account.email
    with writing():
        old = take_in(guessed, channel=Channel.PAGE, email=email, now=clock())
    clock.turn(days=7)
    with pytest.raises(LinkDead):
        confirm_link(token_of(old), kind=Kind.ERASE, now=clock())
    with writing():
        ref = take_in(Kind.ERASE, channel=Channel.PAGE, email=email, now=clock())
    clock.turn(days=6, hours=23)
    confirm_link(mailed(email).rpartition("/")[2], kind=Kind.ERASE, now=clock())
    newest = Mail.objects.filter(to=email).order_by("-id")[0]
    assert "/requests" in newest.text, "told at once, and where to undo it"
    clock.turn(days=2, hours=23)
    advance_requests(deployment)
    with writing():
        take_back(ref, subject=member.account, now=clock())
    assert Account.objects.filter(pk=member.account.pk).exists()


@pytest.mark.parametrize("kind", [Kind.ERASE, Kind.RECTIFY, Kind.RESTRICT, Kind.ACCESS])
def test_the_link_to_an_address_dies_when_its_account_leaves_it(
    deployment: Deployment, member: Member, clock: Clock, kind: Kind
) -> None:
    """Whoever still reads mail there, or does now, has no word in the account; of themselves they may ask."""
    before, after = member.account.email, some_address()
    with writing():
        ref = take_in(kind, channel=Channel.PAGE, email=before, now=clock())
    change_address(member.account, after, visit=Visit.of("192.0.2.1", "x"), now=clock())
    with pytest.raises(LinkDead):
        open_link(token_of(ref), now=clock())
    with pytest.raises(LinkDead):
        confirm_link(token_of(ref), kind=kind, now=clock())
    with pytest.raises(NamesNobody), writing():
        verify_request(ref, now=clock())
    with writing():
        other = take_in(kind, channel=Channel.PAGE, email=before, now=clock())
    assert confirm_link(mailed(before).rpartition("/")[2], kind=kind, now=clock()).ref == other
    clock.turn(days=3)
    advance_requests(deployment)
    assert (row(ref).verified_at, row(other).subject) == (None, None)
    assert Account.objects.filter(pk=member.account.pk).exists()
    change_address(member.account, before, visit=Visit.of("192.0.2.1", "x"), now=clock())
    assert open_link(token_of(ref), now=clock()).ref == ref, "it is theirs again"


def test_asking_twice_mails_twice_and_asks_once(deployment: Deployment, clock: Clock) -> None:
    email = some_address()
    refs = set()
    for _ in range(2):
        with writing():
            refs.add(take_in(Kind.RESTRICT, channel=Channel.PAGE, email=email, now=clock()))
    assert len(refs) == 1
    assert Mail.objects.filter(to=email).count() == 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe no mail",
        mail_from(""),
        mail_from("nobody"),
        mail_from("a b@example.org"),
        mail_from("a@example.org", more="Auto-Submitted: auto-replied\r\n"),
        mail_from("a@example.org", more="Return-Path: <>\r\n"),
    ],
)
def test_what_cannot_be_answered_is_no_request(deployment: Deployment, content: bytes) -> None:
    before = Request.objects.count()
    with pytest.raises(NotARequest):
        take_in_mail(content, now=deployment.now())
    assert Request.objects.count() == before


@given(st.binary(max_size=300))
def test_no_mail_breaks_the_intake(migrated: None, content: bytes) -> None:
    """Headers are whatever strangers write."""
    for mail in (content, b"From: " + content, b"From: a@\r\nSubject: " + content):
        with pytest.raises(NotARequest):
            take_in_mail(mail.replace(b"@", b""), now=Clock()())


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("What do you know about me?", Kind.ACCESS),
        ("Please correct my name", Kind.RECTIFY),
        ("Erase everything", Kind.ERASE),
        ("I no longer wish to get your mail", Kind.RESTRICT),
        ("Remove what I wrote in your forum", Kind.PUBLIC_REMOVAL),
    ],
)
def test_what_a_mail_asks_is_guessed(words: str, kind: Kind) -> None:
    assert guess_kind(words) is kind


def test_a_correction_from_outside_is_made_by_itself(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    stranger = Person(deployment)
    assert "csrfmiddlewaretoken" in form_on(stranger.get("/privacy/request"), "").fields
    values = {"email": member.account.email, "kind": "rectify", "detail": "city", "value": "Galway"}
    assert "Look into your mail" in text(stranger.post("/privacy/request", **values))
    path = mailed(member.account.email)
    assert "Was it you" in text(stranger.get(path))
    advance_requests(deployment)
    assert not Profile.objects.filter(account=member.account.pk, city="Galway").exists()
    assert "We have your request" in text(stranger.post(path, kind="rectify"))
    assert stranger.post(path, kind="rectify").status_code == 410
    advance_requests(deployment)
    assert Profile.objects.get(account=member.account.pk).city == "Galway"


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "rectify", "detail": "city", "value": "x" * 101},
        {"kind": "rectify", "detail": "password", "value": "x"},
        {"kind": "rectify", "detail": "postcode", "value": "x" * 21},
        {"kind": "rectify"},
        {"kind": "public_removal", "words": ""},
        {"kind": "export"},
        {"kind": "erase", "email": "nobody"},
    ],
)
def test_forms_that_say_too_little_are_shown_again(deployment: Deployment, wrong: dict[str, str]) -> None:
    before = Request.objects.count()
    answer = Person(deployment).post("/privacy/request", **{"email": some_address(), **wrong})
    assert answer.status_code == 422
    assert Request.objects.count() == before


def test_addresses_that_are_known_and_not_are_answered_alike(deployment: Deployment, member: Member) -> None:
    stranger = Person(deployment)
    pages = [
        text(stranger.post("/privacy/request", email=email, kind="erase"))
        for email in (member.account.email, some_address())
    ]
    assert pages[0] == pages[1]


def test_nobody_is_flooded(deployment: Deployment) -> None:
    stranger, email = Person(deployment, network="198.51.100.9"), some_address()
    answers = [stranger.post("/privacy/request", email=email, kind="erase").status_code for _ in range(7)]
    assert answers[-1] == 429
    assert Mail.objects.filter(to=email).count() == 5


def test_of_people_without_an_account_nothing_is_held_and_they_are_told(
    deployment: Deployment, clock: Clock
) -> None:
    email = some_address()
    with writing():
        ref = take_in(Kind.ACCESS, channel=Channel.PAGE, email=email, now=clock())
    confirm_link(token_of(ref), kind=Kind.ACCESS, now=clock())
    advance_requests(deployment)
    assert row(ref).email == ""
    assert "no account under this address" in Mail.objects.filter(to=email).order_by("-id")[0].text


def test_a_mail_with_a_nul_is_taken_in_like_any_other(deployment: Deployment) -> None:
    sender = some_address()
    content = mail_from(sender, subject="please correct", body="my name is wrong \0 here")
    taken = row(take_in_mail(content, now=deployment.now()))
    assert taken.email == sender
    assert "\0" not in str(taken.details)


def test_parts_within_parts_without_end_are_no_request(deployment: Deployment) -> None:
    depth = 2000
    parts = "".join(
        f'Content-Type: multipart/mixed; boundary="b{level}"\r\n\r\n--b{level}\r\n' for level in range(depth)
    )
    with pytest.raises(NotARequest):
        take_in_mail(f"From: {some_address()}\r\n{parts}".encode(), now=deployment.now())


class Elapsed:
    """Processor time of this thread, whatever else the machine does."""

    def __enter__(self) -> Elapsed:
        self._began = time.thread_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.thread_time() - self._began


def test_no_body_keeps_the_intake_busy(deployment: Deployment) -> None:
    """Tags without an end, as much as is read of a mail: the whole server stands still for that time."""
    html = mail_from(some_address(), body="<" * 256 * 1024, more="Content-Type: text/html\r\n")
    with Elapsed() as taken:
        take_in_mail(html, now=deployment.now())
    assert taken.seconds < 2


@pytest.mark.parametrize("header", ["From", "Subject", "Message-ID", "Content-Type"])
def test_no_header_keeps_the_intake_busy(deployment: Deployment, header: str) -> None:
    sender = "" if header == "From" else f"From: {some_address()}\r\n"
    content = f"{sender}{header}: {'.' * 20_000}\r\n\r\ncorrect".encode()
    with Elapsed() as taken:
        assert not take_in_bounce(content, now=deployment.now())
        with pytest.raises(NotARequest):
            take_in_mail(content, now=deployment.now())
    assert taken.seconds < 1


def test_headers_that_nobody_asks_for_may_be_long(deployment: Deployment) -> None:
    sender = some_address()
    references = "References: " + "\r\n ".join(f"<{n}@example.org>" for n in range(500)) + "\r\n"
    assert row(take_in_mail(mail_from(sender, more=references), now=deployment.now())).email == sender


def test_half_a_surrogate_pair_is_taken_in_like_any_other_text(deployment: Deployment) -> None:
    sender = some_address()
    utf7 = "Content-Type: text/plain; charset=utf-7\r\n"
    content = mail_from(sender, subject="correct", body="my name +2AA-", more=utf7)
    taken = row(take_in_mail(content, now=deployment.now()))
    assert (taken.email, taken.kind) == (sender, Kind.RECTIFY)
    assert "\ud800" not in taken.details[WORDS]
    with pytest.raises(NotARequest):
        take_in_mail(mail_from("=?utf-7?q?+2AA-?=@example.org"), now=deployment.now())
