"""Signing up: only what the statement declares, known and unknown alike, nobody unconfirmed."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from statistics import median
from uuid import UUID

import pytest
from django.test import Client

from muniment.server.accounts import unconfirmed
from muniment.server.accounts.attempts import Tried
from muniment.server.accounts.models import Account, Guardianship, Profile, SecurityEvent
from muniment.server.accounts.unconfirmed import forget_unconfirmed
from muniment.server.deployment import Deployment
from muniment.server.mail.models import Mail
from muniment.server.privacy.consent.choices import Subject, last_said
from muniment.server.privacy.consent.effect import State
from muniment.server.privacy.export import export_archive, read_archive
from muniment.server.privacy.external import EXTERNAL
from muniment.server.privacy.forms import DeclaredForm, FormField, declared_form, form_problems
from muniment.server.privacy.ledger.entries import entries_of
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.registry import data_map
from muniment.server.privacy.requests.holds import place_hold
from muniment.server.privacy.requests.incoming import confirm_link, link_of, take_in
from muniment.server.privacy.requests.machine import advance_requests
from muniment.server.privacy.requests.models import Channel, Erasure, Request
from muniment.server.privacy.requests.models import Kind as Asked
from muniment.server.privacy.statement import read_statement
from muniment.server.privacy.versions.models import Acceptance
from muniment.server.transactions import writing
from tests.support.domain import Clock
from tests.support.pages import Person, form_on, some_address, text
from tests.support.visitor import PASSWORD

BUSINESS = {"company_name": "a reseller", "name": "its head"}
ENTERPRISE = {**BUSINESS, "title": "head", "city": "Cork", "postcode": "T12"}


@pytest.mark.clause("P10", aspect="off")
def test_home_needs_address_password_and_country_only(deployment: Deployment) -> None:
    person = Person(deployment)
    page = text(person.screen())
    needed = [
        field for field in declared_form("sign_up").asked_of("home") if field.needed["home"] == "required"
    ]
    assert [field.name for field in needed] == ["email", "password", "country"]
    for field in declared_form("sign_up").asked_of("home"):
        if field.name != "country":
            assert field.why in page, field.name
    assert person.register().status_code == 302
    profile = Profile.objects.get(account__email=person.email)
    assert not any([profile.name, profile.phone, profile.company_name, profile.city, profile.user_name])


@pytest.mark.clause("P10", aspect="allowed")
@pytest.mark.parametrize(("edition", "details"), [("pro", BUSINESS), ("enterprise", ENTERPRISE)])
def test_businesses_say_what_a_contract_needs(
    deployment: Deployment, edition: str, details: dict[str, str]
) -> None:
    for left_out in details:
        fewer = {name: value for name, value in details.items() if name != left_out}
        assert Person(deployment).register(edition=edition, **fewer).status_code == 422, left_out
    person = Person(deployment)
    assert person.register(edition=edition, **details).status_code == 302
    assert person.account.edition == edition
    assert person.account.profile.company_name == "a reseller"


@pytest.mark.clause("P10", aspect="beyond")
@pytest.mark.parametrize(
    "extra", ["is_staff", "company_name", "allowance", "birthday", "guardian", "confirmed_at"]
)
def test_a_field_that_the_form_does_not_ask_is_refused(deployment: Deployment, extra: str) -> None:
    person = Person(deployment)
    assert person.register(**{extra: "1"}).status_code == 400
    assert not Account.objects.filter(email=person.email).exists()


def test_a_form_asks_nothing_whose_place_is_undeclared() -> None:
    columns = data_map(EXTERNAL)
    assert list(form_problems(declared_form("sign_up"), columns)) == []
    planted = FormField("shoe_size", "accounts.Profile.shoe_size", "", {"home": "optional"})
    assert len(list(form_problems(DeclaredForm("planted", "", (planted,)), columns))) == 2


@pytest.mark.clause("P3")
def test_an_account_accepts_the_statement_in_force_or_is_not_made(deployment: Deployment) -> None:
    person = Person(deployment)
    assert person.register(accept="").status_code == 422
    assert person.register(statement="99").status_code == 302
    assert not Account.objects.filter(email=person.email).exists()
    person.register()
    accepted = Acceptance.objects.get(account=person.account)
    assert accepted.version_id == 1
    kinds = {entry.leaf.kind for entry in entries_of(person.account)}
    assert {Kind.VERSION_ACCEPTED, Kind.ACCOUNT_REGISTERED} <= kinds


@pytest.mark.clause("P26", aspect="beyond")
def test_a_form_without_the_notice_that_was_shown_is_refused(deployment: Deployment) -> None:
    person = Person(deployment)
    assert person.register(notice="0" * 64).status_code == 400
    assert not Account.objects.filter(email=person.email).exists()


@pytest.mark.clause("P26", aspect="allowed")
def test_what_was_told_beside_the_form_is_recorded_by_its_hash(deployment: Deployment) -> None:
    person = Person(deployment)
    page = person.screen()
    assert declared_form("sign_up").notice in text(page)
    shown = form_on(page, "/accounts/signup/home/register").fields["notice"]
    person.register()
    entry = next(e for e in entries_of(person.account) if e.leaf.kind == Kind.ACCOUNT_REGISTERED)
    assert entry.said["notice"] == shown


@pytest.mark.clause("P26", aspect="off")
def test_accepting_the_statement_agrees_to_nothing_else(deployment: Deployment) -> None:
    person = Person(deployment)
    person.register()
    for purpose in ("demographics", "promotion", "advertise"):
        assert (purpose, "") not in last_said(Subject(person.account))
    teller = Person(deployment)
    teller.register(phone="5550100")
    assert last_said(Subject(teller.account))["demographics", ""] is State.GRANTED


@pytest.mark.clause("P11")
def test_nobody_signs_in_before_the_address_is_confirmed(deployment: Deployment) -> None:
    person = Person(deployment)
    person.register()
    early = person.sign_in()
    assert early.status_code == 200
    assert "not confirmed yet" in text(early)
    assert not person.is_signed_in()
    path = person.link("Confirm your address")
    assert person.get(path).status_code == 200
    assert person.account.confirmed_at is None  # looking at the page confirms nothing
    assert person.post(path, password="a wrong password").status_code == 422
    assert person.account.confirmed_at is None
    assert person.post(path, password=PASSWORD).status_code == 302
    assert person.is_signed_in()
    assert person.get(path).status_code == 410
    assert Kind.ADDRESS_CONFIRMED in {entry.leaf.kind for entry in entries_of(person.account)}


def test_signing_up_and_in_with_an_address_does_not_tell_whether_it_has_an_account(
    deployment: Deployment,
) -> None:
    """Same answer, word for word, and the same count of tries, whoever holds the address."""
    answers, refused = [], []
    for email in (Person(deployment).join().email, some_address()):
        stranger = Person(deployment, email=email)
        assert stranger.register(password="what a stranger picks").status_code == 302
        told = [stranger.sign_in("what a stranger picks") for _ in range(Tried.SIGN_IN.by_account + 1)]
        answers.append([(answer.status_code, without_token(text(answer), email)) for answer in told])
        refused.append(SecurityEvent.objects.filter(account=stranger.account, kind="refused").count())
        assert "do not go together" in text(told[0])
        assert "Too many tries" in text(told[-1])
    assert answers[0] == answers[1]
    assert refused[0] == refused[1] == Tried.SIGN_IN.by_account


def without_token(page: str, email: str) -> str:
    """What differs between any two answers is taken out."""
    return re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", page.replace(email, ""))


@pytest.mark.clause("P11")
def test_unconfirmed_accounts_are_forgotten_after_seven_days(deployment: Deployment, clock: Clock) -> None:
    late, early, theirs = Person(deployment), Person(deployment), Person(deployment)
    late.register()
    theirs.join()
    clock.turn(days=1)
    early.register()
    clock.turn(days=6)
    assert forget_unconfirmed(now=clock()) >= 1
    left = set(
        Account.objects.filter(email__in=[late.email, early.email, theirs.email]).values_list(
            "email", flat=True
        )
    )
    assert left == {early.email, theirs.email}


def test_who_confirms_while_the_late_are_forgotten_is_not(
    deployment: Deployment, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = Person(deployment)
    person.register()
    clock.turn(days=7)
    real = unconfirmed.writing

    def confirming_first() -> AbstractContextManager[None]:
        Account.objects.filter(email=person.email).update(confirmed_at=clock())
        return real()

    monkeypatch.setattr(unconfirmed, "writing", confirming_first)
    forget_unconfirmed(now=clock())
    assert Account.objects.filter(email=person.email).exists()


def test_operators_accounts_are_not_forgotten(deployment: Deployment, clock: Clock, member: object) -> None:
    count = Account.objects.filter(made_by="operator").count()
    clock.turn(days=400)
    forget_unconfirmed(now=clock())
    assert Account.objects.filter(made_by="operator").count() == count


def _shape(response: object) -> tuple[int, str, dict[str, str]]:
    """Status, body and headers, without what is random in every answer."""
    body = re.sub(r'value="[^"]{32,}"', "", response.content.decode())  # type: ignore[attr-defined]
    return response.status_code, body, dict(response.headers)  # type: ignore[attr-defined]


def test_known_and_unknown_addresses_are_answered_alike(deployment: Deployment) -> None:
    known = Person(deployment).join()
    unknown = Person(deployment)
    stranger = Person(deployment, email=known.email, network="198.51.100.4")
    other = Person(deployment, email=unknown.email, network="198.51.101.4")
    assert _shape(stranger.register()) == _shape(other.register())
    wrong = {"password": "not this one at all"}
    first = stranger.post("/accounts/login", login=known.email, **wrong)
    second = other.post("/accounts/login", login="nobody@example.net", **wrong)
    assert first.status_code == 200
    assert _shape(first)[1].replace(known.email, "") == _shape(second)[1].replace("nobody@example.net", "")
    asked = stranger.post("/accounts/password/reset", email=known.email)
    missing = other.post("/accounts/password/reset", email="nobody@example.net")
    assert _shape(asked) == _shape(missing)
    # Only the mail differs, and it goes to the address's owner.
    assert known.mails("You already have an account")
    assert other.mails("Confirm your address")
    assert known.mails("Set a new password")
    assert other.mails("There is no account under this address", to="nobody@example.net")


def _seconds_of_work(act: Callable[[], object]) -> float:
    """Processor time, all threads: what a busy machine adds is not in it."""
    began = time.process_time()
    act()
    return time.process_time() - began


@pytest.mark.usefixtures("costly_passwords")
def test_known_and_unknown_addresses_cost_the_same_work(deployment: Deployment, clock: Clock) -> None:
    """The rest is hidden by the tick: test_timing."""
    known = Person(deployment).join().email
    spent: dict[tuple[str, bool], list[float]] = {}
    for turn in range(5):
        for is_known in (True, False):
            clock.turn(hours=1)
            email = known if is_known else f"nobody{turn}@example.net"
            person = Person(deployment, email=email, network=f"198.51.{turn}.9")
            form = person.screen()
            acts = {
                "sign in": lambda person=person: person.sign_in("not this one at all"),
                "reset": lambda person=person: person.post("/accounts/password/reset", email=person.email),
                "sign up": lambda person=person, form=form: person.send_form(form),
            }
            for name, act in acts.items():
                spent.setdefault((name, is_known), []).append(_seconds_of_work(act))
    for name in ("sign in", "reset", "sign up"):
        one, other = median(spent[name, True]), median(spent[name, False])
        assert abs(one - other) < 0.25 * max(one, other) + 0.02, (name, one, other)


def test_signing_up_again_replaces_what_nobody_confirmed(deployment: Deployment, clock: Clock) -> None:
    """Who registers somebody's address first must not end up with an account that its owner confirms."""
    attacker, owner = Person(deployment), Person(deployment)
    owner.email = attacker.email
    attacker.register(password="the attacker's own words")
    stale = attacker.link("Confirm your address")
    clock.turn(seconds=1)
    owner.register()
    assert owner.get(stale).status_code == 410
    assert owner.confirm().status_code == 302
    assert attacker.sign_in("the attacker's own words").status_code == 200
    assert not attacker.is_signed_in()


