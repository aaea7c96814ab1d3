"""Erasing a person: everything that is declared about them, step by step, and never called done before it is.

    tombstone → sign-in ends → what apps hold beyond rows → rows, children first → nothing is left: proven
    → receipt

Every step can be repeated, and counts in the transaction that deletes: an erasure that stopped anywhere goes
on where it was. Which rows go, and which columns are only emptied, the registry says; a column that is
declared cannot be forgotten here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from graphlib import CycleError, TopologicalSorter
from typing import Any, Protocol
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import models

from muniment.server.deployment import Deployment
from muniment.server.logs import SERVICE
from muniment.server.privacy.ledger.entries import record
from muniment.server.privacy.ledger.kinds import Kind as Record
from muniment.server.privacy.ports import erasers
from muniment.server.privacy.registry import Erase, Personal
from muniment.server.privacy.requests.holds import check_holds, hold_on
from muniment.server.privacy.requests.models import Channel, Erasure, Kind, Outcome, Request
from muniment.server.privacy.requests.tombstones import (
    addresses,
    bury,
    bury_address,
    clear_old,
    names,
    tomb_of,
    tomb_of_address,
)
from muniment.server.privacy.rows_about import SELF, Addressed, PersonalTable, tables_about, tables_by_address
from muniment.server.transactions import writing

_AT_ONCE = 500
_EMPTIED = " (emptied)"


class _Counts(Protocol):
    """How much was deleted; both are called in the transaction under way."""

    def add(self, deleted: Mapping[str, int]) -> None: ...

    def state(self, totals: Mapping[str, int]) -> None:
        """What an eraser says it deleted, over all its runs."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """Counts in the row of the erasure."""

    erasure: int

    def add(self, deleted: Mapping[str, int]) -> None:
        self._change(lambda counts: counts.update({name: n for name, n in deleted.items() if n}))

    def state(self, totals: Mapping[str, int]) -> None:
        self._change(lambda counts: dict.update(counts, {name: n for name, n in totals.items() if n}))

    def _change(self, change: Callable[[Counter[str]], None]) -> None:
        counts = Counter(Erasure.objects.select_for_update().get(pk=self.erasure).deleted)
        change(counts)
        Erasure.objects.filter(pk=self.erasure).update(deleted=dict(counts))


@dataclass(frozen=True, slots=True)
class _Passing:
    """Counts for one ledger entry."""

    counts: Counter[str]

    def add(self, deleted: Mapping[str, int]) -> None:
        self.counts.update(deleted)

    def state(self, totals: Mapping[str, int]) -> None:
        dict.update(self.counts, totals)


class NotErased(Exception):
    """Rows about the person are still there: a table was written to meanwhile. To be repeated."""

    def __init__(self, tables: list[str]) -> None:
        super().__init__(", ".join(tables))
        self.tables = tables


def erase_person(deployment: Deployment, erasure: Erasure) -> None:
    """Run the erasure up to where nothing is left. Raises HeldByLaw, NotErased, and what erasers raise."""
    asked: Request = erasure.request
    _erase(deployment, erasure.person, counts=_Kept(erasure.pk), asked=asked)


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many were erased again, and how many wait: nobody signs in to these, and they are tried again."""

    erased: int = 0
    waiting: int = 0


def replay_erasures(deployment: Deployment) -> Replayed:
    """Erase again whoever is in the database though the tombstones say erased.

    Before anybody is served: a database put back from a backup holds people who were erased since. Whoever
    cannot be erased now keeps nobody else from being served.
    """
    clear_old(deployment.config.data, now=deployment.now())
    people = _replay(deployment, get_user_model()._default_manager.all())
    return replace(people, erased=people.erased + _replay_addresses(deployment))


def retry_replays(deployment: Deployment) -> Replayed:
    """The same for those who waited, whose sign-in has ended: few rows, so it can be done often."""
    return _replay(deployment, get_user_model()._default_manager.filter(is_active=False))


