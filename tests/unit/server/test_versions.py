"""Versions: posted once, told about thirty days before, in force per person, never altered."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from xml.etree import ElementTree

import pytest
from django.db import connection
from django.test import Client

from muniment.server.accounts.enrolment import create_account
from muniment.server.accounts.models import Account
from muniment.server.deployment import Deployment
from muniment.server.mail.models import Mail
from muniment.server.mail.statement import StatementChanges, advance_versions
from muniment.server.privacy.ledger.entries import entries_of
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.retention.models import Sweep
from muniment.server.privacy.retention.sweep import sweep_once
from muniment.server.privacy.statement import shipped_texts
from muniment.server.privacy.terms import StatementBroken
from muniment.server.privacy.versions.acceptance import (
    Method,
    accept,
    has_accepted,
)
from muniment.server.privacy.versions.banner import Coming, banner_for
from muniment.server.privacy.versions.history import Fate, difference
from muniment.server.privacy.versions.in_force import (
    NOTICE,
    NoSuchVersion,
    Version,
    days_of,
    in_force,
    in_force_for,
    upcoming,
    version_numbered,
    versions,
)
from muniment.server.privacy.versions.models import AlteredVersion, ChangeNotice, Progress, StatementVersion
from muniment.server.privacy.versions.posting import (
    NOTICE_DAYS,
    StatementEdited,
    StatementOutdated,
    TooEarly,
    check_notice,
    give_notices,
    post_shipped,
    post_statement,
    turn_versions,
)
from muniment.server.transactions import writing
from muniment.server.vaults.models import Session
from muniment.server.vaults.refs import parse_ref
from tests.support.domain import Clock, Member

TABLES = ("changenotice", "acceptance", "progress", "statementversion")


def _empty() -> None:
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"DELETE FROM privacy_versions_{table}")


@pytest.fixture(autouse=True)
def first_version(clock: Clock) -> Iterator[None]:
    """Only the version that ships, in force; the same again afterwards for whoever shares the database."""
    _empty()
    post_shipped(now=clock())
    yield
    _empty()
    post_shipped(now=clock())


class Post:
    """Collects whom a notice was handed over for."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def __call__(self, account: Any, version: Version) -> None:
        self.told.append((account.email, version.number))


def texts(number: int = 2, *, widen: str = "", said: tuple[str, str] = ("", "")) -> tuple[str, str]:
    """The texts of a further version: as the shipped one, with what `widen` adds to its declarations."""
    declared, words = shipped_texts()
    declared = re.sub(r"^version = \d+$", f"version = {number}", declared, flags=re.MULTILINE)
    return declared + widen, words.replace(*said) if said[0] else words


WIDER = '\n[purposes.weather]\ntext = "To know the weather where you are."\nbasis = "consent"\n'


def shorter_sessions(number: int = 2) -> tuple[str, str]:
    declared, words = texts(number)
    changed = re.sub(r"(\[periods\.session\]\ntext = .*\nends = .*\ndays = )\d+", r"\g<1>7", declared)
    assert changed != declared
    return changed, words


def spend(clock: Clock, days: int, post: Post | None = None) -> None:
    """Days in which the jobs run as they should."""
    for _ in range(days):
        clock.turn(days=1)
        give_notices(post or Post(), now=clock())
        turn_versions(now=clock())


def sweep_now(deployment: Deployment) -> None:
    """The sweep of the day, whatever day other tests have swept."""
    Sweep.objects.all().delete()
    sweep_once(deployment)


@pytest.mark.clause("P83", aspect="allowed")
def test_a_version_is_posted_once_and_never_altered(clock: Clock) -> None:
    post_statement(*texts(2), now=clock())
    post_statement(*texts(2), now=clock())
    row = StatementVersion.objects.get(number=2)
    for alter in (row.save, row.delete, StatementVersion.objects.all().delete):
        with pytest.raises(AlteredVersion):
            alter()
    with pytest.raises(AlteredVersion):
        StatementVersion.objects.filter(number=2).update(said="nothing")
    assert [version.number for version in versions()] == [2, 1]


@pytest.mark.clause("P83", aspect="off")
def test_starting_again_changes_nothing(clock: Clock) -> None:
    before = [(version.number, version.statement.digest) for version in versions()]
    for _ in range(3):
        clock.turn(days=30)
        post_shipped(now=clock())
        turn_versions(now=clock())
    assert [(version.number, version.statement.digest) for version in versions()] == before
    assert in_force(clock()).number == 1


