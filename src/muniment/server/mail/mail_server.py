"""The operator's mail server: its address, and a connection to it."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.mail.backends.smtp import EmailBackend

_SECONDS = 30


class BadMailUrl(ValueError):
    """The address of the mail server is of no kind that we speak."""


def mail_server(url: str) -> EmailBackend:
    """`smtp://USER:PASSWORD@HOST:PORT?tls=starttls`; `smtps://` speaks TLS at once. Raises BadMailUrl.

    TLS is used unless the address says `?tls=off`, which only a mail server on this machine may.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise BadMailUrl("the address of the mail server is not smtp://HOST or smtps://HOST")
    tls = options.get("tls", "implicit" if parts.scheme == "smtps" else "starttls")
    is_near = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if tls not in ("implicit", "starttls", "off") or (tls == "off" and not is_near):
        raise BadMailUrl("mail leaves this machine only over TLS")
    return EmailBackend(
        host=parts.hostname,
        port=parts.port or {"implicit": 465, "starttls": 587, "off": 25}[tls],
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        use_tls=tls == "starttls",
        use_ssl=tls == "implicit",
        timeout=_SECONDS,
    )