def test_what_nobody_confirmed_is_not_replaced_while_the_law_keeps_it(
    deployment: Deployment, clock: Clock
) -> None:
    first, second = Person(deployment), Person(deployment)
    second.email = first.email
    first.register()
    held = first.account
    with writing():
        place_hold(held, reason="a court asked", until=clock() + timedelta(days=20), now=clock())
    second.register()
    assert Account.objects.get(email=first.email) == held
    clock.turn(days=20)
    second.register()
    assert Account.objects.get(email=first.email) != held


@pytest.mark.parametrize("weak", ["password1234", "qwertyuiop", "short", "aaaaaaaaaaaaaaa", "iloveyou2023"])
@pytest.mark.clause("P15")
def test_passwords_that_others_lost_are_refused_offline(deployment: Deployment, weak: str) -> None:
    person = Person(deployment)
    page = person.register(password=weak)
    assert page.status_code == 422
    assert f'value="{weak}"' not in text(page)
    assert not Account.objects.filter(email=person.email).exists()


@pytest.mark.usefixtures("costly_passwords")
def test_passwords_are_kept_as_argon2id(deployment: Deployment) -> None:
    person = Person(deployment)
    person.register()
    assert person.account.password.startswith("argon2$argon2id$v=19$m=102400,t=2,p=8$")


