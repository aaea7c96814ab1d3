"""Where the server is, and whether it may be spoken to without TLS."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

from muniment.model.errors import UsageError


class PlainHttp(Enum):
    """Whether bytes may travel without TLS. Contents are sealed either way; tokens are not."""

    LOOPBACK_ONLY = "loopback"
    ANYWHERE = "anywhere"


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """A server's base address. `prefix` is the path before the data plane, without a trailing slash."""

    scheme: str
    host: str
    port: int
    prefix: str = ""

    @classmethod
    def parse(cls, text: str, *, plain: PlainHttp) -> ServerAddress:
        """The address written as a URL; UsageError where it is none, or is plain HTTP to elsewhere."""
        if "://" not in text:
            text = "https://" + text
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise UsageError(f"{text!r} is not a server address: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
            raise UsageError(
                f"{text!r} is not a server address", advice="Write it like https://backup.example."
            )
        if parts.scheme == "http" and plain is PlainHttp.LOOPBACK_ONLY and not _is_loopback(parts.hostname):
            raise UsageError(
                f"{text} is plain HTTP to another machine: everyone on the way could read the device's token",
                advice="Use https://, or say --insecure if you accept that.",
            )
        default = 443 if parts.scheme == "https" else 80
        return cls(parts.scheme, parts.hostname, port or default, parts.path.rstrip("/"))

    @property
    def is_tls(self) -> bool:
        return self.scheme == "https"

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine, as far as the name alone tells."""
        return _is_loopback(self.host)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.prefix}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