@pytest.mark.clause("P83", aspect="beyond")
def test_a_statement_edited_without_a_version_is_refused(clock: Clock) -> None:
    declared, words = shipped_texts()
    with pytest.raises(StatementEdited, match="edited without a version"):
        post_statement(declared, words.replace("We cannot read", "We seldom read"), now=clock())
    with pytest.raises(StatementEdited):
        post_statement(declared + WIDER, words, now=clock())
    assert in_force(clock()).number == 1


def test_an_older_release_is_refused(clock: Clock) -> None:
    post_statement(*texts(2), now=clock())
    with pytest.raises(StatementOutdated):
        post_shipped(now=clock())


def test_a_broken_statement_is_never_posted(clock: Clock) -> None:
    with pytest.raises(StatementBroken):
        post_statement("version = 2", "", now=clock())


@pytest.mark.clause("P85")
def test_a_change_is_posted_as_coming_and_holds_later(clock: Clock, member: Member) -> None:
    post_statement(*texts(2, widen=WIDER), now=clock())
    coming = upcoming(clock())
    assert coming is not None
    assert coming.number == 2
    assert coming.effective_at == clock() + timedelta(days=NOTICE_DAYS)
    assert "weather" in coming.changes[0]
    assert in_force(clock()).number == 1
    spend(clock, NOTICE_DAYS + 2)
    assert in_force(clock()).number == 2
    assert upcoming(clock()) is None
    assert in_force_for(member.account, clock()).number == 2


@pytest.mark.clause("P84")
def test_everybody_is_told_thirty_days_before(clock: Clock, member: Member) -> None:
    post_statement(*texts(2, widen=WIDER), now=clock())
    post = Post()
    give_notices(post, now=clock())
    assert (member.account.email, 2) in post.told
    assert len(post.told) == Account.objects.count()
    assert give_notices(post, now=clock()) == 0
    progress = Progress.objects.select_related("version").get(version=2)
    with pytest.raises(TooEarly):
        check_notice(progress, now=clock() + timedelta(days=NOTICE_DAYS - 1))
    spend(clock, NOTICE_DAYS - 1, post)
    assert in_force(clock()).number == 1
    spend(clock, 2, post)
    assert in_force(clock()).number == 2
    said = [entry for entry in entries_of(member.account) if entry.leaf.kind == Kind.VERSION_ANNOUNCED.value]
    assert [entry.said["version"] for entry in said] == [2]


def test_notices_that_were_given_stay_when_a_later_one_fails(clock: Clock) -> None:
    for number in range(21):
        create_account(f"told-{number}-{secrets.token_hex(4)}@example.org", now=clock())
    post_statement(*texts(2, widen=WIDER), now=clock())
    told = Post()

    def dies(account: Any, version: Version) -> None:
        if len(told.told) == 20:
            raise OSError("the disk is full")
        told(account, version)

    with pytest.raises(OSError, match="full"):
        give_notices(dies, now=clock())
    assert ChangeNotice.objects.filter(version=2).count() == 20
    assert give_notices(Post(), now=clock()) == Account.objects.count() - 20


def test_the_mail_says_what_changes_and_from_when(deployment: Deployment, member: Member) -> None:
    post_statement(*texts(2, widen=WIDER), now=deployment.now())
    assert advance_versions(deployment) >= 1
    assert advance_versions(deployment) == 0
    mail = Mail.objects.get(account=member.account, message=StatementChanges.__name__)
    assert "weather" in mail.text
    assert "Version 2 " in mail.text
    assert "22 December 2026" in mail.text
    assert mail.message_class == "service"


def test_without_notice_nothing_comes_into_force(clock: Clock, member: Member) -> None:
    post_statement(*texts(2, widen=WIDER), now=clock())
    for _ in range(3 * NOTICE_DAYS):
        clock.turn(days=1)
        assert turn_versions(now=clock()) == 0
    assert in_force(clock()).number == 1


def test_a_clock_that_jumps_brings_nothing_into_force(clock: Clock, member: Member) -> None:
    post_statement(*texts(2, widen=WIDER), now=clock())
    give_notices(Post(), now=clock())
    clock.turn(days=400)
    for _ in range(20):
        assert turn_versions(now=clock()) == 0
        clock.turn(minutes=10)
    clock.turn(days=-400)
    assert turn_versions(now=clock()) == 0
    assert in_force(clock()).number == 1
    spend(clock, NOTICE_DAYS + 1)
    assert in_force(clock()).number == 2
    clock.turn(days=-200)
    assert in_force(clock()).number == 2


def test_a_correction_holds_at_once_and_needs_no_notice(clock: Clock, member: Member) -> None:
    told_only = ("Please read what others promise", "Please do read what others promise")
    post_statement(*texts(2, said=told_only), now=clock())
    assert in_force(clock()).number == 2
    assert give_notices(Post(), now=clock()) == 0
    assert in_force_for(member.account, clock()).number == 2


