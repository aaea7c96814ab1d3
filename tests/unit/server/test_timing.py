"""Answers about addresses leave at a tick, and who waits for it keeps nobody else waiting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import httpx2
import pytest
from anyio.to_thread import run_sync
from starlette.types import Message, Receive, Scope, Send

from muniment.server.accounts.attempts import Tried
from muniment.server.deployment import Deployment
from muniment.server.mail.models import Mail
from muniment.server.process import make_service
from muniment.server.web import timing
from muniment.server.web.timing import TICK_SECONDS, AtTheTick, looks_up
from tests.support.domain import Clock
from tests.support.pages import Person, form_on, some_address, some_network
from tests.support.visitor import PASSWORD, forms_of

RESET, ASK, LOGIN = "/accounts/password/reset", "/privacy/request", "/accounts/login"
ENTERED = "muniment.looked_up"

Post = Callable[[Person, str], dict[str, Any]]


def post(person: Person, path: str, **values: str) -> dict[str, Any]:
    """The scope of the request, once it is answered."""
    scope: dict[str, Any] = {}
    environ: dict[str, Any] = {"asgi.scope": scope}
    person.browser.post(path, values, **environ)
    return scope


def signs_up(person: Person, email: str) -> dict[str, Any]:
    action = "/accounts/signup/home/register"
    values = {"email": email, "password": PASSWORD, "accept": "on"}
    return post(person, action, **(form_on(person.screen(), action).fields | values))


def changes_address(person: Person, email: str) -> dict[str, Any]:
    person.join().prove()
    return post(person, "/profile/address", email=email)


LOOKING: dict[str, Post] = {
    "sign in": lambda person, email: post(person, LOGIN, login=email, password="not this one"),
    "reset": lambda person, email: post(person, RESET, email=email),
    "ask": lambda person, email: post(person, ASK, email=email, kind="access"),
    "sign up": signs_up,
    "change": changes_address,
}


@pytest.mark.parametrize("name", LOOKING)
def test_whatever_looks_an_address_up_waits_for_the_tick(deployment: Deployment, name: str) -> None:
    for email in (Person(deployment).join().email, some_address()):
        assert ENTERED in LOOKING[name](Person(deployment), email)


@pytest.mark.parametrize("values", [{}, {"email": "x", "login": "x"}, {"email": "", "kind": "none"}])
@pytest.mark.parametrize("path", [RESET, ASK, LOGIN])
def test_empty_and_wrong_forms_wait_for_nothing(
    deployment: Deployment, path: str, values: dict[str, str]
) -> None:
    assert ENTERED not in post(Person(deployment), path, **values)


def left_at(work: float, *, asks: bool) -> tuple[list[float], list[Message]]:
    """(when its first byte left, what was sent) of a page that took `work` seconds."""
    at, left, sent = [100.0], [], []

    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        if asks:
            scope[ENTERED] = at[0]
        at[0] += work
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]})
        await send({"type": "http.response.body", "body": b"whole"})

    async def sleep(seconds: float) -> None:
        at[0] += seconds

    async def send(message: Message) -> None:
        left.append(at[0] - 100)
        sent.append(message)

    async def nothing() -> Message:
        raise AssertionError

    anyio.run(AtTheTick(page, clock=lambda: at[0], sleep=sleep), {"type": "http"}, nothing, send)
    return left, sent


def test_answers_leave_whole_at_the_next_tick_whatever_the_work_was() -> None:
    ticks = [left_at(work, asks=True)[0] for work in (0.001, 0.1, 0.499, 0.6)]
    assert ticks == [pytest.approx([TICK_SECONDS * count] * 2) for count in (1, 1, 1, 2)]
    assert left_at(0.1, asks=False)[0] == pytest.approx([0.1] * 2)


def test_nothing_of_the_wait_is_sent() -> None:
    assert left_at(0.1, asks=True)[1] == left_at(0.1, asks=False)[1]


def test_the_first_look_counts(deployment: Deployment) -> None:
    scope: dict[str, float] = {ENTERED: 7.0}
    request: Any = type("Request", (), {"META": {"asgi.scope": scope}})
    looks_up(request)
    assert scope == {ENTERED: 7.0}


def test_more_may_wait_than_there_are_threads_and_pages_open(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "TICK_SECONDS", 3600.0)
    service = make_service(deployment, identity=b"")
    network = some_network()
    addresses = [some_address() for _ in range(20)]

    def browser() -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(service, client=(network, 1))
        return httpx2.AsyncClient(transport=transport, base_url="http://localhost")

    async def wait_for_an_answer(email: str) -> None:
        async with browser() as client:
            [form] = [form for form in forms_of(await client.get(RESET)) if "email" in form.fields]
            await client.post(
                RESET, data=form.fields | {"email": email}, headers={"origin": "http://localhost"}
            )
        raise AssertionError("answered")

    async def flood() -> int:
        async with anyio.create_task_group() as posters, browser() as client:
            for email in addresses:
                posters.start_soon(wait_for_an_answer, email)
            with anyio.fail_after(60):
                while await run_sync(Mail.objects.filter(to__in=addresses).count) < len(addresses):
                    await anyio.sleep(0.05)
                status = (await client.get("/privacy")).status_code
            posters.cancel_scope.cancel()
        return status

    assert anyio.run(flood) == 200


@pytest.mark.parametrize("path", [RESET, ASK, LOGIN])
def test_what_strangers_post_is_counted_empty_forms_too(
    deployment: Deployment, clock: Clock, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(Tried.FORM, "by_network", 3)
    person = Person(deployment)
    assert 429 not in [person.post(path).status_code for _ in range(3)]
    refused = person.post(path)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "600")
    assert person.get(path).status_code == 200
    assert Person(deployment).post(path).status_code != 429
    clock.turn(minutes=21)
    assert person.post(path).status_code != 429
