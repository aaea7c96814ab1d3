"""What views need of the process they run in: the deployment, and the time it is there.

Set once, by whoever composes the process. Views ask here and never the wall clock.
"""

from __future__ import annotations

from datetime import datetime

from muniment.server.deployment import Deployment

_DEPLOYED: list[Deployment] = []


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