class TestMinors:
    @pytest.mark.clause("P49")
    def test_a_guardian_has_to_agree_before_anybody_signs_in(self, deployment: Deployment) -> None:
        teen, guardian = Person(deployment), Person(deployment)
        assert teen.register(year=2009).status_code == 422  # whose word?
        assert teen.register(year=2009, guardian=teen.email).status_code == 422
        assert teen.register(year=2009, guardian=guardian.email).status_code == 302
        assert not guardian.mails("Somebody under 18 asks for your word")  # not before the address is real
        assert teen.confirm().headers["location"] == "/accounts/guardian"
        assert teen.sign_in().headers["location"] == "/accounts/guardian"
        assert not teen.is_signed_in()
        path = guardian.link("Somebody under 18 asks for your word")
        assert teen.email in text(guardian.get(path))
        assert guardian.post(path, answer="agree").status_code == 200
        assert teen.sign_in().headers["location"] == "/overview"
        assert teen.account.age_band == "minor"
        assert Kind.GUARDIAN_AGREED in {entry.leaf.kind for entry in entries_of(teen.account)}
        assert guardian.get(path).status_code == 410

    @pytest.mark.clause("P49")
    def test_a_guardians_no_leaves_nothing(self, deployment: Deployment) -> None:
        teen, guardian = Person(deployment), Person(deployment)
        teen.register(year=2009, guardian=guardian.email)
        teen.confirm()
        guardian.post(guardian.link("Somebody under 18 asks for your word"), answer="refuse")
        assert not Account.objects.filter(email=teen.email).exists()
        assert not Guardianship.objects.filter(email=guardian.email).exists()
        assert teen.mails("Your account was not made")

    def test_a_guardians_link_outlives_a_new_password_and_their_answer_ends_it(
        self, deployment: Deployment
    ) -> None:
        teen, guardian = Person(deployment), Person(deployment)
        teen.register(year=2009, guardian=guardian.email)
        teen.confirm()
        teen.post("/accounts/password/reset", email=teen.email)
        chosen = {"password": "four words nobody combined"}
        assert teen.post(teen.link("Set a new password"), **chosen).status_code == 200
        path = guardian.link("Somebody under 18 asks for your word")
        assert guardian.post(path, answer="agree").status_code == 200
        assert guardian.post(path, answer="refuse").status_code == 410

    def test_a_guardians_no_waits_for_a_hold_and_says_so(self, deployment: Deployment, clock: Clock) -> None:
        teen, guardian = Person(deployment), Person(deployment)
        teen.register(year=2009, guardian=guardian.email)
        teen.confirm()
        held = teen.account
        with writing():
            place_hold(held, reason="a court asked", until=clock() + timedelta(days=20), now=clock())
        path = guardian.link("Somebody under 18 asks for your word")
        assert "The law makes us keep" in text(guardian.post(path, answer="refuse"))
        assert guardian.post(path, answer="agree").status_code == 410
        (told,) = teen.mails("Your account was not made")
        assert "The law makes us keep" in str(told.get_content())
        teen.sign_in()
        assert not teen.is_signed_in()
        for days, is_there in ((19, True), (1, False)):
            clock.turn(days=days)
            forget_unconfirmed(now=clock())
            assert Account.objects.filter(pk=held.pk).exists() is is_there

    @pytest.mark.clause("P16")
    @pytest.mark.parametrize("has_account", [True, False])
    def test_a_guardian_sees_and_deletes_their_address_and_the_child_keeps_the_account(
        self, deployment: Deployment, clock: Clock, has_account: bool
    ) -> None:
        teen, guardian = Person(deployment), Person(deployment)
        if has_account:
            guardian.register()
            guardian.confirm()
        teen.register(year=2009, guardian=guardian.email)
        teen.confirm()
        guardian.post(guardian.link("Somebody under 18 asks for your word"), answer="agree")
        held = Guardianship.objects.get(email=guardian.email)
        if has_account:
            archive = b"".join(export_archive(guardian.account.pk, read_statement(), now=clock()))
            (shown,) = read_archive(io.BytesIO(archive))["accounts.Guardianship"]
            assert shown["email"] == guardian.email
        else:
            self.asks(guardian, Asked.ACCESS, clock)
            advance_requests(deployment)
            (answer,) = guardian.mails("What you asked is done")
            assert f"Guardian's e-mail address: {guardian.email}" in str(answer.get_content())
        ref = self.asks(guardian, Asked.ERASE, clock)
        clock.turn(days=3)
        advance_requests(deployment)
        held.refresh_from_db()
        assert (held.email, held.agreed_at is not None) == ("", True)
        assert teen.sign_in().headers["location"] == "/overview"
        assert Erasure.objects.get(request__ref=ref).deleted["accounts.Guardianship (emptied)"] == 1
        (last,) = Mail.objects.filter(to=guardian.email)
        assert "Everything that this service held about you is deleted" in last.text

    @staticmethod
    def asks(person: Person, kind: Asked, clock: Clock) -> UUID:
        with writing():
            ref = take_in(kind, channel=Channel.PAGE, email=person.email, now=clock())
        confirm_link(link_of(Request.objects.get(ref=ref)), kind=kind, now=clock())
        return ref

    def test_a_guardian_who_never_answers_ends_it_too(self, deployment: Deployment, clock: Clock) -> None:
        teen = Person(deployment)
        teen.register(year=2009, guardian="guardian@example.org")
        teen.confirm()
        clock.turn(days=7)
        forget_unconfirmed(now=clock())
        assert not Account.objects.filter(email=teen.email).exists()


