"""The browsers an account is signed in with: list them, end them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from muniment.server.accounts.models import Account, SecurityEvent, WebSession
from muniment.server.accounts.security_log import note
from muniment.server.accounts.sessions import is_signed_in, session_hash
from muniment.server.accounts.visits import Visit
from muniment.server.transactions import writing

_SEEN_EVERY = timedelta(minutes=5)


class NoSuchSession(LookupError):
    """It is somebody else's, or ended already."""


@dataclass(frozen=True, slots=True)
class OpenSession:
    ref: UUID
    made_at: datetime
    seen_at: datetime
    network: str
    browser: str
    is_this: bool


def open_sessions(account: Account, *, current_key: str | None, now: datetime) -> list[OpenSession]:
    """Newest first; `current_key` is the cookie of who asks."""
    mine = session_hash(current_key or "")
    rows = WebSession.objects.filter(account=account, expire_date__gt=now).order_by("-seen_at")
    return [
        OpenSession(row.ref, row.made_at, row.seen_at, row.network, row.browser, row.session_key == mine)
        for row in rows
        if is_signed_in(row)
    ]


def see_session(key: str, visit: Visit, *, now: datetime) -> None:
    """Note where a signed-in browser is: at once where that is new, else every five minutes."""
    row = WebSession.objects.filter(session_key=session_hash(key))
    late = row.exclude(seen_at__gt=now - _SEEN_EVERY, network=visit.address.network, browser=visit.browser)
    if late.exists():  # looking keeps nobody from writing
        with writing():
            row.update(seen_at=now, network=visit.address.network, browser=visit.browser)


def end_session(account: Account, ref: UUID, *, visit: Visit, now: datetime) -> None:
    """Sign that browser out. Raises NoSuchSession."""
    with writing():
        ended, _ = WebSession.objects.filter(account=account, ref=ref).delete()
        if not ended:
            raise NoSuchSession
        note(SecurityEvent.Kind.SESSION_ENDED, account=account, visit=visit, now=now)


def end_other_sessions(account: Account, *, current_key: str | None, visit: Visit, now: datetime) -> int:
    """Sign every other browser out; returns how many."""
    with writing():
        others = WebSession.objects.filter(account=account).exclude(
            session_key=session_hash(current_key or "")
        )
        ended, _ = others.delete()
        if ended:
            note(SecurityEvent.Kind.SESSION_ENDED, account=account, visit=visit, now=now)
    return ended


def forget_ended_sessions(*, now: datetime) -> int:
    """Delete rows whose two weeks are over, signed in or not; returns how many."""
    with writing():
        forgotten, _ = WebSession.objects.filter(expire_date__lte=now).delete()
    return forgotten
