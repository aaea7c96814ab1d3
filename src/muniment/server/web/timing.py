"""Answers that must not tell by their time whether an address is known leave at ticks of a clock.

    looks_up(request)                       # in a view, before it looks an address up
    AtTheTick(WSGIMiddleware(django))       # in the process, around all views

Who waits is the event loop. One of the few threads that make pages would keep everybody else waiting, too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from django.http import HttpRequest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TICK_SECONDS = 0.5
_LOOKED_UP = "muniment.looked_up"
"""When, in the request's scope: it is of the process, and nothing of it is sent."""


def looks_up(request: HttpRequest) -> None:
    """From here on the answer takes a whole number of ticks.

    Known and unknown addresses take the same work; this hides what still differs.
    """
    scope = request.META.get("asgi.scope")
    if scope is not None:
        scope.setdefault(_LOOKED_UP, time.monotonic())


class AtTheTick:
    """Holds back answers of `app` that looked an address up, from the first byte on, until the next tick."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._app, self._clock, self._sleep = app, clock, sleep

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def in_time(message: Message) -> None:
            if message["type"] == "http.response.start" and _LOOKED_UP in scope:
                await self._sleep(TICK_SECONDS - (self._clock() - scope[_LOOKED_UP]) % TICK_SECONDS)
            await send(message)

        await self._app(scope, receive, in_time)
