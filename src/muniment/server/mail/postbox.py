"""The mailbox in which requests about data arrive: its address."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

_PORT = 993


class BadPostbox(ValueError):
    """The address of the mailbox is of no kind that we speak."""


@dataclass(frozen=True, slots=True)
class Postbox:
    """Printing it shows no password."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    folder: str


def postbox(url: str) -> Postbox:
    """`imaps://USER:PASSWORD@HOST[:PORT][/FOLDER]`; `?password_file=PATH` instead of a password.

    There is no other way than TLS from the first byte (RFC 8314). Raises BadPostbox.
    """
    try:
        parts = urlsplit(url)
        path = dict(parse_qsl(parts.query)).get("password_file")
        password = Path(path).read_text("utf-8").rstrip("\n") if path else unquote(parts.password or "")
        found = Postbox(
            parts.hostname or "", parts.port or _PORT, unquote(parts.username or ""), password,
            unquote(parts.path[1:]) or "INBOX",
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise BadPostbox(f"the mailbox cannot be used: {error}") from error
    if parts.scheme != "imaps" or not (found.host and found.user and found.password):
        raise BadPostbox("the address of the mailbox is not imaps://USER:PASSWORD@HOST")
    words = (found.user, found.password, found.folder)
    if not all(word.isascii() and word.isprintable() for word in words):
        raise BadPostbox("user, password and folder of the mailbox are printable ASCII")
    return found