def test_a_correction_does_not_bring_a_pending_change_along(clock: Clock, member: Member) -> None:
    post_statement(*texts(2, widen=WIDER), now=clock())
    told_only = ("Please read what others promise", "Please do read what others promise")
    post_statement(*texts(3, widen=WIDER, said=told_only), now=clock())
    assert in_force(clock()).number == 1
    assert version_numbered(3).is_material


def test_who_registers_meanwhile_is_told_as_long_before_as_others(clock: Clock) -> None:
    early = _account(clock)
    clock.turn(days=1)
    post_statement(*texts(2, widen=WIDER), now=clock())
    give_notices(Post(), now=clock())
    spend(clock, NOTICE_DAYS - 2)
    clock.turn(hours=1)
    late = _account(clock)
    spend(clock, 3)
    assert in_force(clock()).number == 2
    assert in_force_for(early, clock()).number == 2
    assert in_force_for(late, clock()).number == 1
    assert in_force_for(_account(clock), clock()).number == 2
    spend(clock, NOTICE_DAYS - 4)
    assert in_force_for(late, clock()).number == 1
    spend(clock, 2)
    assert in_force_for(late, clock()).number == 2
    untold = _account(clock, made_at=clock() - timedelta(days=200))
    assert in_force_for(untold, clock()).number == 1
    with writing():
        accept(untold, 2, method=Method.BANNER, now=clock())
    assert in_force_for(untold, clock()).number == 2


def test_who_registers_between_the_last_notices_and_the_turn_is_told_afterwards(clock: Clock) -> None:
    _account(clock)
    post_statement(*texts(2, widen=WIDER), now=clock())
    spend(clock, NOTICE_DAYS)
    clock.turn(days=1)
    give_notices(Post(), now=clock())
    clock.turn(minutes=1)
    late, post = _account(clock), Post()
    clock.turn(minutes=1)
    assert turn_versions(now=clock()) == 1
    assert in_force_for(late, clock()).number == 1
    _account(clock)
    assert give_notices(post, now=clock()) == 1
    assert post.told == [(late.email, 2)]
    shown = banner_for(late, clock())
    assert (shown.in_force, shown.coming) == (1, Coming(2, clock() + NOTICE))
    assert ChangeNotice.objects.get(account=late).seen_at == clock()
    recorded = entries_of(late)[0]
    assert recorded.leaf.kind == Kind.VERSION_ANNOUNCED.value
    assert recorded.said["effective_at"] == (clock() + NOTICE).isoformat()
    spend(clock, NOTICE_DAYS, post)
    assert in_force_for(late, clock()).number == 2
    assert banner_for(late, clock()).coming is None
    assert len(post.told) == 1


def test_a_correction_brings_no_change_to_whom_it_does_not_hold_for_yet(clock: Clock) -> None:
    early = _account(clock)
    post_statement(*texts(2, widen=WIDER), now=clock())
    spend(clock, NOTICE_DAYS - 2)
    late = _account(clock)
    spend(clock, 3)
    told_only = ("Please read what others promise", "Please do read what others promise")
    post_statement(*texts(3, widen=WIDER, said=told_only), now=clock())
    assert (in_force(clock()).number, in_force(clock()).is_material) == (3, False)
    assert in_force_for(early, clock()).number == 3
    assert in_force_for(late, clock()).number == 1
    spend(clock, NOTICE_DAYS)
    assert in_force_for(late, clock()).number == 3


def _account(clock: Clock, made_at: datetime | None = None) -> Account:
    with writing():
        return create_account(f"{secrets.token_hex(6)}@example.org", now=made_at or clock())


@pytest.mark.clause("P3")
def test_acceptance_is_of_one_posted_version_and_recorded(clock: Clock, member: Member) -> None:
    with writing():
        accept(member.account, 1, method=Method.SIGN_UP, now=clock())
        accept(member.account, 1, method=Method.SIGN_UP, now=clock())
    assert has_accepted(member.account, 1)
    kinds = [entry.leaf.kind for entry in entries_of(member.account)]
    assert kinds.count(Kind.VERSION_ACCEPTED.value) == 1
    with writing(), pytest.raises(NoSuchVersion):
        accept(member.account, 7, method=Method.SIGN_UP, now=clock())


