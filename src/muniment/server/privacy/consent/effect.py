"""What follows from what somebody said. Pure: events in, an answer out; nothing said means no.

Global Privacy Control is a standing no to whatever the statement marks with `gpc`. Only a grant that came
after the signal was first seen, and whose notice spoke of it, is stronger. Neither a signal nor a refusal
can make anything allowed that was not: both only ever take away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class State(StrEnum):
    GRANTED = "granted"
    DENIED = "denied"
    WITHDRAWN = "withdrawn"
    SIGNALLED = "signalled"
    """Nobody clicked: the browser of somebody signed in sent Global Privacy Control."""


EVERY_PURPOSE = ""
"""What a signal is about."""

Target = tuple[str, str]
"""A purpose, and the recipient where the grant is for one alone (else the empty string)."""


@dataclass(frozen=True, slots=True)
class Said:
    """One event. `until`: when a grant lapses by itself."""

    target: Target
    state: State
    mentions_gpc: bool = False
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Consents:
    """What somebody allows, at one moment."""

    granted: frozenset[Target] = frozenset()
    despite_gpc: frozenset[Target] = frozenset()
    """Of `granted`, what holds while the browser sends Global Privacy Control."""

    def allows(self, purpose: str, *, recipient: str = "", gpc: bool = False) -> bool:
        """Whether there is a grant for exactly this."""
        return (purpose, recipient) in (self.despite_gpc if gpc else self.granted)


NOTHING = Consents()


def consents(events: Sequence[Said], *, refused_by_gpc: Iterable[str], now: datetime) -> Consents:
    """What the events (oldest first) come to; `refused_by_gpc` are the purposes that the signal is about."""
    signalled = max((at for at, said in enumerate(events) if said.state is State.SIGNALLED), default=None)
    refused = frozenset(refused_by_gpc)
    last: dict[Target, int] = {
        said.target: at for at, said in enumerate(events) if said.state is not State.SIGNALLED
    }
    granted, despite = set(), set()
    for target, at in last.items():
        said = events[at]
        if said.state is not State.GRANTED or (said.until is not None and now >= said.until):
            continue
        stands = target[0] not in refused or (said.mentions_gpc and (signalled is None or at > signalled))
        if stands:
            despite.add(target)
        if stands or signalled is None:
            granted.add(target)
    return Consents(frozenset(granted), frozenset(despite))


def newest(events: Sequence[Said]) -> Mapping[Target, State]:
    """What was last said about each target, signals aside."""
    return {said.target: said.state for said in events if said.state is not State.SIGNALLED}
