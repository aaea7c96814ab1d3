"""Where the server is, and whether it may be spoken to without TLS."""

from __future__ import annotations

import pytest

from muniment.client.transport.address import PlainHttp, ServerAddress
from muniment.model.errors import UsageError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://backup.example", "https://backup.example:443"),
        ("backup.example:8440", "https://backup.example:8440"),
        ("http://127.0.0.1:8120", "http://127.0.0.1:8120"),
        ("http://localhost", "http://localhost:80"),
        ("http://[::1]:9/", "http://[::1]:9"),
        ("https://example.org/behind/a/path/", "https://example.org:443/behind/a/path"),
    ],
)
def test_an_address_is_understood(text: str, shown: str) -> None:
    assert str(ServerAddress.parse(text, plain=PlainHttp.LOOPBACK_ONLY)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "ftp://example.org",
        "https://",
        "https://user@example.org",
        "https://example.org/?q",
        "https://example.org:x",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        ServerAddress.parse(text, plain=PlainHttp.LOOPBACK_ONLY)


@pytest.mark.parametrize("text", ["http://example.org", "http://127.0.0.1.example.org", "http://10.0.0.1:80"])
def test_plain_http_leaves_the_machine_only_when_permitted(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        ServerAddress.parse(text, plain=PlainHttp.LOOPBACK_ONLY)
    assert "--insecure" in caught.value.advice
    assert ServerAddress.parse(text, plain=PlainHttp.ANYWHERE).scheme == "http"
