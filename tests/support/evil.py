"""An evil server: a real one, seen through a proxy that rewrites what it says.

    with Evil(served.url) as evil:
        evil.rewrite("keys", wire.VaultKeys, lambda keys: msgspec.structs.replace(keys, heads=[]))
        ran = machine.muniment("snapshots", server=evil.url)
    assert evil.attacked and not evil.sent_after_attack

So an attack plays with real data: whatever a script leaves alone is what the real server said. The proxy has
what an operator has: every request and reply, and the stored objects. It has no vault key; `Forger` has one,
for the attacks of a hostile key holder.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import msgspec

from muniment.wire import messages as wire
from muniment.wire.routes import ROUTES

M = TypeVar("M", bound=wire.Message)

_PATTERNS = tuple(
    (route.method, re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[0-9a-f]+)", re.escape(wire.PREFIX + route.path)
     .replace(r"\{", "{").replace(r"\}", "}"))), route.name)
    for route in ROUTES
)  # fmt: skip

WRITES = frozenset(
    {
        "enrol", "create_vault", "put_slot", "put_slot_list", "register_kit", "put_pack", "commit",
        "ask_confirmation",
    }
)  # fmt: skip
"""Requests that put something derived from what was read into the vault."""


@dataclass
class Exchange:
    """One request and its reply. `tricked`: the reply is not what the server said."""

    route: str
    method: str
    target: str
    ids: dict[str, str]
    headers: dict[str, str]
    body: bytes = field(repr=False)
    status: int = 0
    reply_headers: dict[str, str] = field(default_factory=dict)
    content: bytes = field(default=b"", repr=False)
    tricked: bool = False

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def range(self) -> tuple[int, int]:
        """(offset, length) that the request asks for."""
        start, _, end = self.headers["range"].removeprefix("bytes=").partition("-")
        return int(start), int(end) - int(start) + 1

    def answer(self, content: bytes | wire.Message, *, status: int = 200, **headers: str) -> None:
        """Reply with this instead."""
        self.content = content if isinstance(content, bytes) else msgspec.json.encode(content)
        self.status = status
        self.reply_headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.tricked = True

    def refuse(self, code: str, *, status: int, message: str = "no", **fields: Any) -> None:
        self.answer(wire.ErrorReply(error=code, message=message, **fields), status=status)


Trick = Callable[[Exchange], None]
Speak = Callable[[socket.socket], None]


class Evil:
    """The proxy. Tricks are called in the order in which they were set; all requests are logged."""

    def __init__(self, upstream: str, *, certificate: tuple[Path, Path] | None = None) -> None:
        self.upstream = urlsplit(upstream)
        self.log: list[Exchange] = []
        self._after: list[tuple[str, Trick]] = []
        self._instead: list[tuple[str, Trick]] = []
        self._spoken: dict[str, Speak] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(weakref.proxy(self)))
        self._server.daemon_threads = True
        self._scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self._scheme = "https"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Evil:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    # --- scripts

    def alter(self, route: str, trick: Trick) -> None:
        """Let the server answer, then change the answer."""
        self._after.append((route, trick))

    def rewrite(self, route: str, answer: type[M], change: Callable[[M], M]) -> None:
        """The same for a message of type `answer`."""

        def trick(exchange: Exchange) -> None:
            if exchange.status < 300:
                said = msgspec.json.decode(exchange.content, type=answer)
                changed = change(said)
                if changed != said:
                    exchange.answer(changed)

        self.alter(route, trick)

    def usurp(self, route: str, trick: Trick) -> None:
        """Answer in the server's place, which never sees the request; a trick that does not answer passes."""
        self._instead.append((route, trick))

    def speak(self, route: str, speak: Speak) -> None:
        """Write raw bytes in answer to `route`, then close."""
        self._spoken[route] = speak

    def forget(self) -> None:
        """Drop all scripts and the log: an honest proxy again."""
        self._after.clear()
        self._instead.clear()
        self._spoken.clear()
        self.log.clear()

    # --- what came of it

    @property
    def attacked(self) -> bool:
        """Whether any answer was other than the server's."""
        return any(exchange.tricked for exchange in self.log)

    @property
    def routes(self) -> list[str]:
        return [exchange.route for exchange in self.log]

    @property
    def after_attack(self) -> list[Exchange]:
        """What was asked once the first false answer had been given."""
        for place, exchange in enumerate(self.log):
            if exchange.tricked:
                return self.log[place + 1 :]
        return []

    @property
    def sent_after_attack(self) -> list[str]:
        """Writing requests among those."""
        return [exchange.route for exchange in self.after_attack if exchange.route in WRITES]

    def of(self, route: str) -> list[Exchange]:
        return [exchange for exchange in self.log if exchange.route == route]

    # --- inside

    def converse(self, exchange: Exchange) -> Speak | None:
        with self._lock:
            self.log.append(exchange)
        spoken = self._spoken.get(exchange.route)
        if spoken is not None:
            exchange.tricked = True
            return spoken
        for route, trick in self._instead:
            if route in (exchange.route, "*"):
                trick(exchange)
            if exchange.tricked:
                return None
        self._forward(exchange)
        for route, trick in self._after:
            if route in (exchange.route, "*"):
                trick(exchange)
        return None

    def _forward(self, exchange: Exchange) -> None:
        kind = http.client.HTTPConnection
        context: dict[str, Any] = {}
        if self.upstream.scheme == "https":
            kind = http.client.HTTPSConnection
            unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            unverified.check_hostname = False
            unverified.verify_mode = ssl.CERT_NONE
            context["context"] = unverified
        assert self.upstream.hostname is not None
        connection = kind(self.upstream.hostname, self.upstream.port, timeout=60, **context)
        try:
            headers = {name: value for name, value in exchange.headers.items() if name != "host"}
            connection.request(exchange.method, exchange.target, body=exchange.body, headers=headers)
            response = connection.getresponse()
            exchange.status, exchange.content = response.status, response.read()
            exchange.reply_headers = {
                name: value
                for name, value in response.getheaders()
                if name.lower() not in ("content-length", "connection", "transfer-encoding", "date")
            }
        finally:
            connection.close()


def _handler_of(evil: Evil) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = 1 << 16

        def serve(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            body = self.rfile.read(length)
            path = urlsplit(self.path).path
            route, ids = _route_of(self.command, path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            exchange = Exchange(route, self.command, self.path, ids, headers, body)
            try:
                spoken = evil.converse(exchange)
            except OSError:
                self.close_connection = True
                return
            if spoken is not None:
                self.close_connection = True
                self._speak(spoken)
                return
            self.send_response(exchange.status)
            for name, value in exchange.reply_headers.items():
                self.send_header(name, value)
            if exchange.status != 204 and "Content-Length" not in exchange.reply_headers:
                self.send_header("Content-Length", str(len(exchange.content)))
            self.end_headers()
            if exchange.status != 204:
                self.wfile.write(exchange.content)

        do_GET = do_PUT = do_POST = do_DELETE = serve  # noqa: N815

        def _speak(self, spoken: Speak) -> None:
            try:
                spoken(self.connection)
            except OSError:
                pass  # the client has had enough, as it should

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                pass

        def finish(self) -> None:
            try:
                super().finish()
            except OSError:
                pass

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


def _route_of(method: str, path: str) -> tuple[str, dict[str, str]]:
    for of_route, pattern, name in _PATTERNS:
        match = pattern.fullmatch(path)
        if match and of_route == method:
            return name, match.groupdict()
    return "unknown", {}
