"""Cookies and the choice about them: what may be set and read, and what an answer to the first layer means.

The table of the statement is all there is: what it does not list is never set, and what it does not call
essential only after a yes to its purpose.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from muniment.server.privacy.consent.choices import Subject, choose, last_said
from muniment.server.privacy.consent.effect import Consents, State
from muniment.server.privacy.consent.notices import notice_for
from muniment.server.privacy.statement import Statement, read_statement
from muniment.server.privacy.terms import Purpose
from muniment.server.transactions import writing

TOKEN_SIZE = 16
_YES, _NO = "yes.", "no"


class Asked(Enum):
    """Whether the first layer of a page has to ask."""

    YES = "yes"
    ANSWERED = "answered"


@dataclass(frozen=True, slots=True)
class BrowserChoice:
    """What the cookie `cookie_choice` says. A no is the same for everybody; a yes carries a random number."""

    was_made: bool = False
    token: bytes | None = None

    @classmethod
    def parse(cls, text: str) -> BrowserChoice:
        """Whatever is not of our making counts as no choice at all."""
        if text == _NO:
            return cls(was_made=True)
        number = text.removeprefix(_YES)
        if number == text or len(number) != 2 * TOKEN_SIZE or number.strip("0123456789abcdef"):
            return cls()
        return cls(was_made=True, token=bytes.fromhex(number))

    def text(self) -> str:
        return _NO if self.token is None else _YES + self.token.hex()


def may_set(name: str, statement: Statement, consents: Consents, *, gpc: bool) -> bool:
    """Whether the cookie is in the table and, unless essential, somebody said yes to what it is for."""
    cookie = statement.cookies.get(name)
    return cookie is not None and (cookie.essential or consents.allows(cookie.purpose, gpc=gpc))


def longest_life(name: str, statement: Statement) -> int | None:
    """In seconds, as the table says; None: until the browser is closed."""
    days = statement.cookies[name].days
    return None if days is None else days * 24 * 3600


def optional_purposes(statement: Statement) -> tuple[Purpose, ...]:
    """What our own beacons and the cookies that are not essential are for: what the first layer asks."""
    names = dict.fromkeys(cookie.purpose for cookie in statement.cookies.values() if not cookie.essential)
    names |= dict.fromkeys(beacon.purpose for beacon in statement.beacons.values() if beacon.owner == "us")
    return tuple(statement.purposes[name] for name in names)


def is_to_ask(subject: Subject, choice: BrowserChoice, *, gpc: bool) -> Asked:
    """Ask once. Where the browser's own signal answers everything, there is nothing to ask."""
    open_purposes = [purpose for purpose in optional_purposes(read_statement()) if not (gpc and purpose.gpc)]
    if not open_purposes:
        return Asked.ANSWERED
    if subject.account is None:
        return Asked.ANSWERED if choice.was_made else Asked.YES
    said = last_said(subject)
    answered = choice.was_made or all((purpose.name, "") in said for purpose in open_purposes)
    return Asked.ANSWERED if answered else Asked.YES


def answer_cookies(
    subject: Subject, allowed: Collection[str], *, gpc: bool, method: str, now: datetime
) -> BrowserChoice:
    """Keep a yes to the purposes in `allowed` and a no to the others; returns what the cookie is to say.

    A browser that says no to everything gets no number, and nothing is kept about it but what it said before:
    a no needs keeping only where it takes a yes back. So whoever invents numbers can fill nothing with them.
    """
    purposes = optional_purposes(read_statement())
    agreed = {purpose.name for purpose in purposes} & set(allowed)
    token = subject.browser
    if subject.account is None:
        if not agreed and not _said_yes(subject):
            return BrowserChoice(was_made=True)
        token = token or secrets.token_bytes(TOKEN_SIZE)
    who = Subject(subject.account, token)
    with writing():
        for purpose in purposes:
            notice = notice_for(purpose, gpc=gpc)
            state = State.GRANTED if purpose.name in agreed else State.DENIED
            choose(
                who,
                purpose.name,
                state,
                notice=notice,
                method=method,
                now=now,
                mentions_gpc=notice.mentions_gpc,
            )
    return BrowserChoice(was_made=True, token=token if agreed and subject.account is None else None)


def _said_yes(subject: Subject) -> bool:
    return State.GRANTED in last_said(subject).values()
