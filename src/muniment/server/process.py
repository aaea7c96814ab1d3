"""The server as one process: the data plane on the event loop, Django in threads beside it."""

from __future__ import annotations

import resource
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

import uvicorn
from a2wsgi import WSGIMiddleware
from django.core.wsgi import get_wsgi_application
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from muniment.server.config import ServerConfig
from muniment.server.connection import MOST_OF_ONE, Crowd, guarded
from muniment.server.dataplane.application import make_application, refuse_protocol
from muniment.server.dataplane.calls import Threads
from muniment.server.deployment import Deployment
from muniment.server.jobs.runner import Runner
from muniment.server.jobs.timetable import TIMETABLE
from muniment.server.web.context import deploy
from muniment.server.web.gathering import GatheredBodies
from muniment.server.web.proxies import FromProxies
from muniment.server.web.timing import AtTheTick
from muniment.wire.messages import PREFIX

_STOP_SECONDS = 1
_WEBSITE_THREADS = 8


def make_service(deployment: Deployment, *, identity: bytes) -> Starlette:
    """Everything the process answers: `/dp/v1`, and Django for the rest."""
    threads = Threads.start(domain=deployment.config.domain_threads, disk=deployment.config.disk_threads)
    runner = Runner(deployment, TIMETABLE)
    deploy(deployment)

    @asynccontextmanager
    async def lifespan(service: Starlette) -> AsyncIterator[None]:  # noqa: ARG001
        runner.start()
        yield
        runner.stop(seconds=_STOP_SECONDS)
        threads.stop()

    return Starlette(
        lifespan=lifespan,
        routes=[
            Mount(PREFIX, app=make_application(deployment, threads, identity=identity)),
            Mount("/dp", app=refuse_protocol),
            Mount("/", app=_website(deployment.config)),
        ],
    )


def _website(config: ServerConfig) -> ASGIApp:
    # Both libraries type the same two interfaces in their own words.
    django_application: Any = get_wsgi_application()
    adapted: Any = WSGIMiddleware(django_application, workers=_WEBSITE_THREADS)
    timed = AtTheTick(cast(ASGIApp, adapted))
    gathered = GatheredBodies(timed, most=config.form_size, seconds=config.stranger_stall)
    return FromProxies(gathered, trusted=config.trusted_proxies)


class _Server(uvicorn.Server):
    """Says when it is ready, and ends with its own exit code instead of raising the signal again."""

    def __init__(self, config: uvicorn.Config, *, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._announce()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            yield
            self._captured_signals.clear()


def listen(config: ServerConfig) -> socket.socket:
    """A socket bound as configured; port 0 takes a free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((config.host, config.port))
    except BaseException:
        listener.close()
        raise
    return listener


def url_of(config: ServerConfig, listener: socket.socket) -> str:
    """Where clients reach it, as far as it knows."""
    host = "localhost" if config.host in ("0.0.0.0", "::") else config.host
    host = f"[{host}]" if ":" in host else host
    scheme = "http" if config.tls.value == "off" else "https"
    return f"{scheme}://{host}:{listener.getsockname()[1]}"


def _raise_descriptors() -> int:
    """Each connection is a descriptor, and systems give processes a thousand unless asked for more."""
    few, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (OSError, ValueError):
        return few
    return most


def run_service(
    service: Starlette,
    listener: socket.socket,
    config: ServerConfig,
    *,
    certificate: tuple[Path, Path] | None,
    announce: Callable[[], None],
) -> None:
    """Serve until SIGTERM or SIGINT; then finish what is acknowledged within about a second."""
    crowd = Crowd(
        most_of_one=None if config.trusted_proxies else MOST_OF_ONE, descriptors=_raise_descriptors()
    )
    served = uvicorn.Config(
        service,
        http=guarded(crowd, head_seconds=config.stranger_stall),
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
        timeout_keep_alive=75,
        ssl_certfile=None if certificate is None else str(certificate[0]),
        ssl_keyfile=None if certificate is None else str(certificate[1]),
    )
    _Server(served, announce=announce).run(sockets=[listener])
