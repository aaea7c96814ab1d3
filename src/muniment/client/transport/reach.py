"""Making the connection to a server, as command line, configuration, code or kit say."""

from __future__ import annotations

import hmac
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from muniment import __version__
from muniment.client.home.config import Connection
from muniment.client.transport.address import PlainHttp, ServerAddress
from muniment.client.transport.connections import Connections
from muniment.client.transport.rate import limit_of
from muniment.client.transport.retry import Patience
from muniment.client.transport.server import Server
from muniment.client.transport.trust import Trust
from muniment.model.codes import server_key_hash
from muniment.model.errors import MunimentError, UntrustedServer, UsageError
from muniment.wire import messages as wire

DEFAULT_PATIENCE = 300.0


@dataclass(frozen=True, slots=True)
class Reach:
    """What the command line says about the way to the server. Limits in KiB per second."""

    server: str = ""
    ca_file: str = ""
    plain: PlainHttp = PlainHttp.LOOPBACK_ONLY
    limit_up: int | None = None
    limit_down: int | None = None
    stop: threading.Event | None = None
    tell: Callable[[str, float], None] = lambda _why, _left: None
    """Told what is waited for, as Patience says."""

    def open(self, url: str, *, key_hash: bytes, pinned: bool, ca_file: str = "", token: str = "") -> Server:
        """A server to talk to; nothing is sent yet. `--server` and `--ca-file` go before what is given."""
        address = ServerAddress.parse(self.server or url, plain=self.plain)
        trust = Trust(self.ca_file or ca_file, key_hash if pinned and address.is_tls else None)
        connections = Connections(
            address, trust, limit_up=limit_of(self.limit_up), limit_down=limit_of(self.limit_down)
        )
        patience = Patience(patience_seconds(), time.monotonic, _wait_on(self.stop), tell=self.tell)
        return Server(connections, patience=patience, version=__version__, token=token)

    def open_connection(self, connection: Connection, *, token: str) -> Server:
        reach = self
        if connection.insecure and self.plain is PlainHttp.LOOPBACK_ONLY:
            reach = replace(self, plain=PlainHttp.ANYWHERE)
        return reach.open(
            connection.server,
            key_hash=connection.server_key_hash,
            pinned=connection.pinned,
            ca_file=connection.ca_file,
            token=token,
        )


def greet(server: Server, *, key_hash: bytes) -> wire.ServerInfo:
    """Learn what the server is, before anything secret is sent to it.

    Raises UntrustedServer when it does not even claim the identity that code or kit name. (The claim proves
    nothing; what proves is TLS. But a code taken to the wrong address should not be spent there.)
    """
    info = server.info()
    if not hmac.compare_digest(server_key_hash(info.identity), key_hash):
        raise UntrustedServer(
            f"the server at {server.address} is not the one that the code was made for",
            advice="Check the address. If the operator moved the server, name the new one with --server.",
        )
    if wire.PROTOCOL not in info.protocols:
        raise MunimentError(
            f"the server speaks protocol {', '.join(map(str, info.protocols))}, this program {wire.PROTOCOL}",
            advice="Update the older of the two.",
        )
    return info


def patience_seconds() -> float:
    """How long faults of network and server are waited out: MUNIMENT_PATIENCE, in seconds."""
    text = os.environ.get("MUNIMENT_PATIENCE")
    if not text:
        return DEFAULT_PATIENCE
    try:
        return max(0.0, float(text))
    except ValueError:
        raise UsageError(f"MUNIMENT_PATIENCE is no number of seconds: {text!r}") from None


def _wait_on(stop: threading.Event | None) -> Callable[[float], bool]:
    if stop is not None:
        return stop.wait
    return threading.Event().wait
