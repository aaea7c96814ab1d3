"""Every route × method × role × foreign id. Made from urls.py: a route that is not in the table fails.

A new page needs a line in `ROUTES`. Owner's pages are tried by nobody, by others, and with ids of others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from uuid import UUID

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from muniment.server.accounts.models import Account, Device, WebSession
from muniment.server.deployment import Deployment
from muniment.server.vaults.models import Confirmation
from tests.support.domain import Member
from tests.support.pages import Person

METHODS = ("get", "head", "post", "put", "patch", "delete", "options", "trace")
BACKEND = "allauth.account.auth_backends.AuthenticationBackend"


class Who(Enum):
    EVERYBODY = "needs nobody to be signed in"
    LINK = "opens with a link from a mail, and with nothing else"
    RECEIPT = "opens with the mark that its holder got"
    OWNER = "only for the account's owner"
    FRESH = "only for the owner, signed in afresh"
    STAFF = "only for staff"


_OPEN = """
|.well-known/gpc.json|appearance|cookies|cookies/choice|editions|editions/<slug:name>|healthz|ledger|ledger/checkpoint
|ledger/entries|ledger/key|ledger/proof|mailbox|preferences|preferences/name|preferences/withdraw|privacy|privacy/data
|privacy/data-map.json|privacy/history|privacy/history.atom|privacy/proof|privacy/request
|privacy/version/<int:number>|sealed|sealed/sealed-sample.zip|static/<path:name>|transparency|transparency.json|unsubscribe/<str:token>|visit
|accounts/confirm|accounts/guardian|accounts/login|accounts/login/passkey|accounts/login/second|accounts/logout
|accounts/password/reset|accounts/signup|accounts/signup/<str:edition>|accounts/signup/<str:edition>/register
"""
_LINKS = """
accounts/confirm/<str:token>|accounts/guardian/<str:token>|accounts/password/set/<str:token>
|privacy/request/<str:token>
"""
_RECEIPTS = "receipt/<uuid:ref>/<slug:mark>|receipt/<uuid:ref>/<slug:mark>.json"
_OWNER = """
accounts/address/<str:token>|accounts/again|accounts/again/code|accounts/again/passkey|confirmations
|devices|ledger/mine.json|overview|preferences/receipts/<int:entry>.json|profile
|profile/country|profile/details|profile/security|profile/security/codes|profile/security/passkeys
|profile/security/sessions/<uuid:ref>/end|profile/security/sessions/end|requests|requests/<uuid:ref>/receipt
|requests/object
"""
_FRESH = """
confirmations/<uuid:ref>/confirm|confirmations/<uuid:ref>/refuse|devices/<uuid:ref>/revoke|devices/code|profile/address|profile/delete
|profile/security/app/add|profile/security/app/remove|profile/security/codes/new|profile/security/passkeys/<int:pk>/remove
|profile/security/passkeys/<int:pk>/rename|profile/security/passkeys/add|profile/security/password|requests/copy
|requests/allow|requests/export|requests/<uuid:ref>/take-back
"""
_STAFF = """
console/orders|console/orders/<uuid:ref>/approve|console/orders/<uuid:ref>/document|console/orders/<uuid:ref>/delivered|console/orders/<uuid:ref>/export
|console|console/hand-over/<uuid:ref>/file|console/hand-over/<uuid:ref>/delivered|console/recipients|console/recipients/<slug:name>/named|console/succession|console/succession/<uuid:ref>/hand-over
|console/breaches|console/breaches/<uuid:ref>/close|console/breaches/<uuid:ref>/judge
|console/breaches/<uuid:ref>/notice|console/breaches/<uuid:ref>/reported|console/breaches/<uuid:ref>/widen
|console/letters|console/letters/<uuid:ref>/approve|console/letters/<uuid:ref>/take-back
|console/orders/<uuid:ref>/read|console/requests/<uuid:ref>/read
|console/orders/<uuid:ref>/refuse|console/requests|console/requests/<uuid:ref>/done
|console/requests/<uuid:ref>/name|console/requests/<uuid:ref>/refuse|console/requests/<uuid:ref>/vouch
"""
_LISTS = {
    Who.EVERYBODY: _OPEN, Who.LINK: _LINKS, Who.RECEIPT: _RECEIPTS, Who.OWNER: _OWNER, Who.FRESH: _FRESH,
    Who.STAFF: _STAFF,
}  # fmt: skip
ROUTES: dict[str, Who] = {
    route: who for who, routes in _LISTS.items() for route in routes.replace("\n", "").split("|") if routes
}
"""By the route as urls.py has it."""

PRIVATE = [route for route, who in ROUTES.items() if who in (Who.OWNER, Who.FRESH, Who.STAFF)]
WITH_IDS = [route for route in PRIVATE if "<uuid:" in route or "<int:" in route]
REFUSED = (302, 403, 404, 405, 410)


def all_routes(patterns: list[URLPattern | URLResolver] | None = None, prefix: str = "") -> Iterator[str]:
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from all_routes(pattern.url_patterns, route)
        else:
            yield route


def filled(route: str, ids: dict[str, str]) -> str:
    """The route with values in place of its converters."""
    return "/" + re.sub(r"<(\w+):(\w+)>", lambda found: ids.get(found[2], ids.get(found[1], "x")), route)


NOBODYS = {"uuid": str(UUID(int=7)), "int": "99999999", "str": "home", "slug": "home", "path": "no.css"}


def ask(client: Client, method: str, path: str) -> HttpResponse:
    return getattr(client, method)(path)  # type: ignore[no-any-return]


def signed_in(account: Account) -> Client:
    client = Client(headers={"host": "localhost"})
    client.force_login(account, backend=BACKEND)
    return client


def test_every_route_is_in_the_table_and_nothing_else() -> None:
    routes = set(all_routes())
    assert routes - set(ROUTES) == set(), "who may open these? say it in ROUTES"
    assert set(ROUTES) - routes == set(), "these are gone"


@pytest.mark.parametrize("route", sorted(ROUTES))
def test_no_method_makes_the_server_fail(deployment: Deployment, route: str) -> None:
    client = Client(headers={"host": "localhost"}, raise_request_exception=False)
    path = filled(route, NOBODYS)
    for method in METHODS:
        assert ask(client, method, path).status_code < 500, method
    if route == "healthz":  # says the same to whoever asks, however
        return
    for method in ("put", "patch", "delete", "trace"):
        assert ask(client, method, path).status_code in (*REFUSED, 400), method


@pytest.mark.parametrize("route", sorted(PRIVATE))
def test_nobody_gets_in_without_signing_in(deployment: Deployment, route: str) -> None:
    client = Client(headers={"host": "localhost"})
    for method in METHODS:
        answer = ask(client, method, filled(route, NOBODYS))
        assert answer.status_code in REFUSED, method
        if answer.status_code == 302:
            assert answer.headers["location"].startswith("/accounts/login"), method


@pytest.mark.parametrize("route", sorted(route for route, who in ROUTES.items() if who is Who.FRESH))
def test_an_old_session_is_asked_again(deployment: Deployment, member: Member, route: str) -> None:
    client = Person(deployment).join().browser
    if route == "profile/security/app/remove":
        assert ask(client, "post", filled(route, NOBODYS)).status_code == 404  # there is none to remove
        return
    answers = [ask(client, method, filled(route, NOBODYS)) for method in ("get", "post")]
    asked = [answer for answer in answers if answer.status_code != 405]
    assert asked
    for answer in asked:
        assert answer.status_code == 302
        assert answer.headers["location"].startswith("/accounts/again")


@pytest.mark.parametrize("route", sorted(WITH_IDS))
def test_ids_of_others_do_not_exist(deployment: Deployment, member: Member, route: str) -> None:
    """The id is real and somebody else's; who asks is signed in afresh."""
    signed_in(member.account)
    beside = member.beside()
    member.ask("revoke_device", beside.device)
    request = Confirmation.objects.get(subject_ref=UUID(hex=beside.device)).ref.hex
    passkey = Authenticator.objects.create(
        user=member.account, type=Authenticator.Type.WEBAUTHN, data={"name": "theirs", "credential": {}}
    )
    session = WebSession.objects.filter(account=member.account).first()
    assert session is not None
    refs = {"devices": beside.device, "confirmations": request, "profile/security/sessions": session.ref.hex}
    ref = next((ref for start, ref in refs.items() if route.startswith(start)), UUID(int=7).hex)
    theirs = {
        "uuid": str(UUID(hex=ref)),
        "int": str(passkey.pk),
    }
    stranger = Person(deployment).join()
    stranger.prove()
    for method in ("get", "head", "post", "put", "patch", "delete"):
        assert ask(stranger.browser, method, filled(route, theirs)).status_code in (404, 405), method
    assert Device.objects.get(ref=beside.device).revoked_at is None
    assert Confirmation.objects.get(ref=request).state == Confirmation.State.PENDING
    assert Authenticator.objects.filter(pk=passkey.pk).exists()
    assert WebSession.objects.filter(pk=session.pk).exists()


