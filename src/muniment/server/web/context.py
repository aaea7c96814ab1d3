"""What views need of the process they run in: the deployment, and the time it is there.

Set once, by whoever composes the process. Views ask here and never the wall clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime

from muniment.server.deployment import Deployment
from muniment.server.web.hosts import url_under

_DEPLOYED: list[Deployment] = []
_ASKED: ContextVar[str] = ContextVar("muniment_asked_name", default="")
"""The name under which the page being made was asked for; empty in work that nobody asked for."""


class NotDeployed(LookupError):
    """No process has said what it serves."""


def deploy(deployment: Deployment) -> None:
    """Make this the deployment whose pages are served."""
    _DEPLOYED[:] = [deployment]


def deployment() -> Deployment:
    """The deployment being served. Raises NotDeployed."""
    if not _DEPLOYED:
        raise NotDeployed
    return _DEPLOYED[0]


def now() -> datetime:
    """The time, in UTC, as this deployment's clock has it. Raises NotDeployed."""
    return deployment().now()


@contextmanager
def asked_under(name: str) -> Iterator[None]:
    """Answer a request that came under this name of ours."""
    before = _ASKED.set(name)
    try:
        yield
    finally:
        _ASKED.reset(before)


def site_url() -> str:
    """Where people reach the website, without a final slash: under the name that whoever asks now used."""
    served = deployment()
    return url_under(_ASKED.get(), config=served.config, usual=served.url)