def _replay(deployment: Deployment, accounts: models.QuerySet[Any]) -> Replayed:
    buried = set(names(deployment.config.data))
    if not buried:
        return Replayed()
    erased = waiting = 0
    risen = [pk for pk, ref in accounts.values_list("pk", "ref") if tomb_of(ref) in buried]
    under_way = set(Erasure.objects.filter(person__in=risen, done_at=None).values_list("person", flat=True))
    for person in risen:
        if person in under_way:  # their request goes on with it, and counts what goes
            _end_sign_in(person)
            continue
        try:
            _erase_again(deployment, person)
            erased += 1
        except Exception as error:
            _end_sign_in(person)
            # By its type alone: what it says may quote the person.
            SERVICE.warning("erasing again waits", exc_info=error)
            waiting += 1
    return Replayed(erased, waiting)


def _erase_again(deployment: Deployment, person: int) -> None:
    deleted: Counter[str] = Counter()
    _erase(deployment, person, counts=_Passing(deleted))
    with writing():
        _record_replay(deleted, now=deployment.now())


def _record_replay(deleted: Counter[str], *, now: datetime) -> None:
    record(Record.ERASURE_REPLAYED, clause="P46", now=now, payload={"deleted": dict(deleted)})


def _replay_addresses(deployment: Deployment) -> int:
    """Erase by address again where the database does not know that the request was verified: it is older.

    Where it knows, the request itself goes on, or is done, and what came under the address since stays.
    """
    buried = defaultdict[UUID, set[str]](set)
    for ref, tomb in addresses(deployment.config.data):
        buried[ref].add(tomb)
    known = Request.objects.filter(ref__in=buried).exclude(verified_at=None)
    forgotten = set(buried) - set(known.values_list("ref", flat=True))
    risen = _addresses_of(set().union(*(buried[ref] for ref in forgotten))) if forgotten else {}
    erased = 0
    for ref in forgotten:
        found = [email for tomb in buried[ref] for email in risen.get(tomb, ())]
        if not any(_is_held(email, now=deployment.now()) for email in found):
            erased += _erase_addresses_again(found, ref, now=deployment.now())
    return erased


def _addresses_of(tombs: set[str]) -> dict[str, set[str]]:
    """What stands anywhere in the database and is buried, by its tomb."""
    found = defaultdict[str, set[str]](set)
    for table in tables_by_address():
        for email in table.model._default_manager.values_list(table.by.column, flat=True).distinct():
            if tomb_of_address(email) in tombs:
                found[tomb_of_address(email)].add(email)
    return found


def _is_held(email: str, *, now: datetime) -> bool:
    account = get_user_model()._default_manager.with_address(email).first()
    return account is not None and hold_on(account.pk, now=now) is not None


def _erase_addresses_again(emails: list[str], ref: UUID, *, now: datetime) -> bool:
    """Whether anything was there. The request is entered as done, so that this happens once."""
    deleted: Counter[str] = Counter()
    for email in emails:
        for table in tables_by_address():
            _erase_by_address(table, email, counts=_Passing(deleted), asked_by=None)
    done = {"verified_at": now, "outcome": Outcome.DONE, "closed_at": now}
    came = int(now.timestamp())
    asked = {"kind": Kind.ERASE, "channel": Channel.PAGE, "received": came, "due": came}
    with writing():
        request, _ = Request.objects.update_or_create(
            ref=ref, defaults=done, create_defaults={**asked, **done}
        )
        Erasure.objects.create(request=request, person=0, begun_at=now, done_at=now, deleted=dict(deleted))
        if deleted:
            _record_replay(deleted, now=now)
    return bool(deleted)


def left_of(person: int) -> list[str]:
    """Tables that still hold anything about the account."""
    return [table.label for table in tables_about() if table.about(person).exists()]


def _erase(deployment: Deployment, person: int, *, counts: _Counts, asked: Request | None = None) -> None:
    check_holds(person, now=deployment.now())
    account: Any = get_user_model()._default_manager.filter(pk=person).first()
    asked_by, asked_from = (None, "") if asked is None else (asked.pk, asked.email.lower())
    emails = {asked_from, "" if account is None else account.email} - {""}
    if asked is not None:
        for email in emails:
            bury_address(deployment.config.data, email, request=asked.ref, now=deployment.now())
    if account is not None:
        ref: UUID = account.ref
        bury(deployment.config.data, ref, now=deployment.now())
        _end_sign_in(person)
        for eraser in erasers():
            deleted = eraser.erase(deployment, person)
            with writing():
                counts.state({f"{eraser.name}: {what}": number for what, number in deleted.items()})
    for held in tables_by_address():
        for email in emails:
            _erase_by_address(held, email, counts=counts, asked_by=asked_by)
    if account is not None:
        for table in _children_first(tables_about()):
            _empty_rows(table, person, counts=counts, asked_by=asked_by)
            while _delete_rows(table, person, counts=counts):
                pass
    left = left_of(person) + [
        held.model._meta.label
        for held in tables_by_address()
        if any(_under(held, email, asked_by).exists() for email in emails)
    ]
    if left:
        raise NotErased(left)


