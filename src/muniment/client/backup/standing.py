"""Is everything backed up? What `muniment status` says: first the verdict, then the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from muniment.client.backup.last_runs import last_problems, seconds_of
from muniment.client.home.config import Connection
from muniment.client.schedule.plan import CALENDAR
from muniment.client.state.known_heads import OpenedHead
from muniment.client.telling.output import plural
from muniment.client.transport.server import CLOCK_TOLERANCE
from muniment.client.vault.opening import OpenVault
from muniment.wire import messages as wire

QUIET_WITHOUT_SCHEDULE = 7 * 86_400.0
LATE = 3
"""A scheduled set is late when this many runs are missing."""

NEARLY_FULL = 0.9


class Verdict(Enum):
    """From the best to the worst. Of a set without a schedule nobody can say that it stays backed up."""

    GOOD = "good"
    UNSCHEDULED = "unscheduled"
    ATTENTION = "attention"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class SetStanding:
    """One set of this machine. `age`: seconds since its newest complete snapshot began; None without one, or
    where a wrong clock said when."""

    name: str
    newest: OpenedHead | None
    age: float | None
    every: str | None
    problems: int
    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Standing:
    verdict: Verdict
    headline: str
    sets: tuple[SetStanding, ...]
    notes: tuple[str, ...]
    needs_you: bool
    """Whether something is wrong or waits; to back up by hand is a choice, and no fault while it is done."""


def standing_of(
    vault: OpenVault, connection: Connection, *, requests: Sequence[wire.Confirmation], now: float
) -> Standing:
    sets = tuple(_standing_of_set(vault, connection, name, now=now) for name in connection.sets)
    notes = [_state(vault, request) for request in requests]
    full = vault.info.allowance > 0 and vault.info.used > NEARLY_FULL * vault.info.allowance
    if full:
        notes.append("The allowance is nearly used up.")
    if vault.withheld:
        notes.append(
            "Ask the operator why a key slot is kept back; `muniment keys recovery-kit` makes another kit."
        )
    of_vault = [Verdict.ATTENTION] if full or vault.withheld or vault.set_aside else []
    worst = _worst([one.verdict for one in sets] + of_vault)
    if not sets:
        return Standing(Verdict.BAD, "Nothing is backed up yet.", (), tuple(notes), True)
    headline = {
        Verdict.GOOD: "Everything is backed up.",
        Verdict.UNSCHEDULED: f"Everything is backed up, {_by_hand(sets)}by hand only.",
        Verdict.ATTENTION: "Backed up, but something needs you.",
        Verdict.BAD: "Not everything is backed up.",
    }[worst]
    needs_you = worst not in (Verdict.GOOD, Verdict.UNSCHEDULED)
    return Standing(worst, headline, sets, tuple(notes), needs_you)


def _standing_of_set(vault: OpenVault, connection: Connection, name: str, *, now: float) -> SetStanding:
    assert vault.device is not None
    assert vault.database is not None
    newest = vault.newest_of(vault.device, vault.keys.set_id(vault.device, name))
    every = connection.schedule.get(name)
    problems = last_problems(vault.database, name)
    if newest is None:
        return SetStanding(name, None, None, every, problems, Verdict.BAD, "was never backed up")
    age = now - newest.head.started_ns / 1e9
    limit = LATE * seconds_of(CALENDAR[every]) if every in CALENDAR else QUIET_WITHOUT_SCHEDULE
    if newest.head.partial:
        verdict, reason = Verdict.ATTENTION, "the last run did not finish; run it again to go on"
    elif age < -CLOCK_TOLERANCE:
        reason = "its time lies in the future: set this machine's clock, then back it up again"
        return SetStanding(name, newest, None, every, problems, Verdict.ATTENTION, reason)
    elif age > limit:
        why = "no backup for too long"
        verdict, reason = Verdict.BAD, why if every else f"{why}, and none is scheduled"
    elif problems:
        verdict, reason = Verdict.ATTENTION, f"{plural(problems, 'file')} unreadable, or changed meanwhile"
    elif every is None:
        verdict, reason = Verdict.UNSCHEDULED, "not scheduled: `muniment schedule on`"
    else:
        verdict, reason = Verdict.GOOD, f"scheduled {every}"
    return SetStanding(name, newest, max(0.0, age), every, problems, verdict, reason)


def _by_hand(sets: Sequence[SetStanding]) -> str:
    """The names of the sets without a schedule, and a blank; nothing where that is all of them."""
    names = [one.name for one in sets if one.every is None]
    return "" if len(names) == len(sets) else f"{', '.join(names)} "


def _worst(verdicts: Sequence[Verdict]) -> Verdict:
    order = list(Verdict)
    return max(verdicts, key=order.index, default=Verdict.GOOD)


def _state(vault: OpenVault, request: wire.Confirmation) -> str:
    waits = "waits for the owner" if request.state == "pending" else "is confirmed and takes effect later"
    return f"{_asked(vault, request)} {waits}: request {request.request}"


def _asked(vault: OpenVault, request: wire.Confirmation) -> str:
    """What is to be done to whom, by the names that the authenticated list of slots gives."""
    if request.action == "revoke_device":
        names = {info.device: info.label for info in vault.slots.slots}
        return f"Revoking the machine {names.get(request.subject) or request.subject[:8]}"
    slot = next((info for info in vault.slots.slots if info.slot == request.subject), None)
    label = f" ({slot.label})" if slot else ""
    return f"Removing the key slot {request.subject[:12]}{label}"