def test_forms_of_other_sites_are_refused(deployment: Deployment) -> None:
    strict = Client(enforce_csrf_checks=True, headers={"host": "localhost"})
    page = strict.get("/accounts/password/reset")
    token = form_on(page, "").fields["csrfmiddlewaretoken"]  # type: ignore[arg-type]
    values = {"email": "a@example.org", "csrfmiddlewaretoken": token}
    ours = {"HTTP_ORIGIN": "null", "HTTP_SEC_FETCH_SITE": "same-origin"}
    for headers in (
        {**ours, "HTTP_SEC_FETCH_SITE": "cross-site"},
        {"HTTP_ORIGIN": "null"},
        {"HTTP_ORIGIN": "https://example.com"},
    ):
        assert strict.post("/accounts/password/reset", values, **headers).status_code == 403  # type: ignore[arg-type]
    assert strict.post("/accounts/password/reset", {"email": "a@example.org"}, **ours).status_code == 403  # type: ignore[arg-type]
    assert strict.post("/accounts/password/reset", values, **ours).status_code == 200  # type: ignore[arg-type]


def test_the_owner_of_a_known_address_sees_that_somebody_tried(deployment: Deployment) -> None:
    known = Person(deployment).join()
    Person(deployment, email=known.email, network="198.51.100.9").register()
    event = SecurityEvent.objects.filter(account=known.account, kind="sign_up_repeated").get()
    assert event.network == "198.51.100.0/24"
