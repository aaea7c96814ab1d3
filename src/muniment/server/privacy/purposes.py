"""What personal data is used for at this moment: nothing of it is readable without saying so.

    with purpose(Purpose.SERVICE_MAIL):
        ...

Every personal column lists purposes; a read succeeds only while one of them is open (`guard` puts that check
in front of each column). What is open is a fact of the call, not of the process: whoever begins a piece of
work says what it is for, at the edges and nowhere else.

    web page        `web.purposes`, beside the page's URL          timed work       `jobs.timetable`
    data plane      `dataplane.calls.Threads.run_domain`           admin command    above the command
    a person's own rows, the ledger, consent, mail: where these packages read them

`purpose` adds to what is open, `afresh` begins with nothing else. What answers people's rights reads whatever
is held: the law says so, and `Purpose.REQUESTS` is what it says. What the gate has decided to give away is
open to it by the names of those columns, to nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum


class Purpose(StrEnum):
    """Those of `statement.toml`; `check_registry` holds the two together."""

    SIGN_IN = "sign_in"
    BACKUP = "backup"
    METERING = "metering"
    CONTRACT = "contract"
    SERVICE_MAIL = "service_mail"
    SECURITY = "security"
    FRAUD = "fraud"
    ENFORCE_TERMS = "enforce_terms"
    REQUESTS = "requests"
    AGREEMENT = "agreement"
    ACCOUNTABILITY = "accountability"
    MINORS = "minors"
    LEGAL_ORDER = "legal_order"
    BREACH = "breach"
    PROTECT = "protect"
    SUCCESSION = "succession"
    TRANSACTIONS = "transactions"
    ANNOUNCEMENT = "announcement"
    PROMOTION = "promotion"
    SURVEY = "survey"
    ADVERTISE = "advertise"
    PERSONALISE = "personalise"
    DEMOGRAPHICS = "demographics"
    MEASURE_EMAIL = "measure_email"
    AFFILIATE_OFFERS = "affiliate_offers"
    CHANNEL_PARTNER = "channel_partner"
    NAMED_SHARING = "named_sharing"
    PREFERENCES = "preferences"
    VISITS = "visits"
    OPERATION = "operation"
    STATISTICS = "statistics"


class ReadWithoutPurpose(Exception):
    """A personal column was read though nothing that is open lists it. A fault of the program."""

    def __init__(self, column: str, *, opened: Collection[str]) -> None:
        super().__init__(f"{column} is read for {', '.join(sorted(opened)) or 'no purpose'}")
        self.column, self.opened = column, frozenset(opened)


_NOTHING: frozenset[str] = frozenset()
_OPEN: ContextVar[frozenset[str]] = ContextVar("muniment_purposes", default=_NOTHING)


@contextmanager
def purpose(*purposes: Purpose) -> Iterator[None]:
    """Personal columns that list one of these may be read, beside what is open already. Also a decorator."""
    with _opened(_OPEN.get().union(purposes)):
        yield


@contextmanager
def afresh(*purposes: Purpose) -> Iterator[None]:
    """A piece of work begins: these are open and nothing else, whatever was open before. Also a decorator."""
    with _opened(frozenset(purposes)):
        yield


@contextmanager
def decided(columns: Collection[str]) -> Iterator[None]:
    """Columns that the gate decided to give, by name (`accounts.Account.email`): they besides, no others."""
    with _opened(_OPEN.get().union(columns)):
        yield


@contextmanager
def _opened(everything: frozenset[str]) -> Iterator[None]:
    before = _OPEN.get()
    _OPEN.set(everything)
    try:
        yield
    finally:
        _OPEN.set(before)


def may_read(readers: frozenset[str]) -> bool:
    """Whether anything that is open is among `readers`."""
    return not _OPEN.get().isdisjoint(readers)


def refuse_read(column: str) -> None:
    """Raises ReadWithoutPurpose, always: asked only once `may_read` said no."""
    raise ReadWithoutPurpose(column, opened=_OPEN.get())
