"""What happens to requests: every way in, every way out, and what runs by itself.

    ref = open_request(Kind.ERASE, channel=Channel.PAGE, subject=account, email=account.email, now=now)
    verify_request(ref, now=now)    # at once where the person is freshly signed in, else by a mailed link
    advance_requests(deployment)    # every ten minutes: runs what is due, alarms, lets the unverified lapse

Each change is one transaction with its ledger entry and with the mail that tells of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.contrib.auth import get_user_model

from muniment.server.deployment import Deployment
from muniment.server.logs import SERVICE
from muniment.server.privacy.ledger.entries import Subject, record
from muniment.server.privacy.ledger.kinds import Kind as Record
from muniment.server.privacy.ports import Told, correct, notify
from muniment.server.privacy.registry import STAFF
from muniment.server.privacy.requests import clock
from muniment.server.privacy.requests.clock import Step, Times
from muniment.server.privacy.requests.erasing import NotErased, erase_person
from muniment.server.privacy.requests.holds import HeldByLaw, check_holds
from muniment.server.privacy.requests.models import Channel, Erasure, Kind, Outcome, Request, Restriction
from muniment.server.privacy.requests.receipts import receipt_path
from muniment.server.privacy.rows_about import held_under
from muniment.server.transactions import writing

WORDS = "words"
"""The detail that holds what a person wrote in their own words."""
NOTHING_HELD = "There is no account under this address. Of this request only its kind and its dates stay."

HELD_OF_IT = "There is no account under this address. Others' accounts hold it, and this is what they hold:"


class NoSuchRequest(Exception):
    """There is none, it is somebody else's, or it is closed: all the same to whoever asks."""


class TooLate(Exception):
    """It runs already."""


class Postponed(Exception):
    """An account came under the address since it was verified; its owner has three days, too."""


class NamesNobody(Exception):
    """It does not say whose data it is about; an address that its account has left says that no more."""


@dataclass(frozen=True, slots=True)
class Advanced:
    """What one round did; `waiting` are requests that something stopped, with the reason."""

    done: int = 0
    lapsed: int = 0
    alarms: int = 0
    waiting: tuple[tuple[UUID, str], ...] = ()


def open_request(
    kind: Kind,
    *,
    channel: Channel,
    email: str,
    now: datetime,
    subject: Subject | None = None,
    details: Mapping[str, Any] | None = None,
    received_at: datetime | None = None,
) -> UUID:
    """Take a request in; its clock runs from `received_at`, of post the day it came. Only inside `writing()`.

    ValueError for a time of receipt that lies ahead or so far back that the request is due already.
    """
    received_at = received_at or now
    if received_at > now or clock.due_at(received_at) <= now:
        raise ValueError("requests are received before now, and less than ten days ago")
    ref = uuid4()
    Request.objects.create(
        ref=ref, kind=kind, channel=channel, email=email, details=dict(details or {}),
        subject_id=None if subject is None else subject.pk,
        received=int(received_at.timestamp()), due=int(clock.due_at(received_at).timestamp()),
    )  # fmt: skip
    _record(Record.REQUEST_RECEIVED, kind, ref, now=now, subject=subject, channel=channel.value)
    return ref


def verify_request(ref: UUID, *, now: datetime, kind: Kind | None = None, by: Any = None) -> Request:
    """It is known to come from whom it is about. Again changes nothing. Only inside `writing()`.

    `kind` is what the person says it is, where a letter or mail left that open; `by`: who vouches.
    Raises NoSuchRequest, NamesNobody.
    """
    row = _open_row(ref)
    if row.verified_at is None:
        if not says_whose(row):
            raise NamesNobody
        kind = kind or Kind(row.kind)
        row.kind, row.verified_at, row.vouched_by = kind, now, by
        row.subject = row.subject or account_of(row.email)
        row.runs_at = clock.runs_at(kind, verified_at=now) if _is_complete(kind, row.details) else None
        row.save(update_fields=["kind", "subject", "verified_at", "runs_at", "vouched_by"])
        _record(Record.REQUEST_VERIFIED, kind, ref, now=now, subject=row.subject, **_said_of(by))
        _tell(Told.RECEIVED, row, now=now)
    return row


