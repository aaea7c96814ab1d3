"""The server's side of a connection, before anybody knows who is at the other end.

uvicorn's own protocol bounds neither how long a request's head may be nor how long it may take to come: the
parser joins a header's pieces anew with each that arrives, on the event loop. Here, what is no body has a
bound in bytes (trailers and the extensions of chunks too), a head has a time, and one address has so many
connections.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from muniment.server.logs import SERVICE

MOST_HEAD = 64 * 1024
"""Bytes that are no body, in a row."""

MOST_OF_ONE = 1000
"""Connections of one address, where no proxy stands before us."""

_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Crowd:
    """How many connections each address has, and whether the process can take more of them."""

    def __init__(self, *, most_of_one: int | None, descriptors: int) -> None:
        """`most_of_one`: None where a proxy's address is everybody's. `descriptors`: all we may have open."""
        self._most_of_one = most_of_one
        self._near = descriptors * 9 // 10
        self._by_address: Counter[str] = Counter()
        self._told = -60.0

    def enter(self, address: str) -> bool:
        """Whether there is room for one more; if so it is counted until it leaves."""
        if self._most_of_one is not None and self._by_address[address] >= self._most_of_one:
            return False
        self._by_address[address] += 1
        if self._by_address.total() >= self._near and time.monotonic() - self._told >= 60:
            self._told = time.monotonic()
            SERVICE.warning(
                "nearly as many connections as this process may have", extra={"count": self._near}
            )
        return True

    def leave(self, address: str) -> None:
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]


class GuardedConnection(HttpToolsProtocol):
    """One connection. Made by `guarded`, which sets what all have in common."""

    crowd: Crowd
    head_seconds: float

    _aside = 0
    """Bytes since the last that were body."""
    _deadline: asyncio.TimerHandle | None = None
    _address: str | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
        if not self.crowd.enter(address):
            transport.abort()
            return
        self._address = address
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._address is not None:
            self.crowd.leave(self._address)
            self._address = None
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._aside += len(data)
        super().data_received(data)
        if self._aside > MOST_HEAD and not self.transport.is_closing():
            self.transport.write(_TOO_LONG)
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._deadline is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        self._aside = 0
        self._head_came()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._aside = 0
        if not self.cycle.body:
            # What comes is added to it and given on as bytes: to no bytes at all, that takes no copy.
            self.cycle.body = b""  # type: ignore[assignment]
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._aside = 0
        super().on_message_complete()

    def _await_head(self) -> None:
        self._deadline = self.loop.call_later(self.head_seconds, self._give_up)

    def _head_came(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        self.transport.abort()


def guarded(crowd: Crowd, *, head_seconds: float) -> type[GuardedConnection]:
    """The class of the connections of one server."""
    common: dict[str, Any] = {"crowd": crowd, "head_seconds": head_seconds}
    return type("Connection", (GuardedConnection,), common)
