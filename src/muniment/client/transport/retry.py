"""How long to go on when the server or the network falters."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from muniment.model.errors import Interrupted

FIRST_DELAY = 0.25
LONGEST_DELAY = 20.0
TOLD_AFTER = 5.0
"""Seconds of trouble that nobody needs to hear of, …"""

TOLD_EVERY = 60.0
"""… and how often it is told after that."""


@dataclass(slots=True)
class Patience:
    """Exponential delays with full jitter, until `seconds` have passed since the first fault.

    `wait` sleeps and returns True where the person asked to stop. `tell` is told what is waited for, and for
    how many seconds more at most; by one request for all.
    """

    seconds: float
    monotonic: Callable[[], float]
    wait: Callable[[float], bool]
    chance: random.Random = field(default_factory=random.SystemRandom)
    tell: Callable[[str, float], None] = lambda _why, _left: None
    _told: float | None = None

    def begin(self) -> Attempts:
        return Attempts(self)

    def keep_informed(self, why: str, *, since: float, left: float) -> None:
        now = self.monotonic()
        if now - since >= TOLD_AFTER and (self._told is None or now - self._told >= TOLD_EVERY):
            self._told = now
            self.tell(why, left)


@dataclass(slots=True)
class Attempts:
    """The faults of one request."""

    patience: Patience
    faults: int = 0
    _first_fault: float = 0.0

    def pause(self, *, retry_after: float | None, why: str = "") -> bool:
        """Wait before the next attempt; False when patience is at its end, Interrupted on request to stop."""
        now = self.patience.monotonic()
        if self.faults == 0:
            self._first_fault = now
        left = self._first_fault + self.patience.seconds - now
        ceiling = min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(self.faults, 10))
        delay = self.patience.chance.uniform(ceiling / 4, ceiling)
        if retry_after is not None:
            delay = max(delay, retry_after)
        self.faults += 1
        if left <= 0 or (retry_after is not None and retry_after > left):
            return False
        self.patience.keep_informed(why, since=self._first_fault, left=left)
        if self.patience.wait(min(delay, left)):
            raise Interrupted(
                "stopped while waiting for the server",
                advice="What is sealed stays on this machine; run the same command again to go on.",
            )
        return True
