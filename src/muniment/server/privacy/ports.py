"""What the rest of the server tells the privacy package, which imports none of it.

Apps register in `AppConfig.ready`. An eraser deletes what rows alone cannot: objects, files. A corrector
knows which columns people may change themselves, and how. A notifier tells people what became of a request.
A listener hears each new yes, for what else stood in its way. Where a period ends whole accounts, whoever
deletes them says which are due.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Protocol

from muniment.server.deployment import Deployment


class Eraser(Protocol):
    """Deletes what an app holds of a person beyond rows."""

    name: str

    def erase(self, deployment: Deployment, account: int) -> Mapping[str, int]:
        """Counts of what was deleted, over all runs. Repeatable; raises where it is to be tried again."""


class Corrector(Protocol):
    def correct(self, account: int, changes: Mapping[str, str], *, now: datetime) -> None:
        """Change the account's own fields. Inside `writing()`. ValueError says what cannot be."""


class Told(Enum):
    """What a person is told about a request."""

    VERIFY = "verify"
    RECEIVED = "received"
    REFUSED = "refused"
    DONE = "done"
    TAKEN_BACK = "taken_back"
    ERASED = "erased"
    DISCLOSED = "disclosed"
    SUCCESSION = "succession"
    BREACHED = "breached"


class Notifier(Protocol):
    def notify(self, what: Told, *, email: str, about: Mapping[str, Any], now: datetime) -> None:
        """Queue a service mail. Inside `writing()`: told only if it happened."""


class GrantListener(Protocol):
    def granted(self, account: Any, purpose: str) -> None:
        """The account just said yes to the purpose. Inside `writing()`, in the transaction of the yes."""


class Late(Protocol):
    def __call__(self, now: datetime) -> Any:
        """The accounts, as a query, whose period is over."""


_ERASERS: dict[str, Eraser] = {}
_CORRECTORS: list[Corrector] = []
_NOTIFIERS: list[Notifier] = []
_GRANT_LISTENERS: list[GrantListener] = []
_LATE: dict[str, Late] = {}


def register_eraser(eraser: Eraser) -> None:
    _ERASERS[eraser.name] = eraser


def register_corrector(corrector: Corrector) -> None:
    _CORRECTORS[:] = [corrector]


def register_notifier(notifier: Notifier) -> None:
    _NOTIFIERS[:] = [notifier]


def register_grant_listener(listener: GrantListener) -> None:
    _GRANT_LISTENERS[:] = [listener]


def register_late(period: str, late: Late) -> None:
    _LATE[period] = late


def late_accounts() -> Mapping[str, Late]:
    """By the period that ends them."""
    return _LATE


def erasers() -> list[Eraser]:
    return list(_ERASERS.values())


def correct(account: int, changes: Mapping[str, str], *, now: datetime) -> None:
    for corrector in _CORRECTORS:
        corrector.correct(account, changes, now=now)


def notify(what: Told, *, email: str, about: Mapping[str, Any], now: datetime) -> None:
    for notifier in _NOTIFIERS:
        if email:
            notifier.notify(what, email=email, about=about, now=now)


def announce_grant(account: Any, purpose: str) -> None:
    for listener in _GRANT_LISTENERS:
        listener.granted(account, purpose)
