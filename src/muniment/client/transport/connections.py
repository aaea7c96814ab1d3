"""Keep-alive HTTP/1.1 connections over the standard library, with bodies that are never copied.

`http.client` rather than a larger library: docs/decisions/0010-http-client.md has the measurements.
"""

from __future__ import annotations

import base64
import http.client
import io
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from muniment.client.transport.address import ServerAddress
from muniment.client.transport.rate import STEP, RateLimit
from muniment.client.transport.trust import Trust
from muniment.model.errors import UntrustedServer, UsageError

CONNECT_SECONDS = 15.0
SILENCE_SECONDS = 90.0
"""A peer that neither takes nor gives a byte for so long is gone."""

SLOWEST = 512.0
"""Bytes a second. A reply that keeps coming, but more slowly than this over its whole length, is given up: a
server that drips one byte at a time would else hold a run for ever."""

SEND_STEP = 1024 * 1024


@dataclass(frozen=True, slots=True)
class FileBody:
    """A request body that lies in an open file: `size` bytes from its start."""

    file: BinaryIO
    size: int


Body = bytes | memoryview | FileBody


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: http.client.HTTPMessage
    content: bytes


class ConnectionFault(Exception):
    """The exchange broke before a whole reply arrived. `stale`: an idle connection had been closed."""

    def __init__(self, cause: BaseException, *, stale: bool) -> None:
        said = cause.strerror if isinstance(cause, OSError) else None
        super().__init__(said or str(cause) or type(cause).__name__)
        self.stale = stale


@dataclass(slots=True)
class Connections:
    """A pool for one server; safe for threads. Each exchange has a connection to itself."""

    address: ServerAddress
    trust: Trust
    limit_up: RateLimit | None = None
    limit_down: RateLimit | None = None
    _idle: list[http.client.HTTPConnection] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _context: ssl.SSLContext | None = None
    _proxy: _Proxy | None = None
    _proxy_known: bool = False

    def exchange(self, method: str, path: str, *, headers: dict[str, str], body: Body, most: int) -> Reply:
        """One request and its whole reply of `most` bytes or less; ConnectionFault, UntrustedServer."""
        connection, reused = self._take()
        try:
            if connection.sock is None:
                connection.connect()
            reply, keep = self._converse(connection, method, path, headers, body, most)
        except UntrustedServer:
            connection.close()
            raise
        except ssl.SSLCertVerificationError as error:
            connection.close()
            raise UntrustedServer(
                f"the server's certificate is not trusted: {error.verify_message}",
                advice="Check the address. A private authority is named with --ca-file or SSL_CERT_FILE.",
            ) from None
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            stale = reused and isinstance(
                error,
                (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError, ssl.SSLEOFError),
            )
            raise ConnectionFault(error, stale=stale) from error
        except BaseException:
            connection.close()
            raise
        if keep:
            with self._lock:
                self._idle.append(connection)
        else:
            connection.close()
        return reply

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self) -> tuple[http.client.HTTPConnection, bool]:
        with self._lock:
            if self._idle:
                return self._idle.pop(), True
            if not self._proxy_known:
                self._proxy, self._proxy_known = _proxy_for(self.address), True
            if self.address.is_tls and self._context is None:
                self._context = self.trust.context()
        connection = _connection(self.address, self._proxy, self._context, self.trust)
        # Our own limit, shared by several connections, must not look like a server that drips.
        slowest = min(SLOWEST, self.limit_down.bytes_per_second / 64) if self.limit_down else SLOWEST
        connection.response_class = _paced(slowest)
        return connection, False

    def _converse(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        headers: dict[str, str],
        body: Body,
        most: int,
    ) -> tuple[Reply, bool]:
        target = self.address.prefix + path
        if self._proxy is not None and not self.address.is_tls:
            target = f"http://{_authority(self.address)}{target}"
            headers = headers | self._proxy.headers
        connection.sock.settimeout(SILENCE_SECONDS)
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        length = body.size if isinstance(body, FileBody) else len(body)
        if length or method in ("POST", "PUT"):
            connection.putheader("Content-Length", str(length))
        try:
            connection.endheaders()
            self._send_body(connection, body)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            # A refusal may come before the body is through; what was answered counts, if anything was.
            response = connection.getresponse()
            return self._receive(response, most), False
        response = connection.getresponse()
        reply = self._receive(response, most)
        return reply, not response.will_close

    def _send_body(self, connection: http.client.HTTPConnection, body: Body) -> None:
        sock = connection.sock
        limit = self.limit_up
        if isinstance(body, FileBody):
            if limit is None and not isinstance(sock, ssl.SSLSocket):
                if sock.sendfile(body.file, 0, body.size) != body.size:
                    raise OSError("the spooled pack is shorter than it was")
                return
            _send_file(sock, body, limit)
            return
        if limit is None:
            if body:
                sock.sendall(body)
            return
        view = memoryview(body)
        for start in range(0, len(view), STEP):
            piece = view[start : start + STEP]
            limit.take(len(piece))
            sock.sendall(piece)

    def _receive(self, response: http.client.HTTPResponse, most: int) -> Reply:
        length = response.length
        if length is None and not response.chunked:
            # http.client takes the end of the stream for the end of the headers. A reply that does not say
            # how long it is cannot be told from one that was cut off there.
            raise http.client.HTTPException("a reply that does not say its length")
        if length is not None and length > most:
            raise http.client.HTTPException(f"a reply of {length} bytes, where at most {most} make sense")
        if self.limit_down is None and length is not None:
            content = response.read()
        else:
            pieces: list[bytes] = []
            total = 0
            while piece := response.read(STEP if self.limit_down else 256 * 1024):
                if self.limit_down is not None:
                    self.limit_down.take(len(piece))
                pieces.append(piece)
                total += len(piece)
                if total > most:
                    raise http.client.HTTPException(f"a reply of more than {most} bytes")
            content = b"".join(pieces)
            if length is not None and total != length:
                raise http.client.IncompleteRead(content, length - total)
        response.close()
        return Reply(response.status, response.headers, content)


