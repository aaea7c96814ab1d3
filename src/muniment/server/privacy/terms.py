"""The words that a statement is made of: purposes, recipients, cookies, periods, clauses.

Each class is one kind of table of `statement.toml`; `statement.read_statement` makes them. They compare by
value, so that two versions of a statement can be compared part by part (`versions.materiality`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum


class StatementBroken(Exception):
    """The statement's files contradict themselves; `complaints` says where."""

    def __init__(self, complaints: list[str]) -> None:
        super().__init__("; ".join(complaints))
        self.complaints = complaints


class StatementRefused(Exception):
    """This release may not serve with its statement; the text says why."""


class RecipientsRefused(Exception):
    """The operator's own recipients cannot be what they are said to be; `complaints` says where and why."""

    def __init__(self, complaints: list[str]) -> None:
        super().__init__("\n".join(complaints))
        self.complaints = complaints


class Basis(StrEnum):
    """Why a purpose is lawful (GDPR, article 6)."""

    CONTRACT = "contract"
    CONSENT = "consent"
    LEGAL_OBLIGATION = "legal obligation"
    LEGITIMATE_INTEREST = "legitimate interest"


class RecipientKind(StrEnum):
    AFFILIATE = "affiliate"
    PROCESSOR = "processor"
    CHANNEL_PARTNER = "channel_partner"
    AUTHORITY = "authority"
    PURCHASER = "purchaser"
    ADVERTISING_PARTNER = "advertising_partner"


class MessageClass(StrEnum):
    """What a mail is for: only service mail goes to people who did not ask for it."""

    SERVICE = "service"
    ANNOUNCEMENT = "announcement"
    PROMOTION = "promotion"
    SURVEY = "survey"


class Modality(StrEnum):
    NEVER = "N"
    MUST = "M"
    CEILING = "C"
    """"May": off by default, works when switched on, never exceeded."""
    TOLD = "T"
    DISCLAIMER = "X"

    @property
    def word(self) -> str:
        return self.name.lower()


class ClauseState(StrEnum):
    ENFORCED = "enforced"
    PLANNED = "planned"
    """Promised or permitted, and not built yet: what the clause permits does not happen."""
    NONE = "none"
    """No code can enforce it; the reason says why."""


class Aspect(StrEnum):
    """What one test shows of a clause. Ceilings need the last three, every other clause the first."""

    HOLDS = "holds"
    OFF = "off"
    ALLOWED = "allowed"
    BEYOND = "beyond"


CEILING_ASPECTS = (Aspect.OFF, Aspect.ALLOWED, Aspect.BEYOND)


@dataclass(frozen=True, slots=True)
class Purpose:
    name: str
    text: str
    basis: Basis
    categories: frozenset[str] = frozenset()
    """Categories of personal data that the purpose may use."""
    balance: str = ""
    """Of a legitimate interest: why it outweighs what the person might mind."""
    gpc: bool = False
    """Global Privacy Control refuses it: it sells or shares what concerns somebody, or follows them."""
    ask: str = ""
    """Of a consent: the question that a person is asked."""


@dataclass(frozen=True, slots=True)
class Category:
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Period:
    name: str
    text: str
    ends: str
    """The event that ends it, or from which `days` are counted."""
    days: int | None = None


@dataclass(frozen=True, slots=True)
class Recipient:
    """Somebody outside who may be sent personal data, and how little of it."""

    name: str
    title: str
    kind: RecipientKind
    purposes: frozenset[str]
    fields: frozenset[str]
    """`accounts.Account.email` and the like."""
    country: str
    contract: str
    expires: date | None
    reviewed: date | None
    transfer_basis: str = ""
    origins: frozenset[str] = frozenset()
    """Web origins that pages may load from it: what the content security policy is made of."""
    begins: date | None = None
    """First day of the contract; None: it began before anybody asked."""
    contact: str = ""
    hosts: frozenset[str] = frozenset()
    """`host:port` of what this server itself connects to: what a firewall has to let out."""


@dataclass(frozen=True, slots=True)
class Cookie:
    name: str
    text: str
    purpose: str
    essential: bool
    days: int | None
    """None: until the browser is closed."""


@dataclass(frozen=True, slots=True)
class Beacon:
    name: str
    text: str
    owner: str
    purpose: str
    expires: date


@dataclass(frozen=True, slots=True)
class Message:
    """A class of mail, its purpose, and whether somebody must have asked for it."""

    name: MessageClass
    text: str
    purpose: str
    opt_in: bool


@dataclass(frozen=True, slots=True)
class Jurisdiction:
    """`code` is an ISO 3166 country (`US`), `EU` for any member not listed, or `*` for everywhere else."""

    code: str
    consent_age: int
    """From here on people decide for themselves what is done with data about them."""
    adult_age: int
    source: str
    authority: str = ""
    """To whom people there may complain."""


@dataclass(frozen=True, slots=True)
class Region:
    """Where a deployment keeps what it holds; `current` marks this one's declaration."""

    name: str
    text: str
    country: str


@dataclass(frozen=True, slots=True)
class Clause:
    """One promise or permission, and what holds it."""

    id: str
    modality: Modality
    topic: str
    state: ClauseState
    enforce: str = ""
    """Dotted path of the one function without which the clause would not hold."""
    records: frozenset[str] = frozenset()
    """Kinds of ledger entries that prove it."""
    reason: str = ""
    """Of a clause that is planned or cannot be enforced."""
    figure: str = ""
    """The live figure that the proof page shows beside it; see `proof.FIGURES`."""

    @property
    def is_specified(self) -> bool:
        """Whether it answers a sentence of the statement that ours is compared with."""
        return self.id.startswith("P")

    @property
    def aspects(self) -> tuple[Aspect, ...]:
        """What passing tests must show."""
        if self.state is not ClauseState.ENFORCED:
            return ()
        return CEILING_ASPECTS if self.modality is Modality.CEILING else (Aspect.HOLDS,)