def says_whose(row: Request) -> bool:
    """Whether it is known whose data it is about; before that nobody verifies it, and no program runs it.

    An account that changed its address since is not for whoever reads mail at the one that it left. What is
    public stands where the words say, whoever wrote it.
    """
    if row.subject is None:
        return bool(row.email) or row.kind == Kind.PUBLIC_REMOVAL
    return row.verified_at is not None or row.email in ("", row.subject.email)


def take_back(ref: UUID, *, subject: Subject | None, now: datetime) -> None:
    """The person changed their mind. Only inside `writing()`. Raises NoSuchRequest; TooLate once it runs."""
    row = _open_row(ref)
    if subject is not None and row.subject_id != subject.pk:
        raise NoSuchRequest
    if Erasure.objects.filter(request=row).exists():
        raise TooLate
    _close(row, Outcome.WITHDRAWN, now=now, told=Told.TAKEN_BACK, kind=Record.REQUEST_TAKEN_BACK)


def refuse_request(ref: UUID, *, reason: str, now: datetime, by: Any = None) -> None:
    """Tell the person why not, and close. Only inside `writing()`. ValueError: no reason; NoSuchRequest."""
    if not reason.strip():
        raise ValueError("a refusal gives its reason")
    row = _open_row(ref)
    row.reason = reason
    row.closed_by = by
    _close(row, Outcome.REFUSED, now=now, told=Told.REFUSED, kind=Record.REQUEST_REFUSED)


def fulfil_request(ref: UUID, *, now: datetime, by: Any = None) -> None:
    """What was asked is done; `by` staff, if any. Only inside `writing()`. Raises NoSuchRequest."""
    row = _open_row(ref)
    row.closed_by = by
    _close(row, Outcome.DONE, now=now, told=Told.DONE, kind=Record.REQUEST_DONE)


def open_requests() -> list[Request]:
    """What waits, the most urgent first."""
    return list(Request.objects.filter(closed_at=None).order_by("due", "id"))


def requests_of(subject: Subject) -> list[Request]:
    """An account's requests, newest first."""
    return list(Request.objects.filter(subject=subject.pk).order_by("-id"))


def advance_requests(deployment: Deployment) -> Advanced:
    """Do what is due. One request that fails keeps no other from running."""
    done = lapsed = alarms = 0
    waiting: list[tuple[UUID, str]] = []
    for row in open_requests():
        now = deployment.now()
        alarms += _raise_alarms(row, now=now)
        step = _step_of(row, now=now)
        try:
            if step is Step.LAPSE:
                _lapse(row.ref, now=now)
                lapsed += 1
            elif step is Step.RUN:
                _run(deployment, row)
                done += 1
        except NoSuchRequest:
            continue  # taken back, verified or closed since this round began
        except HeldByLaw as held:
            waiting.append((row.ref, f"held by law until {held.until.date()}"))
        except Postponed:
            waiting.append((row.ref, "an account was made meanwhile: three days to take it back"))
        except NamesNobody:
            waiting.append((row.ref, "names nobody: staff say whom it is about, or refuse it"))
        except NotErased as left:
            waiting.append((row.ref, f"rows came in meanwhile: {left}"))
        except Exception as error:
            # By its type alone: what it says may quote the person. It is tried again next time.
            SERVICE.warning("a request failed", exc_info=error)
            waiting.append((row.ref, type(error).__name__))
    return Advanced(done, lapsed, alarms, tuple(waiting))


def _step_of(row: Request, *, now: datetime) -> Step:
    times = Times(Kind(row.kind), row.received_at, row.verified_at, row.runs_at)
    return clock.next_step(times, now=now)


def _still(ref: UUID, step: Step, *, now: datetime) -> Request:
    """The row, locked, if this is what is to be done with it: it was read before. Raises NoSuchRequest."""
    row = _open_row(ref)
    if _step_of(row, now=now) is not step:
        raise NoSuchRequest
    return row


def _lapse(ref: UUID, *, now: datetime) -> None:
    with writing():
        row = _still(ref, Step.LAPSE, now=now)
        _close(row, Outcome.LAPSED, now=now, told=None, kind=Record.REQUEST_LAPSED)


