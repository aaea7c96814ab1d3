"""How long to go on, and how fast: patience and rate limits, on a clock of their own."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from muniment.client.transport.rate import STEP, RateLimit, limit_of
from muniment.client.transport.retry import FIRST_DELAY, LONGEST_DELAY, TOLD_AFTER, TOLD_EVERY, Patience
from muniment.model.errors import Interrupted


class FakeTime:
    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []
        self.stopped = False

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += seconds
        return self.stopped

    def sleep(self, seconds: float) -> None:
        self.wait(seconds)

    def patience(self, seconds: float) -> Patience:
        return Patience(seconds, self.monotonic, self.wait, random.Random(7))


def test_delays_grow_are_jittered_and_end_with_patience() -> None:
    time = FakeTime()
    attempts = time.patience(300).begin()
    while attempts.pause(retry_after=None):
        pass
    assert 300 - LONGEST_DELAY <= sum(time.waits) <= 300
    assert FIRST_DELAY / 4 <= time.waits[0] <= FIRST_DELAY
    assert max(time.waits) <= LONGEST_DELAY
    assert len(set(time.waits)) == len(time.waits)


def test_no_patience_means_one_attempt() -> None:
    time = FakeTime()
    assert not time.patience(0).begin().pause(retry_after=None)
    assert time.waits == []


def test_retry_after_is_obeyed_and_never_waited_for_in_vain() -> None:
    time = FakeTime()
    attempts = time.patience(60).begin()
    assert attempts.pause(retry_after=30)
    assert time.waits[0] >= 30
    assert not attempts.pause(retry_after=45)  # it would come after the end of our patience


def test_a_long_wait_is_told_now_and_then_and_by_one_request_for_all() -> None:
    time = FakeTime()
    told: list[tuple[float, str, float]] = []
    patience = time.patience(300)
    patience.tell = lambda why, left: told.append((time.now, why, left))
    several = [patience.begin() for _ in range(3)]
    while all(one.pause(retry_after=None, why="connection refused") for one in several):
        pass
    assert {why for _, why, _ in told} == {"connection refused"}
    assert TOLD_AFTER <= told[0][0] - 100 < TOLD_AFTER + LONGEST_DELAY
    assert 300 - TOLD_AFTER - LONGEST_DELAY < told[0][2] < 300
    moments = [moment for moment, _, _ in told]
    assert all(later - earlier >= TOLD_EVERY for earlier, later in pairwise(moments))
    assert 3 <= len(moments) <= 5


def test_a_request_to_stop_ends_the_waiting() -> None:
    time = FakeTime()
    time.stopped = True
    with pytest.raises(Interrupted):
        time.patience(60).begin().pause(retry_after=None)


def test_a_rate_holds_over_many_small_pieces() -> None:
    time = FakeTime()
    limit = RateLimit(100_000, monotonic=time.monotonic, sleep=time.sleep)
    for _ in range(100):
        limit.take(STEP)
    elapsed = time.now - 100.0
    assert elapsed == pytest.approx(100 * STEP / 100_000, rel=0.05)


def test_a_pause_earns_no_burst() -> None:
    time = FakeTime()
    limit = RateLimit(1000, monotonic=time.monotonic, sleep=time.sleep)
    limit.take(100)
    time.now += 3600
    begun = time.now
    for _ in range(20):
        limit.take(100)
    assert time.now - begun >= 1.5


def test_no_limit_is_none() -> None:
    assert limit_of(None) is None
    limit = limit_of(5)
    assert limit is not None
    assert limit.bytes_per_second == 5 * 1024
