"""What happens to a breach: entered, judged, told to the authority and to people, closed with an outcome.

    entered ──judge──▶ unlikely to harm ──────────────────────────────────▶ closed
       │               may harm people ──report──────────────────────────▶ closed
       │               likely to harm badly ──report──▶ each person told ──▶ closed
       └──alarms after 24 and 48 hours, until the authority was told or nobody is likely to be harmed

The clock of 72 hours begins when one of us noticed it, whenever it is entered, and never stops. Telling the
authority is a person's act, with the text that `notice` makes; telling people is the program's, by
`advance_breaches`. Each step is one transaction with its ledger entry.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.contrib.auth import get_user_model
from django.db.models import Count, Q, QuerySet

from muniment.server.deployment import Deployment
from muniment.server.privacy.breaches.models import CLOCK, Affected, Breach, Risk
from muniment.server.privacy.ledger.entries import record
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.ledger.leaves import Json
from muniment.server.privacy.ports import Told, notify
from muniment.server.privacy.proof import Figure
from muniment.server.privacy.purposes import Purpose, purpose
from muniment.server.privacy.statement import read_statement
from muniment.server.transactions import writing

ALARM_HOURS = (24, 48)
"""Hours after noticing at which staff are told that the authority was not told yet."""
_CLAUSE = "A4"
_AT_ONCE = 20
_DID = {
    "entered_by": "Entered",
    "judged_by": "Judged",
    "reported_by": "Told the authority",
    "closed_by": "Closed",
}


class NoSuchBreach(LookupError):
    """There is none, or it is closed."""


class NotYet(Exception):
    """It cannot be closed: the text says what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is known when a breach is entered. `people` are addresses of accounts. Both can become more."""

    happened: str
    noticed_at: datetime
    categories: frozenset[str]
    people: frozenset[str] = frozenset()
    everybody: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """One breach, with numbers of people: who they are is nobody's business here."""

    breach: Breach
    people: int
    told: int
    is_late: bool
    """No authority was told in 72 hours, and nobody judged that none need be."""
    alarm: int
    """The hour of its last alarm; 0 where none went off."""
    did: tuple[tuple[str, str], ...]
    """What staff did, and who: for staff alone."""


@purpose(Purpose.BREACH)
def enter(found: Found, *, now: datetime, by: Any = None) -> UUID:
    """ValueError: it lacks something, was noticed in the future, or an address has no account."""
    if not found.happened.strip() or not found.categories:
        raise ValueError("say what happened, and to which kinds of data")
    if found.noticed_at > now:
        raise ValueError("it was noticed before now")
    with writing():
        row = Breach.objects.create(
            ref=uuid4(), happened=found.happened.strip(), opened_at=now, everybody=found.everybody,
            categories=_declared(found.categories), noticed=int(found.noticed_at.timestamp()),
            due=int((found.noticed_at + CLOCK).timestamp()), entered_by=by,
        )  # fmt: skip
        _affect(row, found.people)
        _record(Kind.BREACH_ENTERED, row, now=now, noticed_at=row.noticed_at.isoformat())
    return row.ref


@purpose(Purpose.BREACH)
def widen(
    ref: UUID,
    *,
    now: datetime,
    people: Collection[str] = (),
    everybody: bool = False,
    categories: Collection[str] = (),
) -> None:
    """More came to light. Raises NoSuchBreach; ValueError: no such account, or kind of data."""
    with writing():
        row = _open_row(ref)
        row.everybody = row.everybody or everybody
        row.categories = _declared({*row.categories, *categories})
        row.told_at = None
        row.save(update_fields=["everybody", "categories", "told_at"])
        _affect(row, people)
        _record(Kind.BREACH_WIDENED, row, now=now)