def _end_sign_in(person: int) -> None:
    with writing():
        get_user_model()._default_manager.filter(pk=person).update(is_active=False)


def _delete_rows(table: PersonalTable, person: int, *, counts: _Counts) -> bool:
    if not _goes(table):
        return False
    with writing():
        keys = list(table.about(person).values_list("pk", flat=True)[:_AT_ONCE])
        if keys:
            shown = table.shown(person).filter(pk__in=keys).count()
            _, by_model = table.model._default_manager.filter(pk__in=keys).delete()
            counts.add({**by_model, table.label: shown})
    return bool(keys)


def _empty_rows(table: PersonalTable, person: int, *, counts: _Counts, asked_by: int | None) -> None:
    """What asked for it keeps its address: the receipt goes there, and closing the request empties it.

    What the person may not know of yet is emptied, too, but not counted: the receipt would tell of it.
    """
    if _goes(table):
        return
    rows, empty = table.about(person), _emptied(table)
    with writing():
        hidden = rows.count() - table.shown(person).count()
        changed = 0
        if table.model is Request:
            kept = {name: value for name, value in empty.items() if name != "email"}
            changed = rows.filter(pk=asked_by).update(**kept)
        changed += rows.update(**empty) - hidden
        counts.add({table.label + _EMPTIED: changed} if changed else {})


def _erase_by_address(table: Addressed, email: str, *, counts: _Counts, asked_by: int | None) -> None:
    """What others' rows, or nobody's, hold of the address; what is not the person's in them stays."""
    label = table.model._meta.label
    empty = {name: table.model._meta.get_field(name).get_default() for name in table.by.empties}  # type: ignore[union-attr]
    with writing():
        rows = _under(table, email, asked_by)
        if empty:
            emptied = rows.update(**empty)
            counts.add({label + _EMPTIED: emptied} if emptied else {})
        else:
            _, by_model = rows.delete()
            counts.add(by_model)


def _under(table: Addressed, email: str, asked_by: int | None) -> models.QuerySet[models.Model]:
    """Not the request that is under way: the receipt goes to its address."""
    rows = table.rows(email)
    return rows.exclude(pk=asked_by) if table.model is Request else rows


def _emptied(table: PersonalTable) -> dict[str, Any]:
    instead: Mapping[str, Any] = getattr(table.model, "cleared", {})
    empty = {}
    for column in table.personal:
        field = table.model._meta.get_field(column.name)
        assert isinstance(field, models.Field)
        empty[column.name] = None if field.null else instead.get(column.name, field.get_default())
    return empty


def _goes(table: PersonalTable) -> bool:
    """Whether rows are deleted; where every personal column is only emptied, they stay and name nobody."""
    return any(
        isinstance(column.declaration, Personal) and column.declaration.erase is Erase.DELETE
        for column in table.columns
    )


def _children_first(tables: list[PersonalTable]) -> list[PersonalTable]:
    """Rows that point to others go before these; people themselves last."""
    by_model = {table.model: table for table in tables}
    order: TopologicalSorter[type[models.Model]] = TopologicalSorter()
    for model in by_model:
        order.add(model)
        for field in model._meta.concrete_fields:
            target = field.related_model if field.is_relation else None
            if isinstance(target, type) and target in by_model and target is not model:
                order.add(target, model)
    try:
        found = [by_model[model] for model in order.static_order()]
    except CycleError as error:
        raise RuntimeError(f"tables point at each other in a circle: {error.args[1]}") from error
    return sorted(found, key=lambda table: table.path == SELF)
