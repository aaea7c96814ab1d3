"""The data plane as an ASGI application: the table of routes, each with its use case."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route as AsgiRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from muniment.server.dataplane.answers import answer, answer_refusal, refusal_for
from muniment.server.dataplane.calls import Call, Threads, parse_call, read_message
from muniment.server.dataplane.openapi import api_document
from muniment.server.dataplane.packs import SenderLeft, receive_pack, send_pack
from muniment.server.dataplane.request_log import LogRequests
from muniment.server.dataplane.use_cases import USE_CASES, UseCase, describe_server
from muniment.server.deployment import Deployment
from muniment.server.logs import SERVICE
from muniment.server.refusals import Refusal, malformed, not_found
from muniment.server.vaults.access import authenticate_device
from muniment.wire.errors import ErrorCode
from muniment.wire.messages import Message
from muniment.wire.routes import ROUTES, Auth, Route

Endpoint = Callable[[Request], Awaitable[Response]]
Streams = Callable[[Call, Route, Request, Threads], Awaitable[Response]]

_STREAMS: dict[str, Streams] = {"put_pack": receive_pack, "get_pack": send_pack}


def make_application(deployment: Deployment, threads: Threads, *, identity: bytes) -> ASGIApp:
    """The application, to be mounted at `messages.PREFIX`; `identity` is the server's public key."""
    use_cases: dict[str, UseCase] = {**USE_CASES, "server": describe_server(identity)}
    routes = []
    for route in ROUTES:
        if route.name == "openapi":
            endpoint = _document()
        elif route.name in _STREAMS:
            endpoint = _streaming(deployment, route, threads, _STREAMS[route.name])
        else:
            endpoint = _message(deployment, route, threads, use_cases[route.name])
        routes.append(AsgiRoute(route.path, endpoint, methods=[route.method], name=route.name))
    application = Starlette(routes=routes, exception_handlers={HTTPException: _no_such_route})
    return LogRequests(application)


def _message(deployment: Deployment, route: Route, threads: Threads, use_case: UseCase) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        call = parse_call(deployment, route, request)
        if route.request is None:
            reply = await threads.run_domain(_run, call, route, use_case)
        else:
            # Nobody unknown gets to send us a body: access first, then the message.
            call = await threads.run_domain(_authenticate, call, route)
            message = await read_message(request, route, deployment.config)
            reply = await threads.run_domain(_answer, call, use_case, message)
        return answer(reply, status=route.status)

    return _guarded(endpoint, route)


def _streaming(deployment: Deployment, route: Route, threads: Threads, stream: Streams) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return await stream(parse_call(deployment, route, request), route, request, threads)

    return _guarded(endpoint, route)


def _document() -> Endpoint:
    text = api_document().encode()

    async def endpoint(request: Request) -> Response:  # noqa: ARG001
        return Response(text, media_type="application/json")

    return endpoint


def _authenticate(call: Call, route: Route) -> Call:
    if route.auth is not Auth.NONE and "vault" not in call.path:
        authenticate_device(call.token)
    return dataclasses.replace(call, access=call.authenticated(route))


def _run(call: Call, route: Route, use_case: UseCase) -> Message | None:
    return use_case(_authenticate(call, route))


def _answer(call: Call, use_case: UseCase, message: Message | None) -> Message | None:
    return use_case(dataclasses.replace(call, body=message))


def _guarded(endpoint: Endpoint, route: Route) -> Endpoint:
    """Every failure becomes an answer out of one table; what we did not foresee is logged with its places."""

    async def guarded(request: Request) -> Response:
        request.scope["muniment.route"] = f"{route.method} {route.path}"
        try:
            return await endpoint(request)
        except (SenderLeft, ClientDisconnect):
            request.scope["muniment.code"] = "sender_left"
            # It may only have fallen silent: the rest of its body is not waited for.
            return Response(status_code=499, headers={"connection": "close"})
        except Exception as error:
            refusal = refusal_for(error)
            request.scope["muniment.code"] = refusal.code.value
            if not isinstance(error, Refusal):
                SERVICE.warning("failed", exc_info=error, extra={"code": refusal.code.value})
            return answer_refusal(refusal)

    return guarded


async def _no_such_route(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    refusal = malformed("the route does not take this method") if status == 405 else not_found("route")
    request.scope["muniment.code"] = refusal.code.value
    return answer_refusal(refusal)


async def refuse_protocol(scope: Scope, receive: Receive, send: Send) -> None:
    """For `/dp/v2/…` and whatever else is not the protocol spoken here."""
    refusal = Refusal(
        ErrorCode.UNSUPPORTED,
        "the server speaks another version of the protocol",
        advice="Install the version of muniment that the server runs.",
    )
    await answer_refusal(refusal)(scope, receive, send)