@purpose(Purpose.BREACH)
def judge(ref: UUID, risk: Risk, *, consequences: str, measures: str, now: datetime, by: Any = None) -> None:
    """What it may do to people, and what is done about it; both stand in what they and the authority get.

    Raises NoSuchBreach; ValueError: something is not said, or nobody knows yet whom to tell.
    """
    if risk is Risk.UNJUDGED or not consequences.strip() or not measures.strip():
        raise ValueError("say how likely harm is, what may come of it, and what is done about it")
    with writing():
        row = _open_row(ref)
        if risk is Risk.HIGH and not row.everybody and not row.affected.exists():
            raise ValueError("say first whose data it is: these people are written to")
        row.risk, row.consequences, row.measures = risk, consequences.strip(), measures.strip()
        row.judged_by = by
        row.save(update_fields=["risk", "consequences", "measures", "judged_by"])
        _record(Kind.BREACH_JUDGED, row, now=now, risk=risk.value)


@purpose(Purpose.BREACH)
def report(
    ref: UUID, *, authority: str, at: datetime, now: datetime, why_late: str = "", by: Any = None
) -> None:
    """Somebody of us told the authority at that time. Once. Raises NoSuchBreach, ValueError."""
    with writing():
        row = _open_row(ref)
        if row.reported is not None:
            raise ValueError("the authority was told already")
        if not authority.strip() or not row.noticed_at <= at <= now:
            raise ValueError("say which authority, and when it was told: after it was noticed, before now")
        if at > row.due_at and not why_late.strip():
            raise ValueError("it was told after 72 hours: say why")
        row.reported, row.authority, row.why_late = int(at.timestamp()), authority.strip(), why_late.strip()
        row.reported_by = by
        row.save(update_fields=["reported", "authority", "why_late", "reported_by"])
        _record(
            Kind.BREACH_REPORTED, row, now=now, authority=row.authority, at=at.isoformat(),
            why_late=row.why_late,
        )  # fmt: skip


@purpose(Purpose.BREACH)
def close(ref: UUID, *, outcome: str, now: datetime, by: Any = None) -> None:
    """Raises NoSuchBreach; NotYet; ValueError: no outcome."""
    if not outcome.strip():
        raise ValueError("say what came of it")
    with writing():
        row = _open_row(ref)
        check_told(row)
        row.outcome, row.closed_at, row.closed_by = outcome.strip(), now, by
        row.save(update_fields=["outcome", "closed_at", "closed_by"])
        _record(Kind.BREACH_CLOSED, row, now=now, outcome=row.outcome)


def check_told(row: Breach) -> None:
    """Raises NotYet while somebody has to be told of it and was not."""
    if row.risk == Risk.UNJUDGED:
        raise NotYet("judge first what it may do to people")
    if row.risk != Risk.NONE and row.reported is None:
        raise NotYet("the authority has to be told first")
    if row.risk == Risk.HIGH and row.told_at is None:
        raise NotYet("the people whose data it is are being written to")


def advance_breaches(*, now: datetime) -> int:
    """Alarms, and mails to whoever has to be told; returns how many people were."""
    told = 0
    for row in Breach.objects.filter(closed_at=None).order_by("due"):
        _raise_alarms(row, now=now)
        while row.risk == Risk.HIGH and (batch := _tell_batch(row.pk, now=now)):
            told += batch
    return told


def people_wait(deployment: Deployment) -> bool:  # noqa: ARG001 the row says it all
    """Whether anybody is to be written to: without delay, not at the next round."""
    return Breach.objects.filter(closed_at=None, risk=Risk.HIGH, told_at=None).exists()


@purpose(Purpose.BREACH, Purpose.SERVICE_MAIL)
def read_register(*, now: datetime) -> list[Seen]:
    """Open ones first, the most urgent first; then those that are closed, the newest first."""
    written_to = Count("affected", filter=Q(affected__told_at__isnull=False))
    rows = Breach.objects.select_related(*_DID).annotate(people=Count("affected"), told=written_to)
    found = [
        *rows.filter(closed_at=None).order_by("due"),
        *rows.exclude(closed_at=None).order_by("-closed_at"),
    ]
    return [_seen(row, now=now) for row in found]


def count_late(now: datetime) -> Figure:
    """For the proof page."""
    return Figure(
        Breach.objects.filter(_is_late(now)).count(), "breaches that no authority was told of in 72 hours"
    )


def _is_late(now: datetime) -> Q:
    return Q(due__lte=int(now.timestamp()), reported=None) & ~Q(risk=Risk.NONE)


