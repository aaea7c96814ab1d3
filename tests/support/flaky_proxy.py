"""A proxy between client and server that fails as networks and other people's proxies do, as ordered.

It understands just enough HTTP/1.1 to know where a message ends, so that a fault hits the request it is meant
for, and it writes down what passed: which requests the server answered, and which answers arrived.
"""

from __future__ import annotations

import contextlib
import random
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

_HEAD_MOST = 64 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length:[ ]*(\d+)", re.IGNORECASE)
_PACK = re.compile(r"/packs/([0-9a-f]{32})")


class FaultKind(Enum):
    """What happens to one request."""

    RESET_REQUEST = "connection reset while the request is under way"
    RESET_REPLY = "connection reset while the reply is under way"
    HALF_CLOSED_REQUEST = "the server sees the end of the stream in the middle of the request"
    HALF_CLOSED_REPLY = "the client sees the end of the stream in the middle of the reply"
    DRIP = "both ways in drops"
    SWALLOWED = "the server does the work, its answer is replaced by an error"
    VANISHED = "the server does the work, the connection closes without an answer"
    REFUSED = "an error before the server sees anything"
    TOO_LONG = "the reply announces more bytes than come"
    TOO_SHORT = "the reply announces fewer bytes than come"
    DUPLICATED = "the request reaches the server twice, one after the other"
    AT_ONCE = "the request reaches the server twice, at the same time"
    LATE = "the request reaches the server once more, after it was answered"


@dataclass(frozen=True, slots=True)
class Fault:
    """Hits the `nth` request (from 1) of those whose `METHOD path` matches `on`, at a share of its bytes."""

    kind: FaultKind
    on: str
    nth: int = 1
    at: float = 0.5


@dataclass(slots=True)
class Exchange:
    """A request as the proxy saw it. `status`: the server's; `arrived`: the client got that very reply."""

    method: str
    path: str
    body: int
    status: int | None = None
    arrived: bool = False

    @property
    def pack(self) -> str | None:
        """The pack that a PUT is about."""
        found = _PACK.search(self.path) if self.method == "PUT" else None
        return found[1] if found else None


@dataclass(slots=True)
class _Request:
    head: bytes
    body: bytes
    size: int

    @property
    def line(self) -> str:
        method, path, _ = self.head.split(b"\r\n", 1)[0].decode("ascii").split(" ")
        return f"{method} {path}"


