"""Reads a form whole, on the event loop, before one of the few threads that make pages sees it.

Django would wait for the body in its thread: as many slow senders as there are threads, and the website would
stand still. Here a slow sender costs a socket and what it has sent so far.
"""

from __future__ import annotations

import asyncio
from enum import Enum

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Ended(Enum):
    """Why there is no whole body; the value is the status it is answered with."""

    TOO_SLOW = 408
    TOO_LONG = 413
    GONE = 0


class GatheredBodies:
    """`app` gets each body in one piece, of at most `most` bytes and within `seconds`."""

    def __init__(self, app: ASGIApp, *, most: int, seconds: float) -> None:
        self._app, self._most, self._seconds = app, most, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _announced(scope) > self._most:
            # What says beforehand that it is too long gets a page about it, and is not read.
            await self._app(scope, _nothing, send)
            return
        try:
            body = await asyncio.wait_for(self._gather(receive), self._seconds)
        except TimeoutError:
            body = Ended.TOO_SLOW
        if isinstance(body, bytes):
            await self._app(_with_length(scope, len(body)), _replay(body, receive), send)
        elif body is not Ended.GONE:
            await _refuse(send, body.value)

    async def _gather(self, receive: Receive) -> bytes | Ended:
        parts = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return Ended.GONE
            parts += message.get("body", b"")
            if len(parts) > self._most:
                return Ended.TOO_LONG
            if not message.get("more_body", False):
                return bytes(parts)


def _announced(scope: Scope) -> int:
    """What Content-Length says; 0 where it says nothing that is a number."""
    value = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(value) if value.isdigit() and len(value) < 20 else 0


def _with_length(scope: Scope, length: int) -> Scope:
    """WSGI knows no chunked bodies: now that it is whole, its length is said."""
    headers = [
        (name, value)
        for name, value in scope["headers"]
        if name not in (b"content-length", b"transfer-encoding")
    ]
    if length:
        headers.append((b"content-length", str(length).encode()))
    return {**scope, "headers": headers}


def _replay(body: bytes, receive: Receive) -> Receive:
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed


async def _nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _refuse(send: Send, status: int) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    text = b"Too slow.\n" if status == Ended.TOO_SLOW.value else b"Too much.\n"
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
