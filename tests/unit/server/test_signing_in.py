"""Signing in: guessing is slowed, sessions can be ended, danger takes a fresh sign-in."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.core.cache import cache
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext

from muniment.server.accounts import attempts, sign_up
from muniment.server.accounts.attempts import WINDOW_SECONDS, TooOften, Tried
from muniment.server.accounts.links import LinkDead, LinkKind, make_token, open_token
from muniment.server.accounts.models import Account, Attempts, SecurityEvent, WebSession
from muniment.server.accounts.models.sign_in import KEY_BYTES
from muniment.server.accounts.recovery import set_password
from muniment.server.accounts.settings import FRESH_SECONDS
from muniment.server.accounts.visits import Visit, browser_family
from muniment.server.accounts.web_sessions import forget_ended_sessions, open_sessions
from muniment.server.deployment import Deployment
from muniment.server.jobs.timetable import TIMETABLE
from muniment.server.mail.models import Mail
from muniment.server.privacy.addresses import NetworkAddress
from muniment.server.web.context import deploy, now
from muniment.server.web.hosts import served_names
from tests.support.domain import Clock
from tests.support.pages import Person, some_address, text
from tests.support.visitor import PASSWORD

WRONG = "not this one at all"
NOBODYS = UUID(int=7)


def visit(address: str) -> Visit:
    return Visit.of(address, "")


@pytest.mark.clause("P15")
def test_guessing_a_password_stops_and_goes_on_later(deployment: Deployment, clock: Clock) -> None:
    owner = Person(deployment).join()
    guesser = Person(deployment, email=owner.email, network="198.51.100.20")
    for _ in range(Tried.SIGN_IN.by_account):
        assert "do not go together" in text(guesser.sign_in(WRONG))
    assert "Too many tries" in text(guesser.sign_in(PASSWORD))
    assert not guesser.is_signed_in()
    clock.turn(minutes=21)
    assert guesser.sign_in(PASSWORD).status_code == 302


@pytest.mark.clause("P15")
def test_guessing_on_many_accounts_from_one_network_stops(deployment: Deployment, clock: Clock) -> None:
    clock.turn(days=30)  # counters of other tests are long gone
    for number in range(Tried.SIGN_IN.by_network):
        attempts.spend(Tried.SIGN_IN, whom=f"{number}@example.org", visit=visit("203.0.113.9"), now=clock())
    with pytest.raises(TooOften):
        attempts.spend(Tried.SIGN_IN, whom="other@example.org", visit=visit("203.0.113.77"), now=clock())
    attempts.spend(Tried.SIGN_IN, whom="other@example.org", visit=visit("203.0.114.77"), now=clock())


@pytest.mark.parametrize(
    "place", [datetime(2040, 6, 1, 23, 59, tzinfo=UTC), datetime(2040, 6, 2, 11, 59, tzinfo=UTC)]
)
def test_no_hour_of_the_day_ends_what_was_counted(deployment: Deployment, place: datetime) -> None:
    for _ in range(Tried.SIGN_IN.by_account):
        attempts.spend(Tried.SIGN_IN, whom="who@example.org", visit=visit(""), now=place)
    later = place + timedelta(minutes=2)
    with pytest.raises(TooOften):
        attempts.spend(Tried.SIGN_IN, whom=" Who@example.org", visit=visit(""), now=later)
    attempts.spend(Tried.SIGN_IN, whom="who@example.org", visit=visit(""), now=place + timedelta(minutes=21))


def test_counters_name_nobody_and_end_within_half_an_hour(deployment: Deployment, clock: Clock) -> None:
    clock.turn(days=60)
    before = set(Attempts.objects.values_list("pk", flat=True))  # of tests whose clocks were ahead
    for _ in range(2):
        attempts.spend(Tried.SIGN_IN, whom="who@example.org", visit=visit("203.0.113.9"), now=clock())
        clock.turn(seconds=WINDOW_SECONDS)
    kept = Attempts.objects.exclude(pk__in=before)
    # Of the same account and network, and nobody sees it.
    assert [(len(key), count) for key, count in kept.values_list("key", "count")] == [(KEY_BYTES, 1)] * 4
    assert len(set(kept.values_list("key", flat=True))) == 4
    forget = next(timed.work for timed in TIMETABLE if timed.name == "counters")
    forget(deployment)
    assert kept.count() == 2
    clock.turn(minutes=10)
    forget(deployment)
    assert not kept.exists()


def test_seeing_a_browser_again_writes_nothing(deployment: Deployment, clock: Clock) -> None:
    owner = Person(deployment).join()
    owner.get("/overview")
    WebSession.objects.filter(account=owner.account).update(seen_at=clock())
    clock.turn(minutes=4)
    with CaptureQueriesContext(connection) as asked:
        assert owner.get("/overview").status_code == 200
    assert not [one["sql"] for one in asked if not one["sql"].startswith("SELECT")]
    clock.turn(minutes=2)
    assert owner.get("/overview").status_code == 200
    assert WebSession.objects.get(account=owner.account).seen_at == clock()


def test_a_session_that_moves_is_noted_at_once(deployment: Deployment, clock: Clock) -> None:
    owner = Person(deployment, network="198.51.100.20").join()
    owner.get("/overview")
    WebSession.objects.filter(account=owner.account).update(seen_at=clock())
    clock.turn(minutes=1)
    owner.browser.defaults["REMOTE_ADDR"] = "203.0.113.60"
    owner.get("/overview")
    row = WebSession.objects.get(account=owner.account)
    assert (row.network, row.seen_at) == ("203.0.113.0/24", clock())


def test_a_second_factor_is_asked_and_counted(deployment: Deployment) -> None:
    owner = Person(deployment).join()
    TOTP.activate(owner.account, generate_totp_secret())
    other = Person(deployment, email=owner.email)
    assert other.sign_in().headers["location"] == "/accounts/login/second"
    assert not other.is_signed_in()
    for _ in range(Tried.CODE.by_account):
        assert "Incorrect code" in text(other.post("/accounts/login/second", code="000000"))
    assert "Too many tries" in text(other.post("/accounts/login/second", code="000000"))
    assert SecurityEvent.objects.filter(account=owner.account, kind="refused", method="code").count() == 10


@pytest.mark.parametrize(
    ("what", "looks", "tried"),
    [
        ("code", "allauth.mfa.totp.internal.auth.TOTP.validate_code", Tried.CODE),
        ("password", "muniment.server.accounts.models.Account.check_password", Tried.SIGN_IN),
    ],
)
def test_guesses_at_once_are_as_many_as_one_after_the_other(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, what: str, looks: str, tried: Tried
) -> None:
    """Each guess is sent while the one before it is being looked at."""
    owner = Person(deployment).join()
    TOTP.activate(owner.account, generate_totp_secret())
    guessers = [Person(deployment, email=owner.email) for _ in range(tried.by_account + 5)]
    if what == "code":
        for guesser in guessers:
            guesser.sign_in()
    looked_at: list[int] = []

    def guess() -> None:
        if guessers:
            guesser = guessers.pop()
            if what == "code":
                guesser.post("/accounts/login/second", code="000000")
            else:
                guesser.post("/accounts/login", login=owner.email, password="not this one")

    def look(*_: object) -> bool:
        looked_at.append(1)
        guess()
        return False

    monkeypatch.setattr(looks, look)
    guess()
    assert len(looked_at) == tried.by_account


def test_a_code_of_an_app_signs_in_once(deployment: Deployment) -> None:
    owner = Person(deployment).join()
    secret = generate_totp_secret()
    TOTP.activate(owner.account, secret)
    code, earlier = (format_hotp_value(hotp_value(secret, int(time.time()) // 30 - late)) for late in (0, 1))
    first, again = (Person(deployment, email=owner.email) for _ in range(2))
    for other in (first, again):
        other.sign_in()
    first.post("/accounts/login/second", code=code)
    assert first.is_signed_in()
    cache.clear()  # another process, or half a minute later
    for used in (code, earlier):
        assert "Incorrect code" in text(again.post("/accounts/login/second", code=used))
    assert not again.is_signed_in()


def test_seeds_are_sealed_in_the_database(deployment: Deployment) -> None:
    owner = Person(deployment).join()
    secret = generate_totp_secret()
    TOTP.activate(owner.account, secret)
    assert secret not in str(Authenticator.objects.get(user=owner.account).data)


@pytest.mark.parametrize(
    "path",
    ["/devices/code", "/profile/address", "/profile/security/password", "/profile/security/app/add",
     "/profile/security/passkeys/add"],
)  # fmt: skip
def test_danger_takes_a_fresh_sign_in_that_lasts_five_minutes(deployment: Deployment, path: str) -> None:
    owner = Person(deployment).join()
    asked = owner.get(path)
    assert asked.status_code == 302
    assert asked.headers["location"].startswith("/accounts/again?next=")
    assert owner.post(path).status_code == 302
    assert "not your password" in text(owner.prove(WRONG))
    owner.prove()
    assert owner.get(path).status_code == 200


@pytest.mark.parametrize(
    ("path", "page"),
    [("/profile/security/password", "/profile/security/password"),
     ("/profile/security/app/add", "/profile/security/app/add"),
     ("/requests/export", "/requests/copy"),
     (f"/confirmations/{NOBODYS}/refuse", "/confirmations")],
)  # fmt: skip
def test_what_a_stale_session_sends_is_kept_nowhere(deployment: Deployment, path: str, page: str) -> None:
    """Nobody may find tomorrow, in a copy of the database, the password somebody wanted today."""
    owner = Person(deployment).join()
    before = dict(owner.browser.session)
    asked = owner.post(path, password="another quiet harbour", code="another quiet harbour")
    assert asked.headers["location"] == f"/accounts/again?{urlencode({'next': page})}"
    assert dict(owner.browser.session) == before
    back = owner.post("/accounts/again", password=PASSWORD, next=page)
    assert back.headers["location"] == page
    assert owner.get(page).status_code == 200
    assert owner.account.check_password(PASSWORD)


@pytest.mark.parametrize(
    ("path", "page"),
    [("/console/requests", "/console/requests"),
     (f"/console/orders/{NOBODYS}/approve", "/console/orders"),
     ("/console/recipients/carrier/named", "/console/recipients"),
     (f"/console/hand-over/{NOBODYS}/delivered", "/console")],
)  # fmt: skip
def test_staff_who_were_away_come_back_to_the_list(deployment: Deployment, path: str, page: str) -> None:
    staff = Person(deployment).join()
    Account.objects.filter(pk=staff.account.pk).update(is_staff=True)
    TOTP.activate(staff.account, generate_totp_secret())
    asked = staff.post(path, words="what somebody wrote in a letter")
    assert asked.headers["location"] == f"/accounts/again/code?{urlencode({'next': page})}"
    assert "letter" not in str(dict(staff.browser.session))


@pytest.mark.parametrize("path", ["/devices/code", "/profile/security/password"])
def test_a_sign_in_is_a_fresh_one_for_five_minutes(deployment: Deployment, path: str) -> None:
    email = Person(deployment).join().email
    owner = Person(deployment, email=email)
    assert owner.sign_in().status_code == 302
    assert owner.get(path).status_code == 200
    session = owner.browser.session
    for step in session["account_authentication_methods"]:
        step["at"] -= FRESH_SECONDS
    session.save()
    assert owner.get(path).headers["location"].startswith("/accounts/again?next=")


def test_with_a_second_factor_a_password_is_no_fresh_sign_in(deployment: Deployment) -> None:
    owner = Person(deployment).join()
    TOTP.activate(owner.account, generate_totp_secret())
    assert owner.get("/devices/code").headers["location"].startswith("/accounts/again/code?")


def test_sessions_are_listed_and_ended(deployment: Deployment) -> None:
    owner = Person(deployment).join()
    elsewhere = Person(
        deployment, email=owner.email, network="198.51.100.3", agent="Mozilla/5.0 (iPhone) Safari/600"
    )
    elsewhere.sign_in()
    assert elsewhere.is_signed_in()
    page = text(owner.get("/profile/security"))
    assert "Safari on iOS" in page
    assert "with the password" in page
    assert "198.51.100.0/24" in page
    assert "198.51.100.3" not in page
    other = WebSession.objects.exclude(browser="Firefox on Linux").get(account=owner.account)
    stranger = Person(deployment).join()
    assert stranger.post(f"/profile/security/sessions/{other.ref}/end").status_code == 404
    assert elsewhere.is_signed_in()
    assert owner.post(f"/profile/security/sessions/{other.ref}/end").status_code == 302
    assert not elsewhere.is_signed_in()
    assert owner.is_signed_in()


def test_a_session_that_stopped_half_way_is_its_accounts_and_no_sign_in(deployment: Deployment) -> None:
    """It holds the address; so it goes with the account, and with other browsers when those are ended."""
    owner = Person(deployment).join()
    TOTP.activate(owner.account, generate_totp_secret())
    half = Person(deployment, email=owner.email)
    half.sign_in()
    assert WebSession.objects.filter(account=owner.account).count() == 2
    listed = open_sessions(owner.account, current_key=owner.browser.session.session_key, now=now())
    assert [one.is_this for one in listed] == [True]
    assert owner.post("/profile/security/sessions/end").status_code == 302
    assert WebSession.objects.filter(account=owner.account).count() == 1
    assert "Code" not in text(half.browser.get("/accounts/login/second", follow=True))


def test_a_session_that_waits_for_a_guardian_is_its_accounts(deployment: Deployment) -> None:
    minor = Person(deployment)
    minor.register(year=2009, guardian=some_address())
    assert minor.confirm().headers["location"] == "/accounts/guardian"
    assert not minor.is_signed_in()
    assert WebSession.objects.filter(account=minor.account).exists()


def test_cookies_are_kept_as_hashes_only(deployment: Deployment) -> None:
    owner = Person(deployment).join()
    cookie = owner.browser.cookies["sessionid"].value
    assert not WebSession.objects.filter(session_key=cookie).exists()
    assert WebSession.objects.filter(account=owner.account).exists()


def test_sessions_that_ended_are_forgotten(deployment: Deployment) -> None:
    owner = Person(deployment).join()
    row = WebSession.objects.get(account=owner.account)
    forget_ended_sessions(now=row.expire_date - timedelta(seconds=1))
    assert WebSession.objects.filter(pk=row.pk).exists()
    assert forget_ended_sessions(now=row.expire_date) >= 1
    assert not WebSession.objects.filter(pk=row.pk).exists()
    assert not owner.is_signed_in()


def test_a_new_browser_is_told_by_mail_a_known_one_is_not(deployment: Deployment) -> None:
    owner = Person(deployment).join()
    owner.sign_in()
    assert not owner.mails("A new sign-in to your account")
    Person(deployment, email=owner.email, network="198.51.100.3").sign_in()
    assert len(owner.mails("A new sign-in to your account")) == 1


def test_changing_the_password_ends_every_other_session(deployment: Deployment) -> None:
    owner = Person(deployment).join()
    elsewhere = Person(deployment, email=owner.email)
    elsewhere.sign_in()
    owner.prove()
    assert owner.post("/profile/security/password", password="another quiet harbour").status_code == 302
    assert owner.is_signed_in()
    assert not elsewhere.is_signed_in()
    assert owner.mails("Your password was changed")


def test_what_nobody_confirmed_is_no_account_to_set_a_password_of(deployment: Deployment) -> None:
    """A stranger may have filled its form, consents and all; the link would confirm that."""
    stranger = Person(deployment)
    stranger.register()
    owner = Person(deployment, email=stranger.email, network="198.51.100.9")
    owner.post("/accounts/password/reset", email=owner.email)
    assert owner.mails("There is no account under this address", to=owner.email)
    assert not owner.mails("Set a new password")


def test_a_reset_link_works_once_and_for_six_hours(deployment: Deployment, clock: Clock) -> None:
    owner = Person(deployment).join()
    Person(deployment, email=owner.email).post("/accounts/password/reset", email=owner.email)
    path = owner.link("Set a new password")
    assert owner.email not in path
    assert owner.post(path, password="a fourth lantern word").status_code == 200
    assert not owner.is_signed_in()  # every browser
    assert owner.get(path).status_code == 410
    assert owner.sign_in("a fourth lantern word").status_code == 302
    late = make_token(LinkKind.PASSWORD, owner.account, email=owner.email, now=clock())
    clock.turn(hours=7)
    assert owner.get(f"/accounts/password/set/{late}").status_code == 410


def test_a_first_password_is_set_with_the_address_confirmed_or_not_at_all(
    deployment: Deployment, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = Account.objects.create_account(some_address(), ref=uuid4(), created_at=clock())

    def stopped(*_: object, **__: object) -> None:
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr(sign_up, "record", stopped)
        with pytest.raises(OSError):
            set_password(account, PASSWORD, statement=None, visit=visit("203.0.113.9"), now=clock())
    kept = Account.objects.get(pk=account.pk)
    assert (kept.confirmed_at, kept.has_usable_password()) == (None, False)
    set_password(kept, PASSWORD, statement=None, visit=visit("203.0.113.9"), now=clock())
    kept.refresh_from_db()
    assert (kept.confirmed_at, kept.check_password(PASSWORD)) == (clock(), True)


def test_a_link_of_one_kind_opens_nothing_else(deployment: Deployment, clock: Clock) -> None:
    account = Person(deployment).join().account
    for kind in LinkKind:
        token = make_token(kind, account, email=account.email, now=clock())
        assert open_token(kind, token, now=clock()).account == account
        for other in set(LinkKind) - {kind}:
            with pytest.raises(LinkDead):
                open_token(other, token, now=clock())
        with pytest.raises(LinkDead):
            open_token(kind, token[:-2] + "xx", now=clock())


def test_a_new_address_counts_once_its_link_is_opened_by_the_owner(
    deployment: Deployment, clock: Clock
) -> None:
    owner, before = Person(deployment).join(), ""
    before, after = owner.email, f"new-{owner.email}"
    owner.prove()
    assert owner.post("/profile/address", email=after).status_code == 302
    path = owner.link("Confirm your new address", to=after)
    stranger = Person(deployment).join()
    assert stranger.post(path).status_code == 410
    assert Person(deployment).get(path).status_code == 302  # sign in first
    assert owner.get(path).status_code == 200
    assert owner.account.email == before
    owner.post(path)
    owner.email = after
    assert owner.account.email == after
    assert owner.mails("The address of your account was changed", to=before)
    assert Person(deployment, email=after).sign_in().status_code == 302


def test_nobody_is_flooded_by_changes_of_address(deployment: Deployment) -> None:
    """Whoever asks, and from wherever: what goes to one address is counted."""
    victim = some_address()
    for _ in range(2):
        asker = Person(deployment).join()
        asker.prove()
        answers = [asker.post("/profile/address", email=victim).status_code for _ in range(4)]
    assert answers == [302, 429, 429, 429]
    assert Mail.objects.filter(to=victim).count() == 5


def test_asking_for_a_taken_address_tells_its_owner_and_not_the_asker(deployment: Deployment) -> None:
    taken, asker = Person(deployment).join(), Person(deployment).join()
    asker.prove()
    answered = asker.post("/profile/address", email=taken.email)
    assert answered.status_code == 302
    assert taken.mails("You already have an account")
    assert not taken.mails("Confirm your new address")


def test_an_address_taken_since_it_was_asked_for_stays_whose_it_is(deployment: Deployment) -> None:
    owner = Person(deployment).join()
    owner.prove()
    other = Person(deployment)
    owner.post("/profile/address", email=other.email)
    path = owner.link("Confirm your new address", to=other.email)
    other.join()
    answered = owner.post(path)
    assert answered.status_code == 409
    assert "has an account by now" in text(answered)
    assert owner.account != other.account
    assert not owner.mails("The address of your account was changed")


@pytest.mark.clause("P13", aspect="off")
@pytest.mark.clause("P18", aspect="off")
@pytest.mark.clause("P13", aspect="off")
def test_looking_at_pages_leaves_no_address(deployment: Deployment) -> None:
    events, sessions = SecurityEvent.objects.count(), WebSession.objects.count()
    visitor = Person(deployment, network="203.0.113.50")
    for path in ("/", "/accounts/login", "/accounts/signup", "/accounts/signup/home", "/privacy"):
        visitor.get(path)
    assert (SecurityEvent.objects.count(), WebSession.objects.count()) == (events, sessions)


@pytest.mark.clause("P13", aspect="allowed")
@pytest.mark.clause("P18", aspect="allowed")
def test_signing_in_notes_the_whole_address_in_the_security_log_only(deployment: Deployment) -> None:
    owner = Person(deployment, network="203.0.113.51").join()
    event = SecurityEvent.objects.filter(account=owner.account, kind="signed_in").get()
    assert event.address == "203.0.113.51"
    assert event.network == "203.0.113.0/24"
    assert event.browser == "Firefox on Linux"


@pytest.mark.clause("P13", aspect="beyond")
@pytest.mark.clause("P18", aspect="beyond")
@pytest.mark.clause("P13", aspect="beyond")
def test_everywhere_else_an_address_is_cut_short(deployment: Deployment) -> None:
    owner = Person(deployment, network="203.0.113.52").join()
    assert [one.network for one in WebSession.objects.filter(account=owner.account)] == ["203.0.113.0/24"]
    for whole, network in [
        ("203.0.113.52", "203.0.113.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ("::ffff:203.0.113.52", "203.0.113.0/24"),
        ("fe80::1%eth0", "fe80::/48"),
        ("no address", ""),
    ]:
        parsed = NetworkAddress.parse(whole)
        assert parsed.network == network
        assert whole not in (str(parsed), repr(parsed)) or not network


def test_browsers_are_told_apart_by_family_only() -> None:
    windows = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit Chrome/149.0.0.0 Safari/537.36 Edg/149.0"
    assert browser_family(windows) == "Edge on Windows"
    assert browser_family("curl/8.1") == "curl"
    assert browser_family("") == "unknown browser"


@pytest.mark.parametrize(
    ("host", "served", "works", "instead"),
    [
        ("localhost:8120", {}, True, ""),
        ("127.0.0.1:8120", {}, False, "http://localhost:8120"),
        ("[::1]:8120", {}, False, "http://localhost:8120"),
        ("10.0.0.7:8120", {"host": "10.0.0.7"}, False, ""),
        ("10.0.0.7:8120", {"host": "10.0.0.7", "hosts": ("https://backup.example.org",)}, False, "https://backup.example.org"),
        ("backup.example.org", {"hosts": ("https://backup.example.org",)}, True, ""),
        ("backup.example.org", {"hosts": ("backup.example.org",)}, False, ""),
    ],
)  # fmt: skip
def test_passkeys_are_offered_where_browsers_have_them(
    deployment: Deployment, host: str, served: dict[str, Any], works: bool, instead: str
) -> None:
    config = replace(deployment.config, **served)
    deploy(replace(deployment, config=config, url=config.url(listening="http://127.0.0.1:8120")))
    visitor = Client(headers={"host": host})
    secure = config.is_https and host in config.host_names
    with override_settings(
        SERVED_NAMES=served_names(listening=config.host, named=config.host_names), ALLOWED_HOSTS=["*"]
    ):
        page = text(visitor.get("/accounts/login", secure=secure))
    assert ("Sign in with a passkey" in page) == works
    assert ("Browsers use passkeys only under a name" in page) != works
    assert not instead or f"<code>{instead}</code>" in page


@pytest.mark.parametrize(
    "answer",
    ["", "null", "[]", "7", "{", '{"id": 1}', '{"id": 0, "rawId": [], "type": "public-key", "response": 3}',
     '{"response": {"userHandle": 5}}', '{"response": []}'],
)  # fmt: skip
def test_what_is_no_answer_of_a_passkey_signs_nobody_in_and_breaks_nothing(
    deployment: Deployment, answer: str
) -> None:
    """Whatever a stranger sends for one: the form again, and no fault of ours."""
    stranger = Person(deployment)
    asked = stranger.browser.get("/accounts/login/passkey", headers={"x-requested-with": "XMLHttpRequest"})
    assert "request_options" in asked.json()
    refused = stranger.post("/accounts/login/passkey", credential=answer)
    assert (refused.status_code, refused.headers["Location"]) == (302, "/accounts/login")
    assert stranger.get("/overview").status_code == 302