@pytest.mark.parametrize("route", sorted(route for route, who in ROUTES.items() if who is Who.LINK))
def test_a_link_that_nobody_sent_opens_nothing(deployment: Deployment, route: str) -> None:
    client = Client(headers={"host": "localhost"})
    for token in ("x", "gAAAAAB" + "x" * 120):
        for method in ("get", "post"):
            assert ask(client, method, filled(route, {"str": token})).status_code == 410


def test_a_receipt_opens_with_its_mark_only(deployment: Deployment) -> None:
    client = Client(headers={"host": "localhost"})
    for route in [route for route, who in ROUTES.items() if who is Who.RECEIPT]:
        for method in ("get", "post"):
            assert ask(client, method, filled(route, NOBODYS)).status_code in (404, 405)


def test_customers_are_not_staff(deployment: Deployment) -> None:
    customer = Person(deployment).join()
    customer.prove()
    for route in [route for route, who in ROUTES.items() if who is Who.STAFF]:
        for method in METHODS:
            answer = ask(customer.browser, method, filled(route, NOBODYS))
            assert answer.status_code in (403, 404, 405), (route, method)
    assert customer.is_signed_in()


def test_staff_without_a_second_factor_see_how_to_add_one(deployment: Deployment) -> None:
    staff = Person(deployment).join()
    Account.objects.filter(pk=staff.account.pk).update(is_staff=True)
    RecoveryCodes.activate(staff.account)  # by themselves they are none
    staff.prove()
    for route in [route for route, who in ROUTES.items() if who is Who.STAFF]:
        for method in ("get", "post"):
            answer = ask(staff.browser, method, filled(route, NOBODYS))
            said = answer.status_code == 403 and b"/profile/security/app/add" in answer.content
            assert said or answer.status_code == 405, (route, method)
    staff.become_staff()
    assert staff.get("/console/requests").status_code == 200
    Authenticator.objects.filter(user=staff.account, type=Authenticator.Type.TOTP).delete()
    assert staff.get("/console/requests").status_code == 403


WITHOUT_TOKEN = {
    "appearance": "a colour; other sites are refused by Sec-Fetch-Site",
    "cookies/choice": "what the browser itself keeps; likewise",
    "sealed": "changes nothing",
    "healthz": "changes nothing",
    "unsubscribe/<str:token>": "RFC 8058: mail programs post it; the token is its own proof",
}


@pytest.mark.parametrize("route", sorted(set(ROUTES) - set(WITHOUT_TOKEN)))
def test_forms_need_their_token(deployment: Deployment, member: Member, route: str) -> None:
    """Whoever is signed in cannot be made to post by another site."""
    strict = Client(enforce_csrf_checks=True, headers={"host": "localhost"})
    strict.cookies = signed_in(member.account).cookies
    assert strict.post(filled(route, NOBODYS)).status_code in (302, 403, 404, 405)
    assert strict.get("/overview").status_code == 200  # nobody was signed out