def test_a_banner_is_shown_until_the_coming_version_is_accepted(clock: Clock, member: Member) -> None:
    assert banner_for(member.account, clock()).coming is None
    post_statement(*texts(2, widen=WIDER), now=clock())
    shown = banner_for(member.account, clock())
    assert shown.coming is not None
    assert (shown.in_force, shown.coming.number) == (1, 2)
    with writing():
        accept(member.account, 2, method=Method.BANNER, now=clock())
    assert banner_for(member.account, clock()).coming is None
    assert banner_for(None, clock()).coming is not None


def test_a_shorter_period_deletes_nothing_before_its_notice_ran_out(member: Member, clock: Clock) -> None:
    opened = member.open_session()
    Session.objects.filter(ref=parse_ref(opened.session)).update(closed_at=clock())
    clock.turn(days=9)
    post_statement(*shorter_sessions(), now=clock())
    sweep_now(member.deployment)
    assert days_of("session", now=clock()) == 30
    assert Session.objects.filter(ref=parse_ref(opened.session)).exists()
    spend(clock, NOTICE_DAYS + 1)
    assert days_of("session", now=clock()) == 7
    again = member.open_session()
    Session.objects.filter(ref=parse_ref(again.session)).update(closed_at=clock() - timedelta(days=8))
    sweep_now(member.deployment)
    assert not Session.objects.filter(ref=parse_ref(again.session)).exists()


def test_history_says_what_changed(clock: Clock) -> None:
    post_statement(*texts(2, widen=WIDER, said=("It is sealed on your", "It is closed on your")), now=clock())
    changed = difference(version_numbered(1).statement, version_numbered(2).statement)
    assert [(item.fate, item.clauses) for item in changed.sentences] == [
        (Fate.REMOVED, ("P7",)),
        (Fate.ADDED, ("P7",)),
    ]
    assert any("P7" in change for change in changed.changes)
    assert any("weather" in change for change in changed.changes)


def test_a_notice_is_recorded_with_the_banner_that_was_seen(clock: Clock, member: Member) -> None:
    post_statement(*texts(2, widen=WIDER), now=clock())
    give_notices(Post(), now=clock())
    clock.turn(hours=5)
    for _ in range(2):
        banner_for(member.account, clock())
        clock.turn(hours=5)
    notice = ChangeNotice.objects.get(account=member.account)
    assert notice.seen_at is not None
    assert notice.seen_at - notice.mailed_at == timedelta(hours=5)


def _page(path: str) -> str:
    """What a stranger reads there, without markup."""
    text = Client(headers={"host": "127.0.0.1"}).get(path).content.decode()
    return re.sub(r"\s+", " ", re.sub("<[^>]*>", "", text))


@pytest.mark.clause("P88", aspect="off")
def test_the_page_says_what_holds_and_not_what_ships(clock: Clock, deployment: Deployment) -> None:
    post_statement(*texts(2, widen=WIDER), now=clock())
    page = _page("/privacy")
    assert f"Version 1, in force since {clock().day}" in page
    assert "Version 2 comes into force" in page
    assert "Privacy statement, version 1." in page
    assert "is going to change" in _page("/privacy/data")


@pytest.mark.clause("P88", aspect="allowed")
def test_the_page_turns_with_the_version(clock: Clock, deployment: Deployment) -> None:
    post_statement(*texts(2, widen=WIDER), now=clock())
    spend(clock, NOTICE_DAYS + 1)
    since = version_numbered(2).in_force_at
    assert since is not None
    assert f"Version 2, in force since {since.day} {since:%B %Y}" in _page("/privacy")
    assert "Privacy statement, version 2." in _page("/privacy/data")


@pytest.mark.clause("P88", aspect="beyond")
def test_a_coming_version_never_claims_to_hold(clock: Clock, deployment: Deployment) -> None:
    post_statement(*texts(2, widen=WIDER), now=clock())
    assert "Version 2, not in force yet" in _page("/privacy/version/2")
    assert "Version 2, in force" not in _page("/privacy") + _page("/privacy/history")
    assert "to come" in _page("/privacy/history")


@pytest.mark.clause("P86")
def test_the_feed_has_an_entry_for_each_version(clock: Clock, deployment: Deployment) -> None:
    post_statement(*texts(2, widen=WIDER), now=clock())
    feed = Client(headers={"host": "127.0.0.1"}).get("/privacy/history.atom")
    assert feed.headers["Content-Type"].startswith("application/atom+xml")
    entries = ElementTree.fromstring(feed.content).findall("{http://www.w3.org/2005/Atom}entry")
    titles = [entry.findtext("{http://www.w3.org/2005/Atom}title") for entry in entries]
    assert [title and title.split()[1].rstrip(":") for title in titles] == ["2", "1"]
    history = Client(headers={"host": "127.0.0.1"}).get("/privacy/history").content.decode()
    assert "weather" in history
