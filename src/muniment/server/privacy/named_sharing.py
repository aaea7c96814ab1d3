"""A recipient that somebody named: whom one can name, for which fields and until when, and what is then sent.

Only recipients that the operator declared for this purpose can be named; the fields are among those that are
declared for them. A grant says which of them, and until when, at most a year. Staff fetch what people had
sent to a recipient, as lines. Nothing is kept ready for that: each person is decided about at the moment
their line is made, so what was taken back, or ran out, a moment before is not in it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db.models import Max

from muniment.server.deployment import Deployment
from muniment.server.privacy.consent.choices import Subject, choose
from muniment.server.privacy.consent.effect import State
from muniment.server.privacy.consent.models import ConsentEvent
from muniment.server.privacy.consent.notices import Notice
from muniment.server.privacy.consent.preferences import METHOD, NAMED, grants_of
from muniment.server.privacy.contracts import holds
from muniment.server.privacy.external import EXTERNAL
from muniment.server.privacy.gate.decide import can_be_named
from muniment.server.privacy.gate.disclose import Offer, Values, set_down
from muniment.server.privacy.purposes import Purpose, purpose
from muniment.server.privacy.registry import OUTGOING, Personal, data_map, titles
from muniment.server.privacy.rows_about import tables_about
from muniment.server.privacy.statement import Statement
from muniment.server.privacy.succession.handing_over import leaving
from muniment.server.privacy.terms import Recipient
from muniment.server.privacy.versions.in_force import in_force_for, newest_posted
from muniment.server.transactions import writing

LONGEST = timedelta(days=365)
_AT_ONCE = 100


class NotNameable(Exception):
    """Nobody can name this recipient, or not these fields of theirs, or not until then."""


@dataclass(frozen=True, slots=True)
class Nameable:
    """A recipient that somebody can name. `fields`: what each may be called, by its registered name."""

    recipient: Recipient
    fields: dict[str, str]

    @property
    def notice(self) -> Notice:
        """The words beside the choice."""
        title, country = self.recipient.title, self.recipient.country
        return Notice(
            f"May we send what you mark here to {title} ({country}), until the end of the day you name?"
        )


@dataclass(frozen=True, slots=True)
class NamedGrant:
    """What stands: who gets which fields, and the last day."""

    recipient: str
    title: str
    fields: tuple[str, ...]
    last_day: date
    entry: int


def nameable(account: Any, now: datetime) -> list[Nameable]:
    """Whom the person can name now, by the statement that holds for them."""
    statement, today = in_force_for(account, now).statement, now.date()
    return [
        Nameable(recipient, fields)
        for recipient in statement.recipients.values()
        if can_be_named(recipient) and holds(recipient, today) and (fields := _fields(recipient, statement))
    ]


def name_recipient(
    account: Any, recipient: str, fields: Collection[str], *, last_day: date, now: datetime
) -> int:
    """Grant it; naming the same recipient again puts this in place of what was said before.

    Returns the ledger's entry. Raises NotNameable.
    """
    found = next((one for one in nameable(account, now) if one.recipient.name == recipient), None)
    lasts = last_day - now.date()
    if found is None or not fields or not set(fields) <= set(found.fields):
        raise NotNameable(recipient)
    if not timedelta(0) <= lasts <= LONGEST:
        raise NotNameable(recipient)
    until = datetime.combine(last_day + timedelta(days=1), time(), UTC)
    with writing():
        return choose(
            Subject(account), NAMED, State.GRANTED, notice=found.notice, method=METHOD, now=now,
            recipient=recipient, until=until, fields=fields,
        )  # fmt: skip


def named_by(account: Any, now: datetime) -> list[NamedGrant]:
    """What the person lets go to whom now."""
    recipients, called = in_force_for(account, now).statement.recipients, _titles()
    return [
        NamedGrant(
            grant.recipient,
            recipients[grant.recipient].title if grant.recipient in recipients else grant.recipient,
            tuple(called.get(name, name) for name in grant.event.fields),
            (grant.event.until or now + LONGEST).date() - timedelta(days=1),
            grant.event.entry,
        )
        for grant in grants_of(Subject(account), now)
        if grant.purpose.name == NAMED
    ]  # fmt: skip


def fetch_named(deployment: Deployment, recipient: str) -> Iterator[str]:
    """What people had us send there, one JSON object a line and a person. Raises NotNameable."""
    found = newest_posted(deployment.now()).recipients.get(recipient)
    if found is None or not can_be_named(found):
        raise NotNameable(recipient)
    return _lines(deployment, recipient)


def _lines(deployment: Deployment, recipient: str) -> Iterator[str]:
    last = 0
    while batch := _granting(recipient, after=last, now=deployment.now()):
        for key in batch:
            with writing(), purpose(Purpose.AGREEMENT, Purpose.NAMED_SHARING):  # never across a yield
                text = _send(deployment, recipient, key)
            if text:
                yield text + "\n"
        last = batch[-1]


def _send(deployment: Deployment, recipient: str, account: int) -> str:
    """The line of one person, decided and recorded in the same moment; empty where nothing may go."""
    events = ConsentEvent.objects.filter(subject=account, purpose=NAMED, recipient=recipient)
    event = events.select_related("subject").order_by("-id").first()
    if event is None or leaving().filter(subject=account).exists():
        return ""
    line = _Line()
    set_down(Offer(event.subject, NAMED, recipient, frozenset(event.fields)), line, deployment=deployment)
    return line.text


@purpose(Purpose.AGREEMENT)
def _granting(recipient: str, *, after: int, now: datetime) -> list[int]:
    """Accounts that said yes last, in order. Whether that yes still counts the gate says, one by one."""
    said = ConsentEvent.objects.filter(purpose=NAMED, recipient=recipient)
    last = said.exclude(subject=None).values("subject").annotate(last=Max("id")).values("last")
    events = ConsentEvent.objects.filter(pk__in=last, state=State.GRANTED, until__gt=now, subject__gt=after)
    return list(events.order_by("subject").values_list("subject", flat=True)[:_AT_ONCE])


@dataclass
class _Line:
    """What the recipient gets of one person."""

    text: str = ""

    def send(self, values: Values) -> None:
        self.text = json.dumps(values, default=_plain, sort_keys=True)


def _plain(value: Any) -> str:
    return bytes(value).hex() if isinstance(value, (bytes, memoryview)) else str(value)


def _fields(recipient: Recipient, statement: Statement) -> dict[str, str]:
    """What this purpose may use of what the recipient may get: no copies that were made for others."""
    allowed, called = statement.purposes[NAMED].categories, _titles()
    names = (
        f"{table.label}.{column.name}"
        for table in tables_about()
        for column in table.columns
        if isinstance(column.declaration, Personal)
        and column.declaration.category in allowed
        and column.declaration.keep != OUTGOING
    )
    return {name: called[name] for name in names if name in recipient.fields}


def _titles() -> dict[str, str]:
    return {name: f"{table}: {title}" for name, (table, title) in titles(data_map(EXTERNAL)).items()}