# --- running


def run_request(deployment: Deployment, ref: UUID) -> None:
    """Do now what was verified; what fails is tried again in the next round.

    Raises NoSuchRequest, NamesNobody, HeldByLaw, NotErased, Postponed, ValueError.
    """
    with writing():
        row = _open_row(ref)
        if row.verified_at is None:
            raise NoSuchRequest
        row.runs_at = deployment.now()
        row.save(update_fields=["runs_at"])
    _run(deployment, row)


def _run(deployment: Deployment, row: Request) -> None:
    if _ended_with_its_person(row.ref, now=deployment.now()):
        return
    kind = Kind(row.kind)
    if kind is Kind.ERASE:
        _run_erasure(deployment, row)
        return
    now, said = deployment.now(), ""
    with writing():
        fresh = _open_row(row.ref)
        if not says_whose(fresh):
            raise NamesNobody
        if kind is Kind.RECTIFY and fresh.subject_id is not None:
            correct(fresh.subject_id, fresh.details, now=now)
        elif kind in (Kind.RESTRICT, Kind.OBJECT) and fresh.subject_id is not None:
            _restrict(fresh, kind, now=now)
        elif fresh.subject_id is None:
            held = held_under(fresh.email) if kind is Kind.ACCESS else []
            fresh.reason = "" if held else NOTHING_HELD
            said = "\n\n".join([HELD_OF_IT, *held]) if held else ""
        _close(fresh, Outcome.DONE, now=now, told=Told.DONE, kind=Record.REQUEST_DONE, said=said)


def _ended_with_its_person(ref: UUID, *, now: datetime) -> bool:
    """Whether another request had its person forgotten, and this one was closed: nobody is left to tell.

    Only letters come without an address. Of one that lacks it, staff say whose it is.
    """
    with writing():
        row = _open_row(ref)
        is_at_work = Erasure.objects.filter(request=row).exclude(person=0).exists()
        if is_at_work or says_whose(row) or row.channel == Channel.POST:
            return False
        _close(row, Outcome.DONE, now=now, told=None, kind=Record.REQUEST_DONE)
    return True


def _is_complete(kind: Kind, details: Mapping[str, Any]) -> bool:
    """Whether a program can do it; where people wrote in their own words, staff read them."""
    if kind is Kind.RECTIFY:
        return bool(details) and WORDS not in details
    return kind is not Kind.OBJECT or "purpose" in details


def _restrict(row: Request, kind: Kind, *, now: datetime) -> None:
    purpose = str(row.details.get("purpose", "")) if kind is Kind.OBJECT else ""
    if kind is Kind.OBJECT and not purpose:
        raise ValueError("an objection names the purpose it is about")
    Restriction.objects.get_or_create(
        subject_id=row.subject_id, purpose=purpose, ended_at=None, defaults={"begun_at": now}
    )
    record(Record.USE_RESTRICTED, clause="P44", payload={"purpose": purpose}, now=now, subject=row.subject)


def _run_erasure(deployment: Deployment, row: Request) -> None:
    with writing():
        erasure = _begin_erasure(row.ref, now=deployment.now())
    if erasure is None:
        raise Postponed
    email = erasure.request.email
    erase_person(deployment, erasure)
    with writing():
        now = deployment.now()
        fresh = Request.objects.select_for_update().get(pk=row.pk)
        if not erasure.person and account_of(email) is not None:
            raise NotErased([get_user_model()._meta.label])  # signed up meanwhile: to begin anew
        done = Erasure.objects.select_for_update().get(pk=erasure.pk)
        if done.done_at is None:
            done.done_at = now
            done.entry = record(
                Record.ERASED, clause="P16", now=now,
                payload={
                    "request": fresh.ref.hex, "received_at": fresh.received_at.isoformat(),
                    "done_at": now.isoformat(), "deleted": done.deleted,
                },
            )  # fmt: skip
            done.save(update_fields=["done_at", "entry"])
            notify(Told.ERASED, email=email, about={"path": receipt_path(fresh.ref)}, now=now)
            _shut(fresh, Outcome.DONE, now=now)


