"""One request as the use cases see it: parsed, authenticated, typed. And the JSON edge around them."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from django.db import close_old_connections
from starlette.requests import ClientDisconnect, Request

from muniment.server.config import ServerConfig
from muniment.server.deployment import Deployment
from muniment.server.privacy.purposes import Purpose, afresh
from muniment.server.refusals import malformed
from muniment.server.vaults.access import Access, open_vault
from muniment.wire.messages import Message
from muniment.wire.routes import Auth, Kind, Parameter, Route

R = TypeVar("R")

_FOR = (Purpose.BACKUP, Purpose.METERING, Purpose.SIGN_IN, Purpose.SECURITY)
"""What devices call for."""
LARGEST_BODY = 1 << 20
LARGEST_COMMIT = 16 << 20
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Threads:
    """Where blocking work runs. Database and byte work wait for different things, so not in one queue."""

    domain: ThreadPoolExecutor
    disk: ThreadPoolExecutor

    @classmethod
    def start(cls, *, domain: int, disk: int) -> Threads:
        return cls(ThreadPoolExecutor(domain, "domain"), ThreadPoolExecutor(disk, "disk"))

    def stop(self) -> None:
        self.domain.shutdown(wait=True, cancel_futures=True)
        self.disk.shutdown(wait=True, cancel_futures=True)

    async def run_domain(self, call: Callable[..., R], /, *args: Any, **named: Any) -> R:
        return await asyncio.get_running_loop().run_in_executor(
            self.domain, functools.partial(_on_sound_connection, call, *args, **named)
        )

    async def run_disk(self, call: Callable[..., R], /, *args: Any) -> R:
        return await asyncio.get_running_loop().run_in_executor(self.disk, functools.partial(call, *args))


def _on_sound_connection(call: Callable[..., R], /, *args: Any, **named: Any) -> R:
    """A connection that failed the call before is asked whether it still works, and made anew if not.

    Django does so between its own requests; these threads never see one of those.
    """
    close_old_connections()
    with afresh(*_FOR):
        return call(*args, **named)


@dataclass(frozen=True, slots=True)
class Call:
    """`path`, `query` and `headers` hold what the route declares, already of the declared form."""

    deployment: Deployment
    token: str | None
    path: dict[str, str]
    query: dict[str, str | int]
    headers: dict[str, str]
    access: Access | None = None
    body: Message | None = None

    def ref(self, name: str) -> UUID:
        return UUID(hex=self.path[name])

    def number(self, name: str, *, default: int) -> int:
        return int(self.query.get(name, default))

    @property
    def at_vault(self) -> Access:
        if self.access is None:
            raise RuntimeError("the route has no vault")
        return self.access

    def authenticated(self, route: Route) -> Access | None:
        """Access to the vault in the path; None where the route has none."""
        if route.auth is Auth.NONE or "vault" not in self.path:
            return None
        return open_vault(self.token, self.ref("vault"), auth=route.auth, now=self.deployment.now())


def parse_call(deployment: Deployment, route: Route, request: Request) -> Call:
    """Check form and presence of every parameter that the route declares, and that there are no others."""
    path = {name: _checked_path(name, value) for name, value in request.path_params.items()}
    declared = {parameter.name for parameter in route.query}
    given = request.query_params.multi_items()
    if len(dict(given)) != len(given) or not declared.issuperset(name for name, _ in given):
        raise malformed("an unknown or repeated query parameter")
    query = {
        parameter.name: _checked(parameter, value)
        for parameter in route.query
        if (value := _present(parameter, request.query_params.get(parameter.name))) is not None
    }
    headers = {
        parameter.name: str(_checked(parameter, value))
        for parameter in route.headers
        if (value := _present(parameter, request.headers.get(parameter.name))) is not None
    }
    return Call(deployment, _bearer(request), path, query, headers)


def _bearer(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def _present(parameter: Parameter, value: str | None) -> str | None:
    if value is None and parameter.required:
        raise malformed(f"{parameter.name} is missing")
    return value


def _checked_path(name: str, value: str) -> str:
    return _hexadecimal(name, value, digits=64 if name == "snapshot" else 32)


def _checked(parameter: Parameter, value: str) -> str | int:
    match parameter.kind:
        case Kind.ID:
            return _hexadecimal(parameter.name, value, digits=32)
        case Kind.SNAPSHOT | Kind.DIGEST:
            return _hexadecimal(parameter.name, value, digits=64)
        case Kind.NUMBER:
            if not (
                value.isascii() and value.isdigit() and len(value) < 20 and int(value) <= parameter.maximum
            ):
                raise malformed(f"{parameter.name} is not a number up to {parameter.maximum}")
            return int(value)


def _hexadecimal(name: str, value: str, *, digits: int) -> str:
    if len(value) != digits or not _HEX.issuperset(value):
        raise malformed(f"{name} is not {digits} lower-case hexadecimal digits")
    return value


async def read_message(request: Request, route: Route, config: ServerConfig) -> Message | None:
    """The decoded body. Unknown fields, wrong types and oversize are MALFORMED.

    A sender who takes too long over it has left: ClientDisconnect.
    """
    if route.request is None:
        return None
    limit = LARGEST_COMMIT if route.name == "commit" else LARGEST_BODY
    declared = request.headers.get("content-length", "0")
    if not declared.isdigit() or int(declared) > limit:
        raise malformed(f"the body is larger than {limit} bytes")
    pieces, total = [], 0
    try:
        async with asyncio.timeout(config.stranger_stall if route.auth is Auth.NONE else config.stall):
            async for piece in request.stream():
                total += len(piece)
                if total > limit:
                    raise malformed(f"the body is larger than {limit} bytes")
                pieces.append(piece)
    except TimeoutError:
        raise ClientDisconnect from None
    try:
        return msgspec.json.decode(b"".join(pieces), type=route.request)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise malformed(f"the message does not parse: {error}") from error