def _seen(row: Any, *, now: datetime) -> Seen:
    alarm = ALARM_HOURS[row.alarms - 1] if row.alarms else 0
    late = row.due_at <= now and row.reported is None and row.risk != Risk.NONE
    acts = ((words, getattr(row, name)) for name, words in _DID.items())
    did = tuple((words, who.email) for words, who in acts if who is not None)
    return Seen(row, row.people, row.told, late, alarm, did)


# --- telling


def _raise_alarms(row: Breach, *, now: datetime) -> None:
    due = sum(now >= row.noticed_at + timedelta(hours=hours) for hours in ALARM_HOURS)
    if due > row.alarms and row.reported is None and row.risk != Risk.NONE:
        with writing():
            Breach.objects.filter(pk=row.pk).update(alarms=due)
            _record(Kind.BREACH_ALARM, row, now=now, hours=ALARM_HOURS[due - 1])


@purpose(Purpose.BREACH, Purpose.SERVICE_MAIL)
def _tell_batch(breach: int, *, now: datetime) -> int:
    """Write to some who were not told; none are left where it answers 0."""
    with writing():
        row = Breach.objects.select_for_update().get(pk=breach)
        if row.told_at is not None or row.closed_at is not None:
            return 0
        untold = _untold(row)
        for account in untold:
            Affected.objects.update_or_create(account=account, breach=row, defaults={"told_at": now})
            notify(Told.BREACHED, email=account.email, about=_about(row), now=now)
            payload: dict[str, Json] = {"breach": row.ref.hex, "data": list(row.categories)}
            record(Kind.BREACH_TOLD, clause=_CLAUSE, payload=payload, now=now, subject=account)
        if not untold:
            Breach.objects.filter(pk=breach).update(told_at=now)
        return len(untold)


def _untold(row: Breach) -> list[Any]:
    """Locked in the order of their numbers, before the ledger is: see docs/design/concurrency.md."""
    people: QuerySet[Any] = get_user_model()._default_manager.all()
    told = Affected.objects.filter(breach=row).exclude(told_at=None).values("account")
    named = Affected.objects.filter(breach=row).values("account")
    wanted = Q(created_at__lte=row.opened_at) if row.everybody else Q(pk__in=[])
    found = people.filter(wanted | Q(pk__in=named)).exclude(pk__in=told)
    return list(found.select_for_update(of=("self",)).order_by("pk")[:_AT_ONCE])


def _about(row: Breach) -> dict[str, Any]:
    kinds = read_statement().categories
    return {
        "noticed_at": row.noticed_at,
        "happened": row.happened,
        "data": tuple(kinds[name].text for name in row.categories if name in kinds),
        "consequences": row.consequences,
        "measures": row.measures,
        "path": "/privacy#contact",
    }


# --- rows


def _open_row(ref: UUID) -> Breach:
    row = Breach.objects.select_for_update().filter(ref=ref, closed_at=None).first()
    if row is None:
        raise NoSuchBreach(ref)
    return row


def _declared(categories: Iterable[str]) -> list[str]:
    wanted = sorted(categories)
    unknown = set(wanted) - set(read_statement().categories)
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))}: no kind of data that the statement has")
    return wanted


def _affect(row: Breach, people: Iterable[str]) -> None:
    accounts = get_user_model()._default_manager
    found = []
    for address in {one.strip().lower() for one in people} - {""}:
        account = accounts.with_address(address).first()
        if account is None:
            raise ValueError(f"no account has the address {address}")
        found.append(account)
    for account in sorted(found, key=lambda one: int(one.pk)):
        Affected.objects.get_or_create(account=account, breach=row)


def _record(what: Kind, row: Breach, *, now: datetime, **detail: Json) -> None:
    """About nobody: how many people, and which kinds of data."""
    payload: dict[str, Json] = {
        "breach": row.ref.hex, "data": list(row.categories),
        "people": "everybody" if row.everybody else row.affected.count(), **detail,
    }  # fmt: skip
    record(what, clause=_CLAUSE, payload=payload, now=now)