class _PacedIO(io.RawIOBase):
    """What one reply is read from. Raises TimeoutError once it is slower than `slowest` bytes a second."""

    def __init__(self, sock: socket.socket, *, slowest: float) -> None:
        self._sock, self._slowest = sock, slowest
        self._raw = sock.makefile("rb", buffering=0)
        self._end = time.monotonic() + SILENCE_SECONDS

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the reply comes too slowly")
        self._sock.settimeout(min(SILENCE_SECONDS, left))
        got = self._raw.readinto(buffer)
        self._end += (got or 0) / self._slowest
        return got

    def close(self) -> None:
        self._raw.close()
        super().close()


def _paced(slowest: float) -> type[http.client.HTTPResponse]:
    class PacedResponse(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, *arguments: Any, **named: Any) -> None:
            super().__init__(sock, *arguments, **named)
            self.fp.close()
            self.fp = io.BufferedReader(_PacedIO(sock, slowest=slowest), 64 * 1024)

    return PacedResponse


def _send_file(sock: socket.socket, body: FileBody, limit: RateLimit | None) -> None:
    buffer = memoryview(bytearray(STEP if limit else SEND_STEP))
    offset = 0
    while offset < body.size:
        got = os.preadv(body.file.fileno(), [buffer[: body.size - offset]], offset)
        if got == 0:
            raise OSError("the spooled pack is shorter than it was")
        if limit is not None:
            limit.take(got)
        sock.sendall(buffer[:got])
        offset += got


# --- connecting


@dataclass(frozen=True, slots=True)
class _Proxy:
    host: str
    port: int
    headers: dict[str, str]


def _proxy_for(address: ServerAddress) -> _Proxy | None:
    """The proxy that the usual environment variables name for this server.

    None for this machine itself: to a proxy, that name is the proxy's own machine; and a token that may
    travel without TLS because it stays here would leave.
    """
    if address.is_loopback:
        return None
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    # Loaded here: it costs a rescan 15 ms, and few machines have a proxy.
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    url = proxies.get(address.scheme) or proxies.get("all")
    if not url or proxy_bypass(f"{address.host}:{address.port}"):
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme != "http" or not parts.hostname:
        raise UsageError(
            f"the proxy {parts.scheme}://{parts.hostname} is of a kind that is not supported",
            advice="Name an http:// proxy, or except the server with no_proxy.",
        )
    headers = {}
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Proxy-Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode("ascii")
    return _Proxy(parts.hostname, parts.port or 8080, headers)


def _authority(address: ServerAddress) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port}"


class _CheckedTls(http.client.HTTPSConnection):
    """TLS whose peer is checked against the pinned key before anything is sent."""

    check: Callable[[ssl.SSLSocket], None]

    def connect(self) -> None:
        super().connect()
        if isinstance(self.sock, ssl.SSLSocket):
            self.check(self.sock)
        self.sock.settimeout(SILENCE_SECONDS)


class _Plain(http.client.HTTPConnection):
    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(SILENCE_SECONDS)


def _connection(
    address: ServerAddress, proxy: _Proxy | None, context: ssl.SSLContext | None, trust: Trust
) -> http.client.HTTPConnection:
    host, port = (proxy.host, proxy.port) if proxy else (address.host, address.port)
    if not address.is_tls:
        return _Plain(host, port, timeout=CONNECT_SECONDS)
    connection = _CheckedTls(host, port, timeout=CONNECT_SECONDS, context=context)
    connection.check = trust.check
    if proxy is not None:
        connection.set_tunnel(address.host, address.port, headers=proxy.headers)
    return connection
