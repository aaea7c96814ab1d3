"""Words of the owner's pages: how long ago, how much, and the one verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from muniment.server.vaults.events import OwnerEvent
from muniment.server.vaults.kinds import EventKind
from muniment.server.vaults.overview import Machine, MachineState

_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


@dataclass(frozen=True, slots=True)
class Verdict:
    state: str
    """Of the seal: proven, good, attention, bad, quiet."""
    heading: str
    reason: str


@dataclass(frozen=True, slots=True)
class Row:
    """A machine as a row of the page."""

    machine: Machine
    seal: str
    state: str
    word: str
    note: str
    last_backup: str
    last_run: str


@dataclass(frozen=True, slots=True)
class EventLine:
    at: datetime
    text: str
    device: str
    vault: str
    reason: str
    """Of what the operator decided in the owner's place."""


_EVENTS = {
    EventKind.VAULT_CREATED: "The vault was made",
    EventKind.DEVICE_ENROLLED: "A device came in",
    EventKind.DEVICE_REVOKED: "A device was revoked",
    EventKind.SLOT_ADDED: "A key was added",
    EventKind.SLOT_REMOVED: "A key was removed",
    EventKind.SLOT_LIST_CHANGED: "The list of keys changed",
    EventKind.SLOT_LIST_WITHDRAWN: "A list of keys that no machine could read was taken back",
    EventKind.KIT_REGISTERED: "A recovery kit was made",
    EventKind.KIT_USED: "A recovery kit was used",
    EventKind.KIT_REFUSED: "A wrong recovery kit was tried",
    EventKind.RESTORE_OPENED: "A restore began",
    EventKind.SNAPSHOT_COMMITTED: "A snapshot arrived",
    EventKind.RUN_REPORTED: "A backup run ended",
    EventKind.PACK_QUARANTINED: "Damage was found and set aside",
    EventKind.PACK_REPLACED: "Damage was healed",
    EventKind.CONFIRMATION_ASKED: "A device asked for your confirmation",
    EventKind.CONFIRMATION_GIVEN: "A request was confirmed",
    EventKind.CONFIRMATION_UNDONE: "A request was refused or undone",
    EventKind.CONFIRMATION_LAPSED: "A request lapsed",
    EventKind.ALLOWANCE_CHANGED: "The allowance was changed",
}
_OUTCOMES = {
    "done": "well",
    "incomplete": "with a gap",
    "failed": "in failure",
    "interrupted": "before it was done",
}


_WAYS = {
    "password": "with the password",
    "totp": "authenticator app",
    "webauthn": "passkey",
    "recovery_codes": "recovery codes",
    "code": "with a code",
    "link": "by a mailed link",
    "profile": "in the profile",
}


def way(method: str) -> str:
    """How somebody signed in, or what was added: what the security log calls `method`."""
    return _WAYS.get(method, method)


def event_line(event: OwnerEvent) -> EventLine:
    text = _EVENTS.get(event.kind, event.kind.value.replace("_", " ").capitalize())
    if event.kind is EventKind.RUN_REPORTED:
        text = f"{text} {_OUTCOMES.get(event.detail.get('outcome', ''), '')}".rstrip()
    return EventLine(
        event.at, text, event.device or "", event.vault_name or "", event.detail.get("reason", "")
    )


def ago(then: datetime | None, *, now: datetime) -> str:
    """`12 minutes ago`, `6 days ago`, `never`."""
    if then is None:
        return "never"
    minutes = max(0, int((now - then).total_seconds()) // 60)
    if minutes < 1:
        return "just now"
    if minutes < 60:
        return f"{_counted(minutes, 'minute')} ago"
    if minutes < 24 * 60:
        return f"{_counted(minutes // 60, 'hour')} ago"
    days = (now.date() - then.date()).days
    return "yesterday" if days == 1 else f"{_counted(max(days, 1), 'day')} ago"


def size(count: int) -> str:
    """In the largest unit that leaves a number of at least one."""
    amount, unit = float(count), 0
    while amount >= 1024 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{amount:.0f} {_UNITS[unit]}" if unit == 0 or amount >= 100 else f"{amount:.1f} {_UNITS[unit]}"


def number_word(number: int) -> str:
    return _WORDS[number] if number < len(_WORDS) else f"{number:,}"


def row_of(machine: Machine, *, now: datetime) -> Row:
    seal, state, word, note = _standing(machine)
    return Row(
        machine,
        seal,
        state,
        word,
        note,
        last_backup=ago(machine.backed_up_at, now=now),
        last_run="not reported" if machine.files is None else f"{_counted(machine.files, 'file')} looked at",
    )


def _standing(machine: Machine) -> tuple[str, str, str, str]:
    match machine.state:
        case MachineState.SAFE:
            return "good", "good", "Safe", "Nothing was left out unexpectedly"
        case MachineState.GAP:
            note = (
                f"{_counted(machine.unreadable, 'file')} could not be read"
                if machine.unreadable
                else ("The last run did not finish")
            )
            return "attention", "attention", "Safe, with a gap", note
        case MachineState.FAILED:
            return "bad", "bad", "Failed", "The last run failed"
        case MachineState.QUIET:
            return "bad", "bad", "Quiet", "Look whether it is switched on"
        case MachineState.NEW:
            return "quiet", "quiet", "Not yet", "Waits for its first backup"


def verdict(machines: Sequence[Machine], *, now: datetime) -> Verdict:
    """First what is so, then why."""
    if not machines:
        return Verdict(
            "quiet", "Nothing is backed up yet", "Bring in a machine: it takes one code and a few minutes."
        )
    kept = [one for one in machines if one.backed_up_at is not None]
    if not kept:
        return Verdict("attention", "Nothing is backed up yet", _waiting(machines))
    quiet = [one for one in machines if one.state is MachineState.QUIET]
    failed = [one for one in machines if one.state is MachineState.FAILED]
    gaps = [one for one in machines if one.state is MachineState.GAP]
    new = [one for one in machines if one.state is MachineState.NEW]
    if failed:
        return Verdict(
            "bad",
            f"{_those(failed)} failed to back up",
            _names(failed, "What was backed up before is kept: look at {}."),
        )
    if quiet:
        which = "one machine is quiet" if len(quiet) == 1 else f"{number_word(len(quiet))} machines are quiet"
        heading = f"Everything is safe, {which}" if len(quiet) < len(kept) else which[0].upper() + which[1:]
        return Verdict("attention", heading, _silence(quiet, now=now))
    if gaps:
        return Verdict(
            "attention", "Safe, with a gap", _names(gaps, "The last run of {} could not read everything.")
        )
    if new:
        return Verdict("attention", f"{_those(new)} not backed up yet", _waiting(new))
    fresh = max(one.backed_up_at for one in kept if one.backed_up_at)
    return Verdict("proven", "Everything is safe", f"The newest backup arrived {ago(fresh, now=now)}.")


def _silence(quiet: Sequence[Machine], *, now: datetime) -> str:
    told = [f"{one.name} backed up last {ago(one.backed_up_at, now=now)}" for one in quiet]
    return "; ".join(told) + "."


def _waiting(machines: Sequence[Machine]) -> str:
    return (
        _names(machines, "{} is known here, and has not sent its first backup.")
        if len(machines) == 1
        else _names(machines, "{} are known here, and have not sent their first backups.")
    )


def _those(machines: Sequence[Machine]) -> str:
    return "One machine" if len(machines) == 1 else f"{number_word(len(machines)).capitalize()} machines"


def _names(machines: Sequence[Machine], text: str) -> str:
    names = [one.name for one in machines]
    joined = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return text.format(joined)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