@dataclass
class FlakyProxy:
    """Listens on a free loopback port. `faults` may be changed at any time; each fires once."""

    port_of_server: int
    faults: list[Fault] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    fired: list[Fault] = field(default_factory=list)
    chance: random.Random = field(default_factory=lambda: random.Random(0))

    def __enter__(self) -> FlakyProxy:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._met: dict[Fault, int] = {}
        self._late: list[threading.Thread] = []
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.settle()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def settle(self) -> None:
        """Wait for what is sent once more behind the client's back."""
        for thread in self._late:
            thread.join(10)

    def order(self, *faults: Fault) -> None:
        """Forget what was ordered and seen; order these."""
        self.settle()
        with self._lock:
            self.faults, self._met, self._late = list(faults), {}, []
            self.exchanges, self.fired = [], []

    # --- one connection

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.settimeout(60)
        with contextlib.suppress(OSError, EOFError), client:
            while self._pass_on(client):
                pass

    def _pass_on(self, client: socket.socket) -> bool:
        """One request and its reply; whether the connection lives on."""
        head, rest = _read_head(client)
        size = _announced(head)
        request = _Request(head, rest, size)
        method, path = request.line.split(" ", 1)
        exchange = Exchange(method, path, size)
        with self._lock:
            self.exchanges.append(exchange)
            fault = self._fault_for(request.line)
        if fault is None:
            _read_body(client, request)
            reply = self._ask(request, exchange)
            client.sendall(reply)
            exchange.arrived = True
            return b"\r\nconnection: close" not in reply[:_HEAD_MOST].lower()
        return self._fail(fault, client, request, exchange)

    def _fault_for(self, line: str) -> Fault | None:
        for fault in self.faults:
            if fault not in self.fired and re.search(fault.on, line):
                self._met[fault] = self._met.get(fault, 0) + 1
                if self._met[fault] == fault.nth:
                    self.fired.append(fault)
                    return fault
        return None

    def _ask(self, request: _Request, exchange: Exchange | None = None) -> bytes:
        """The server's whole reply."""
        with socket.create_connection(("127.0.0.1", self.port_of_server), timeout=60) as server:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                server.sendall(request.head + request.body)
            reply = _read_reply(server)
        if exchange is not None:
            exchange.status = int(reply[9:12])
        return reply

    # --- faults

    def _fail(self, fault: Fault, client: socket.socket, request: _Request, exchange: Exchange) -> bool:
        match fault.kind:
            case FaultKind.RESET_REQUEST | FaultKind.HALF_CLOSED_REQUEST:
                return self._cut_request(fault, client, request)
            case FaultKind.REFUSED:
                _read_body(client, request)
                client.sendall(_refusal(503, b"Retry-After: 0\r\n"))
                return True
        _read_body(client, request)
        if fault.kind is FaultKind.DRIP:
            return self._drip(client, request, exchange)
        if fault.kind is FaultKind.DUPLICATED:
            self._ask(request)
        if fault.kind is FaultKind.AT_ONCE:
            self._ask_in_background(request)
        reply = self._ask(request, exchange)
        match fault.kind:
            case FaultKind.VANISHED:
                return False
            case FaultKind.SWALLOWED:
                client.sendall(_refusal(self.chance.choice((500, 502, 503, 504))))
                return True
            case FaultKind.RESET_REPLY:
                client.sendall(reply[: int(len(reply) * fault.at)])
                _reset(client)
                return False
            case FaultKind.HALF_CLOSED_REPLY:
                client.sendall(reply[: int(len(reply) * fault.at)])
                client.shutdown(socket.SHUT_WR)
                while client.recv(4096):
                    pass
                return False
            case FaultKind.TOO_LONG:
                client.sendall(_with_length(reply, by=7))
                return False
            case FaultKind.TOO_SHORT:
                client.sendall(_with_length(reply, by=-7))
                return True
        client.sendall(reply)
        exchange.arrived = True
        if fault.kind is FaultKind.LATE:
            self._ask_in_background(request, after=0.05)
        return True

    def _cut_request(self, fault: Fault, client: socket.socket, request: _Request) -> bool:
        _read_body(client, request, most=int(request.size * fault.at))
        sent = request.head if request.size else request.head[: int(len(request.head) * fault.at)]
        with socket.create_connection(("127.0.0.1", self.port_of_server), timeout=60) as server:
            server.sendall(sent + request.body)
            if fault.kind is FaultKind.RESET_REQUEST:
                _reset(server)
            else:
                server.shutdown(socket.SHUT_WR)
                with contextlib.suppress(OSError, EOFError):
                    _read_reply(server)
        _reset(client)
        return False

    def _drip(self, client: socket.socket, request: _Request, exchange: Exchange) -> bool:
        with socket.create_connection(("127.0.0.1", self.port_of_server), timeout=60) as server:
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for drop in _drops(request.head + request.body):
                server.sendall(drop)
                time.sleep(0.01)
            reply = _read_reply(server)
        exchange.status = int(reply[9:12])
        for drop in _drops(reply):
            client.sendall(drop)
            time.sleep(0.01)
        exchange.arrived = True
        return True

    def _ask_in_background(self, request: _Request, *, after: float = 0.0) -> None:
        def ask() -> None:
            time.sleep(after)
            with contextlib.suppress(OSError, EOFError):
                self._ask(request)

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        self._late.append(thread)


# --- messages


def _read_head(connection: socket.socket) -> tuple[bytes, bytes]:
    """(head with its empty line, first bytes of the body)."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(64 * 1024)
        if not piece or len(received) > _HEAD_MOST:
            raise EOFError
        received += piece
    head, separator, rest = received.partition(b"\r\n\r\n")
    return head + separator, rest


def _announced(head: bytes) -> int:
    found = _LENGTH.search(head)
    return int(found[1]) if found else 0


def _read_body(client: socket.socket, request: _Request, *, most: int | None = None) -> None:
    """Complete `request.body`, or up to `most` bytes of it."""
    wanted = request.size if most is None else most
    pieces, held = [request.body], len(request.body)
    while held < wanted:
        piece = client.recv(min(1 << 20, wanted - held))
        if not piece:
            raise EOFError
        pieces.append(piece)
        held += len(piece)
    request.body = b"".join(pieces)[:wanted]


def _read_reply(server: socket.socket) -> bytes:
    head, body = _read_head(server)
    size = _announced(head)
    pieces, held = [head, body], len(body)
    while held < size:
        piece = server.recv(1 << 20)
        if not piece:
            break
        pieces.append(piece)
        held += len(piece)
    return b"".join(pieces)


def _refusal(status: int, headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d Bad\r\n%sContent-Length: 3\r\n\r\nno\n" % (status, headers)


def _with_length(reply: bytes, *, by: int) -> bytes:
    head, separator, body = reply.partition(b"\r\n\r\n")
    size = max(0, len(body) + by)
    return _LENGTH.sub(b"\r\ncontent-length: %d" % size, head) + separator + body


def _drops(content: bytes) -> Iterator[bytes]:
    """About thirty pieces, the first ones single bytes."""
    for at in range(min(10, len(content))):
        yield content[at : at + 1]
    step = max(1, (len(content) - 10) // 20)
    for at in range(10, len(content), step):
        yield content[at : at + step]


def _reset(connection: socket.socket) -> None:
    """Close with RST instead of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
