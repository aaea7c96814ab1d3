"""One log line per request: route template, status, sizes, time. No address, no id, no path."""

from __future__ import annotations

import secrets
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from muniment.server.logs import REQUESTS


class LogRequests:
    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        seen = {"received": 0, "sent": 0, "status": 0}

        async def counting_receive() -> Message:
            message = await receive()
            seen["received"] += len(message.get("body", b""))
            return message

        async def counting_send(message: Message) -> None:
            seen["sent"] += len(message.get("body", b""))
            seen["status"] = message.get("status", seen["status"])
            await send(message)

        begun = time.monotonic()
        try:
            await self._application(scope, counting_receive, counting_send)
        finally:
            extra = {
                "request": secrets.token_hex(6),
                "route": scope.get("muniment.route", "unknown"),  # the template: a path names vaults
                "ms": round((time.monotonic() - begun) * 1000, 1),
                **seen,
            }
            if "muniment.code" in scope:
                extra["code"] = scope["muniment.code"]
            REQUESTS.info("request", extra=extra)
