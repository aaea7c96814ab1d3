"""What runs by itself: one work that fails keeps no other from running."""

from __future__ import annotations

import pytest

from muniment.server import process
from muniment.server.deployment import Deployment


def test_one_failing_work_stops_no_other(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(deployment: Deployment) -> int:
        raise OSError("the store is away")

    monkeypatch.setattr(process, "_TIMED", (lambda _: 2, fails, lambda _: None, lambda _: 3))
    assert process._tidy_once(deployment) == 5


def test_every_work_of_the_release_runs(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[str] = []
    monkeypatch.setattr(process.SERVICE, "warning", lambda text, **_: warned.append(text))
    process._tidy_once(deployment)
    assert warned == []
