"""Whose request it is behind proxies: what trusted ones appended is believed, what strangers wrote is not."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from muniment.server.web.proxies import FromProxies, origin

TRUSTED = ("10.0.0.0/8", "2001:db8:7::/48")
PERSON, STRANGER, PROXY, FARTHER = "203.0.113.9", "198.51.100.7", "10.0.0.1", "10.2.3.4"


def client_of(peer: str, *headers: tuple[str, str], trusted: tuple[str, ...] = TRUSTED) -> str:
    """Whom the application sees as its client."""
    seen: list[str] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["client"][0])

    async def nothing() -> Message:
        return {"type": "http.disconnect"}

    async def unsent(message: Message) -> None:
        raise AssertionError(message)

    sent = [(name.lower().encode(), value.encode()) for name, value in headers]
    scope = {"type": "http", "client": (peer, 1234), "headers": sent}
    anyio.run(FromProxies(application, trusted=trusted), scope, nothing, unsent)
    return seen[0]


@pytest.mark.parametrize(
    ("value", "client"),
    [
        (PERSON, PERSON),
        (f"{PERSON}:50123", PERSON),
        (f"{STRANGER}, {PERSON}", PERSON),
        (f"{STRANGER}, {PERSON}, {FARTHER}", PERSON),
        (f"{STRANGER}, nonsense, {PERSON}, {FARTHER}, {FARTHER}", PERSON),
        (f"{FARTHER}, {PERSON}", PERSON),
        ("2001:db8::5", "2001:db8::5"),
        ("[2001:db8::5]:443", "2001:db8::5"),
        (f"::ffff:{PERSON}", PERSON),
        (f"{PERSON}, unknown", PROXY),
        (f"{PERSON}, unknown, {FARTHER}", FARTHER),
        ("", PROXY),
        (",", PROXY),
        (FARTHER, FARTHER),
    ],
)
def test_the_list_is_read_from_its_end_past_trusted_proxies(value: str, client: str) -> None:
    assert client_of(PROXY, ("X-Forwarded-For", value)) == client


@pytest.mark.parametrize(
    ("value", "client"),
    [
        (f"for={PERSON};proto=https;by={PROXY}", PERSON),
        (f"for={STRANGER}, For={PERSON}", PERSON),
        ('for="[2001:db8::5]:4711";proto=https', "2001:db8::5"),
        (f'for="{STRANGER}, for={PERSON}', PERSON),
        ("for=_hidden", PROXY),
        ("proto=https", PROXY),
    ],
)
def test_the_standard_s_header_says_the_same(value: str, client: str) -> None:
    assert client_of(PROXY, ("Forwarded", value)) == client


def test_nobody_else_s_header_is_read() -> None:
    assert client_of(STRANGER, ("X-Forwarded-For", PERSON), ("Forwarded", f"for={PERSON}")) == STRANGER
    assert client_of(PROXY, ("X-Forwarded-For", PERSON), trusted=()) == PROXY


def test_lines_of_one_header_are_one_list() -> None:
    assert client_of(PROXY, ("X-Forwarded-For", STRANGER), ("X-Forwarded-For", PERSON)) == PERSON


def test_a_header_that_the_proxy_passes_on_as_it_came_changes_nothing() -> None:
    """The proxy writes one of them; which one, only it knows."""
    assert client_of(PROXY, ("X-Forwarded-For", PERSON), ("Forwarded", f"for={STRANGER}")) == PROXY
    assert client_of(PROXY, ("X-Forwarded-For", PERSON), ("Forwarded", f"for={PERSON}")) == PERSON


@given(st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f")))
def test_whatever_a_stranger_wrote_the_proxy_s_word_stands(forged: str) -> None:
    appended = f"{forged}, {PERSON}".encode("latin-1")
    networks = tuple(ip_network(one) for one in TRUSTED)
    seen = origin(ip_address(PROXY), [(b"x-forwarded-for", appended)], trusted=networks)
    assert str(seen) == PERSON
