"""Who has something of this machine to itself: a run its set, a change the configuration."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from muniment.client.home.places import Home
from muniment.model.errors import AlreadyRunning


@contextmanager
def run_lock(path: Path, *, name: str) -> Iterator[None]:
    """Hold the lock for the duration; AlreadyRunning where another process has it. Dies with the process."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise AlreadyRunning(
                f"another run of the set {name!r} is under way on this machine",
                advice="Let it finish, or stop it; sets with other names may run beside it.",
            ) from None
        yield
    finally:
        os.close(descriptor)


@contextmanager
def changing_config(home: Home) -> Iterator[None]:
    """From loading the configuration to saving it: whoever else changes it waits. Dies with the process."""
    home.config.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(home.config / ".config.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
