"""Use cases of the server in this process, on a real SQLite file and a clock that tests turn.

Django is set up when this file is imported: the test modules beside it import models.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher
from django.core.management import call_command

from muniment.main.serve import set_up_django
from muniment.server.config import ServerConfig
from tests.support.databases import url_for

_DATA = Path(tempfile.mkdtemp(prefix="muniment-unit-"))
atexit.register(shutil.rmtree, _DATA, ignore_errors=True)
if not settings.configured:
    set_up_django(ServerConfig(data=_DATA, database_url=url_for(_DATA)))

from muniment.server.deployment import Deployment  # noqa: E402
from muniment.server.privacy.purposes import Purpose, afresh  # noqa: E402
from muniment.server.privacy.versions.posting import post_shipped  # noqa: E402
from muniment.server.web.context import deploy  # noqa: E402
from tests.support.domain import Clock, Member, make_deployment  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def migrated() -> None:
    call_command("migrate", verbosity=0, interactive=False)
    post_shipped(now=Clock()())


@pytest.fixture(autouse=True)
def _everything_is_open() -> Iterator[None]:
    """Tests look into every row. Requests, calls of devices and timed works begin afresh all the same."""
    with afresh(*Purpose):
        yield


_CHEAP = {"time_cost": 1, "memory_cost": 8, "parallelism": 1}
_DEAR = {name: getattr(Argon2PasswordHasher, name) for name in _CHEAP}


@pytest.fixture(scope="session", autouse=True)
def quick() -> Iterator[None]:
    """Hashing passwords is slow on purpose, and not here."""
    with pytest.MonkeyPatch.context() as patch:
        for name, cost in _CHEAP.items():
            patch.setattr(Argon2PasswordHasher, name, cost)
        yield


@pytest.fixture
def costly_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashing as dear as it really is."""
    for name, cost in _DEAR.items():
        monkeypatch.setattr(Argon2PasswordHasher, name, cost)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def deployment(tmp_path: Path, clock: Clock) -> Deployment:
    """A fresh object store; the database is shared, so tests make accounts of their own. Views see it."""
    made = make_deployment(tmp_path, clock)
    deploy(made)
    return made


@pytest.fixture
def member(deployment: Deployment) -> Member:
    return Member.first(deployment)
