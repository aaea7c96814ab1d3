"""The security log: who signed in or failed to, whence, and what changed about signing in.

Used to notice guessing and to show owners what happened to their account; nothing else reads it. The whole
address is in it for thirty days at most, its truncated form for as long as the entry.
"""

from __future__ import annotations

from datetime import datetime

from muniment.server.accounts.models import Account, SecurityEvent
from muniment.server.accounts.visits import Visit


def note(
    kind: SecurityEvent.Kind, *, account: Account | None, visit: Visit, now: datetime, method: str = ""
) -> None:
    """Add an entry; `account` is None where an address without one was tried."""
    SecurityEvent.objects.create(
        account=account,
        at=now,
        kind=kind,
        method=method,
        address=visit.address.for_security_log(),
        network=visit.address.network,
        browser=visit.browser,
    )


def recent_events(account: Account, *, limit: int = 50) -> list[SecurityEvent]:
    """Newest first."""
    return list(SecurityEvent.objects.filter(account=account).order_by("-at", "-id")[:limit])


def is_known_browser(account: Account, visit: Visit) -> bool:
    """Whether the account signed in from this network and browser before, or never at all.

    Of others its owner is told by mail.
    """
    before = SecurityEvent.objects.filter(account=account, kind=SecurityEvent.Kind.SIGNED_IN)
    return not before.exists() or before.filter(network=visit.address.network, browser=visit.browser).exists()