def _begin_erasure(ref: UUID, *, now: datetime) -> Erasure | None:
    """From here on it cannot be taken back, so all that may stop it is asked first, under the row's lock.

    None where it is postponed. Raises NoSuchRequest, NamesNobody, HeldByLaw.
    """
    row = _still(ref, Step.RUN, now=now)
    begun = Erasure.objects.select_related("request").filter(request=row).first()
    if begun is not None and begun.person:
        return begun
    if not says_whose(row):
        raise NamesNobody
    account = row.subject or account_of(row.email)
    if row.subject is None and account is not None and not account.is_unconfirmed:
        if begun is not None:
            begun.delete()
        _postpone(row, account, now=now)
        return None
    if account is not None:
        check_holds(account.pk, now=now)
        row.email = account.email  # the receipt goes where its owner reads mail now
        row.save(update_fields=["email"])
    erasure = begun or Erasure(request=row, begun_at=now)
    erasure.request, erasure.subject, erasure.person = row, account, 0 if account is None else account.pk
    erasure.save()
    return erasure


def _postpone(row: Request, account: Any, *, now: datetime) -> None:
    """The account was made after the request was verified, and nobody's goes before they could say no."""
    row.subject, row.verified_at = account, now
    row.runs_at = clock.runs_at(Kind(row.kind), verified_at=now)
    row.save(update_fields=["subject", "verified_at", "runs_at"])
    _record(Record.REQUEST_VERIFIED, Kind(row.kind), row.ref, now=now, subject=account)
    _tell(Told.RECEIVED, row, now=now)


# --- closing


def _open_row(ref: UUID) -> Request:
    row = (
        Request.objects.select_for_update(of=("self",))
        .select_related("subject")
        .filter(ref=ref, closed_at=None)
        .first()
    )
    if row is None:
        raise NoSuchRequest
    return row


def _close(
    row: Request, outcome: Outcome, *, now: datetime, told: Told | None, kind: Record, said: str = ""
) -> None:
    """`said` is told and not kept: the request names nobody once it is closed."""
    if told is not None:
        _tell(told, row, now=now, said=said)
    _record(kind, Kind(row.kind), row.ref, now=now, subject=row.subject, **_said_of(row.closed_by))
    _shut(row, outcome, now=now)


def _shut(row: Request, outcome: Outcome, *, now: datetime) -> None:
    row.outcome, row.closed_at, row.email = outcome, now, ""
    row.save(update_fields=["outcome", "closed_at", "closed_by", "email", "reason"])


def _said_of(staff: Any) -> dict[str, str]:
    """What the person reads in the ledger of who acted."""
    return {} if staff is None else {"by": STAFF}


def _tell(what: Told, row: Request, *, now: datetime, said: str = "") -> None:
    about = {
        "kind": Kind(row.kind).label, "reason": said or row.reason, "ref": row.ref.hex,
        "due_at": row.due_at, "runs_at": row.runs_at,
        "path": "/privacy/data" if row.subject_id is None else "/requests",
    }  # fmt: skip
    notify(what, email=row.email, about=about, now=now)


def _raise_alarms(row: Request, *, now: datetime) -> int:
    """Alarms that went off since the last round: staff see them, and the ledger says that they did."""
    due = clock.alarms_due(received_at=row.received_at, now=now)
    raised = due - row.alarms
    if raised > 0:
        with writing():
            Request.objects.filter(pk=row.pk).update(alarms=due)
            days = (now - row.received_at) // timedelta(days=1)
            _record(Record.REQUEST_ALARM, Kind(row.kind), row.ref, now=now, subject=row.subject, days=days)
    return max(raised, 0)


def _record(
    what: Record, kind: Kind, ref: UUID, *, now: datetime, subject: Any = None, **detail: str | int
) -> None:
    payload = {"request": ref.hex, "asked": kind.value, **detail}
    record(what, clause="P45", payload=payload, now=now, subject=subject)


def account_of(email: str) -> Any:
    """The account with this address; None where there is none."""
    return get_user_model()._default_manager.with_address(email).first()
