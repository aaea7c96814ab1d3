"""The pages of choices: first layer, cookies, preferences; and what the middleware lets through."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from http.cookies import SimpleCookie

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client

from muniment.server.accounts.attempts import Tried
from muniment.server.deployment import Deployment
from muniment.server.privacy.consent.choices import Subject, browser_hash, is_granted, last_said
from muniment.server.privacy.consent.cookies import BrowserChoice
from muniment.server.privacy.consent.effect import State
from muniment.server.privacy.consent.models import ConsentEvent, VisitCount
from muniment.server.privacy.ledger.entries import entries_of
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.ledger.models import LeafRow
from muniment.server.privacy.ledger.verification import verify_document
from muniment.server.privacy.registry import Erase
from muniment.server.privacy.requests.asking import ask
from muniment.server.privacy.requests.lifting import lift
from muniment.server.privacy.requests.models import Kind as Asked
from muniment.server.privacy.retention.rules import rules
from muniment.server.privacy.statement import read_statement
from muniment.server.web.choices import COOKIE, read_choices
from muniment.server.web.context import deploy
from muniment.server.web.cookies import drop_unasked, guard_cookies
from muniment.server.web.middleware import read_signals
from tests.support.domain import Clock, Member
from tests.support.pages import some_network

HOST = {"host": "localhost"}
OURS = {"HTTP_SEC_FETCH_SITE": "same-origin"}
ESSENTIAL = {cookie.name for cookie in read_statement().cookies.values() if cookie.essential}


@pytest.fixture(autouse=True)
def deployed(deployment: Deployment) -> Iterator[Deployment]:
    deploy(deployment)
    return deployment


@pytest.fixture
def stranger() -> Client:
    return Client(enforce_csrf_checks=True, headers=HOST)


@pytest.fixture
def owner(member: Member) -> Client:
    client = Client(headers=HOST)
    client.force_login(member.account, backend="allauth.account.auth_backends.AuthenticationBackend")
    return client


def answer(client: Client, said: str, **more: object) -> HttpResponse:
    return client.post("/cookies/choice", {"answer": said, "next": "/editions", **more}, **OURS)  # type: ignore[return-value]


def chosen(client: Client) -> BrowserChoice:
    return BrowserChoice.parse(client.cookies[COOKIE].value)


def asks(client: Client, **headers: str) -> bool:
    return "first-layer" in client.get("/editions", **headers).content.decode()  # type: ignore[arg-type]


@pytest.mark.clause("P52")
def test_the_question_offers_a_no_as_easily_as_a_yes(stranger: Client) -> None:
    page = stranger.get("/editions").content.decode()
    buttons = re.findall(r'<button class="([^"]+)" name="answer" value="(\w+)">', page)
    assert buttons == [("btn", "accept"), ("btn", "decline")]
    assert "checked" not in stranger.get("/cookies").content.decode()
    assert not stranger.cookies


@pytest.mark.clause("P53")
def test_a_no_leaves_no_number_and_is_not_asked_about_again(stranger: Client) -> None:
    before = ConsentEvent.objects.count()
    assert answer(stranger, "decline").status_code == 302
    assert chosen(stranger) == BrowserChoice(was_made=True)
    assert ConsentEvent.objects.count() == before
    assert not asks(stranger)
    assert set(stranger.cookies) == {COOKIE}


@pytest.mark.clause("P52")
def test_a_yes_is_kept_for_this_browser_and_can_be_taken_back(stranger: Client, clock: Clock) -> None:
    answer(stranger, "accept")
    token = chosen(stranger).token
    assert token is not None
    assert is_granted(Subject(browser=token), "preferences", gpc=False, now=clock())
    assert "checked" in stranger.get("/cookies").content.decode()
    answer(stranger, "choose")
    assert chosen(stranger) == BrowserChoice(was_made=True)
    assert set(last_said(Subject(browser=token)).values()) == {State.WITHDRAWN}


def test_who_makes_choices_without_end_fills_nothing_and_may_still_say_no(deployment: Deployment) -> None:
    """Each yes of a new browser is an entry of the ledger, which is never taken out again."""
    network = some_network()

    def fresh() -> Client:
        return Client(headers=HOST, REMOTE_ADDR=network)

    agreed = fresh()
    answer(agreed, "accept")
    for _ in range(Tried.CHOICE.by_network - 1):
        answer(fresh(), "accept")
    before = LeafRow.objects.count()
    refused = answer(fresh(), "accept")
    assert (refused.status_code, int(refused["Retry-After"]) > 0) == (429, True)
    assert LeafRow.objects.count() == before
    assert answer(fresh(), "decline").status_code == 302
    assert answer(agreed, "decline").status_code == 302
    assert not is_granted(Subject(browser=chosen(agreed).token), "visits", gpc=False, now=deployment.now())
    assert LeafRow.objects.count() > before, "what was said before is taken back at any time"
    elsewhere = Client(headers=HOST, REMOTE_ADDR=some_network())
    assert answer(elsewhere, "accept").status_code == 302


def test_the_same_again_is_no_entry_and_a_no_of_an_invented_number_none_either(stranger: Client) -> None:
    answer(stranger, "accept")
    before = LeafRow.objects.count()
    answer(stranger, "accept")
    stranger.cookies[COOKIE] = BrowserChoice(was_made=True, token=secrets.token_bytes(16)).text()
    answer(stranger, "decline")
    answer(stranger, "choose")
    assert LeafRow.objects.count() == before


def test_a_choice_is_only_taken_from_our_own_pages(stranger: Client) -> None:
    for headers in ({"HTTP_SEC_FETCH_SITE": "cross-site"}, {"HTTP_ORIGIN": "https://elsewhere.example"}):
        assert stranger.post("/cookies/choice", {"answer": "accept"}, **headers).status_code == 403
    assert stranger.get("/cookies/choice").status_code == 405
    assert answer(stranger, "whatever").status_code == 400
    assert not stranger.cookies


def test_somebody_signed_in_is_remembered_by_the_account(owner: Client, member: Member, clock: Clock) -> None:
    assert asks(owner)
    answer(owner, "accept")
    assert chosen(owner).token is None
    assert is_granted(Subject(member.account), "preferences", gpc=False, now=clock())
    del owner.cookies[COOKIE]
    assert not asks(owner)


def test_a_forged_or_foreign_choice_is_none() -> None:
    for text in ("yes", "yes.", "yes.zz", "yes." + "0" * 31, "YES." + "0" * 32, "no ", "yes." + "٠" * 32):
        assert BrowserChoice.parse(text) == BrowserChoice()
    token = secrets.token_bytes(16)
    assert BrowserChoice.parse(BrowserChoice(True, token).text()).token == token


def answered(*cookies: str, sent: dict[str, str] | None = None, gpc: bool = False) -> SimpleCookie:
    """What an answer sets that tries to set these cookies, to a request that sent those."""

    def view(request: HttpRequest) -> HttpResponse:
        response = HttpResponse(",".join(sorted(request.COOKIES)))
        for name in cookies:
            response.set_cookie(name, "value", max_age=10**9)
        return response

    request = HttpRequest()
    request.COOKIES = dict(sent or {})
    if gpc:
        request.META["HTTP_SEC_GPC"] = "1"
    handler = guard_cookies(read_signals(read_choices(drop_unasked(view))))
    return handler(request).cookies


@pytest.mark.clause("P50", aspect="off")
@pytest.mark.clause("P51", aspect="off")
def test_nothing_optional_is_set_without_a_yes(stranger: Client) -> None:
    assert not answered("edition")
    answer(stranger, "decline")
    assert not answered("edition", sent={COOKIE: stranger.cookies[COOKIE].value})
    assert not stranger.get("/").cookies


@pytest.mark.clause("P50", aspect="allowed")
@pytest.mark.clause("P51", aspect="allowed")
def test_what_the_table_lists_is_set_for_as_long_as_it_says(stranger: Client) -> None:
    answer(stranger, "accept")
    set_now = answered("sessionid", "edition", sent={COOKIE: stranger.cookies[COOKIE].value})
    days = read_statement().cookies
    assert {name: morsel["max-age"] for name, morsel in set_now.items()} == {
        name: (days[name].days or 0) * 24 * 3600 for name in ("sessionid", "edition")
    }


@pytest.mark.clause("P50", aspect="beyond")
@pytest.mark.clause("P51", aspect="beyond")
def test_what_the_table_does_not_list_is_stripped_and_what_was_taken_back_is_removed(
    stranger: Client,
) -> None:
    answer(stranger, "accept")
    yes = stranger.cookies[COOKIE].value
    assert set(answered("_ga", "sessionid", sent={COOKIE: yes, "_fbp": "x"})) == {"sessionid"}
    answer(stranger, "decline")
    removed = answered(sent={COOKIE: yes, "edition": "pro"})
    assert removed["edition"]["max-age"] == 0


def test_a_cookie_without_an_end_in_the_table_ends_with_the_browser() -> None:
    assert answered("csrftoken")["csrftoken"]["max-age"] == ""


def test_views_never_see_what_they_may_not_read(stranger: Client) -> None:
    seen: list[set[str]] = []

    def view(request: HttpRequest) -> HttpResponse:
        seen.append(set(request.COOKIES))
        return HttpResponse()

    request = HttpRequest()
    request.COOKIES = {"sessionid": "a", "edition": "pro", "_ga": "b"}
    guard_cookies(read_signals(read_choices(drop_unasked(view))))(request)
    assert seen == [{"sessionid"}]


def test_every_page_sets_only_what_the_table_lists(stranger: Client, owner: Client) -> None:
    for client in (stranger, owner):
        for path in ("/", "/editions", "/cookies", "/preferences", "/ledger", "/accounts/login"):
            assert set(client.get(path).cookies) <= ESSENTIAL


@pytest.mark.parametrize("path", ["/cookies", "/preferences"])
def test_the_signal_is_shown_as_honoured(stranger: Client, owner: Client, path: str) -> None:
    for client in (stranger, owner):
        assert (
            "Your browser sends Global Privacy Control" in client.get(path, HTTP_SEC_GPC="1").content.decode()
        )
        assert "Your browser sends Global Privacy Control" not in client.get(path).content.decode()


def test_what_we_say_about_the_signal(stranger: Client) -> None:
    said = stranger.get("/.well-known/gpc.json")
    assert said.headers["Content-Type"] == "application/json"
    assert said.json()["gpc"] is True
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", said.json()["lastUpdate"])


def keep(client: Client, **answers: str) -> HttpResponse:
    fields = {f"purpose.{name}": value for name, value in answers.items()}
    return client.post("/preferences", fields, HTTP_SEC_GPC="1")  # type: ignore[return-value]


def test_preferences_are_kept_and_a_yes_despite_the_signal_counts(
    owner: Client, member: Member, clock: Clock
) -> None:
    subject = Subject(member.account)
    assert keep(owner, promotion="yes", advertise="yes", survey="no").status_code == 302
    assert is_granted(subject, "promotion", gpc=True, now=clock())
    assert is_granted(subject, "advertise", gpc=True, now=clock())
    assert not is_granted(subject, "announcement", gpc=False, now=clock())
    keep(owner, advertise="no")
    assert not is_granted(subject, "advertise", gpc=False, now=clock())
    assert is_granted(subject, "promotion", gpc=False, now=clock())
    assert keep(owner, promotion="perhaps").status_code == 400


def test_nobody_can_agree_to_what_is_not_asked(owner: Client, member: Member) -> None:
    keep(owner, backup="yes", nothing="yes", named_sharing="yes")
    assert not last_said(Subject(member.account))


def test_a_receipt_is_for_whose_choice_it_is(owner: Client, member: Member) -> None:
    keep(owner, promotion="yes")
    entry = ConsentEvent.objects.get(subject=member.account, purpose="promotion").entry
    receipt = owner.get(f"/preferences/receipts/{entry}.json").json()
    assert receipt["pii_principal_id"] == member.account.ref.hex
    assert verify_document(receipt)
    other = Client(headers=HOST)
    other.force_login(
        Member.first(member.deployment).account, backend="allauth.account.auth_backends.AuthenticationBackend"
    )
    assert other.get(f"/preferences/receipts/{entry}.json").status_code == 404
    assert Client(headers=HOST).get(f"/preferences/receipts/{entry}.json").status_code == 302


def test_one_reads_and_takes_along_ones_own_entries_only(owner: Client, member: Member) -> None:
    keep(owner, promotion="yes", survey="yes")
    stranger = Member.first(member.deployment).account
    page = owner.get("/ledger").content.decode()
    assert "consent granted" in page
    bundle = owner.get("/ledger/mine.json").json()
    assert [entry["index"] for entry in bundle["entries"]] == [e.index for e in entries_of(member.account)]
    assert len(verify_document(bundle)) == len(bundle["entries"]) >= 2
    assert all(entry.leaf.kind == Kind.MAIL_QUEUED for entry in entries_of(stranger)), "their own device"


@pytest.mark.parametrize("before", ["9" * 18, "9" * 19, "9" * 5000, "٣", "-1", "x", ""])
def test_whatever_an_address_gives_for_a_number_the_page_is_shown(owner: Client, before: str) -> None:
    assert owner.get("/ledger", {"before": before}).status_code == 200


def test_what_browsers_said_is_forgotten_in_time(stranger: Client, clock: Clock) -> None:
    answer(stranger, "accept")
    token = chosen(stranger).token
    assert last_said(Subject(browser=token))
    (rule,) = [rule for rule in rules() if rule.table.model is ConsentEvent]
    clock.turn(days=179)
    assert not rule.overdue(now=clock()).filter(browser=browser_hash(token or b"")).exists()
    clock.turn(days=2)
    assert rule.erase is Erase.DELETE
    assert rule.overdue(now=clock()).filter(browser=browser_hash(token or b"")).exists()
    assert not rule.overdue(now=clock()).filter(browser=None).exists()


@pytest.fixture
def visitor(stranger: Client) -> Client:
    """A browser that said yes."""
    answer(stranger, "accept")
    return stranger


def counted(page: str) -> int:
    return sum(VisitCount.objects.filter(page=page).values_list("visits", flat=True))


@pytest.mark.clause("P59", aspect="off")
@pytest.mark.clause("P61", aspect="off")
@pytest.mark.clause("P69")
def test_nobody_is_counted_who_did_not_agree(stranger: Client, owner: Client) -> None:
    before = counted("editions")
    assert "beacon" not in owner.get("/editions").content.decode()
    assert owner.get("/visit?page=editions").status_code == 204
    assert "beacon" not in stranger.get("/editions").content.decode()
    assert stranger.get("/visit?page=editions").status_code == 204
    answer(stranger, "decline")
    assert "beacon" not in stranger.get("/editions").content.decode()
    refused = stranger.get("/visit?page=editions")
    assert refused.status_code == 204
    assert not refused.cookies
    assert counted("editions") == before


@pytest.mark.clause("P59", aspect="allowed")
@pytest.mark.clause("P61", aspect="allowed")
def test_whoever_agreed_is_counted_once_an_hour(visitor: Client, clock: Clock) -> None:
    before = counted("editions")
    page = visitor.get("/editions").content.decode()
    assert 'src="/visit?page=editions"' in page
    for _ in range(3):
        assert visitor.get("/visit?page=editions").status_code == 204
    assert counted("editions") == before + 1
    clock.turn(hours=1)
    visitor.get("/visit?page=editions")
    assert counted("editions") == before + 2


@pytest.mark.clause("P59", aspect="beyond")
@pytest.mark.clause("P61", aspect="beyond")
def test_nothing_else_is_counted_and_nobody_is_named(visitor: Client, clock: Clock) -> None:
    visitor.get("/visit?page=editions")
    token = chosen(visitor).token or b""
    for page in ("no page", "editions'", "", token.hex()):
        assert visitor.get("/visit", {"page": page}).status_code == 204
        assert not counted(page)
    kept = repr(list(VisitCount.objects.values_list()))
    assert token.hex() not in kept
    before = counted("editions")
    answer(visitor, "decline")
    clock.turn(hours=1)
    visitor.get("/visit?page=editions")
    assert counted("editions") == before


@pytest.mark.parametrize("kind", [Asked.OBJECT, Asked.RESTRICT])
def test_whoever_had_it_stopped_is_not_counted_until_they_allow_it_again(
    deployed: Deployment, owner: Client, member: Member, clock: Clock, kind: Asked
) -> None:
    answer(owner, "accept")
    before = counted("editions")
    details = {"purpose": "visits"} if kind is Asked.OBJECT else None
    ask(deployed, member.account, kind, details=details)
    assert "beacon" not in owner.get("/editions").content.decode()
    owner.get("/visit?page=editions")
    assert counted("editions") == before
    lift(member.account, "visits" if details else "", now=clock())
    owner.get("/visit?page=editions")
    assert counted("editions") == before + 1


def test_signing_up_begins_with_the_edition_that_was_looked_at(visitor: Client) -> None:
    assert "edition" not in Client(headers=HOST).get("/editions/pro").cookies
    visitor.get("/editions/pro")
    page = visitor.get("/accounts/signup").content.decode()
    assert re.search(r'class="btn btn-primary" href="[^"]*/pro"', page)
