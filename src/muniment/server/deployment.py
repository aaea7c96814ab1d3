"""The things every use case needs: configuration, objects, clock. Made once, by the composition root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from muniment.server.config import ServerConfig
from muniment.server.store.port import ObjectStore


@dataclass(frozen=True, slots=True)
class Deployment:
    config: ServerConfig
    objects: ObjectStore
    now: Callable[[], datetime]
    """The wall clock, in UTC."""
    url: str = ""
    """Where people reach the website, without a final slash: for links in mails."""


def utc_now() -> datetime:
    return datetime.now(UTC)  # house-rule: no-wall-clock, the one place where the server asks the time
