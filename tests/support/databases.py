"""The database that tests run on: SQLite, or PostgreSQL with `--database postgresql`.

    pytest -m database --database postgresql

One cluster per pytest session, on a Unix socket in a directory of its own, as durable as a real one (fsync
on). Workers of xdist share it. The cluster ends with the session, and by itself where the session is killed.

Every data directory gets a database of its own, copied from a template in which all migrations have run. On
SQLite only where the directory is not there yet: who makes it first sees the service begin from nothing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from muniment.main.serve import set_up_django
from muniment.server.config import ServerConfig

_SOCKET = "MUNIMENT_TEST_POSTGRES"
"""Environment variable with the directory of the running cluster's socket; workers inherit it."""
_TEMPLATE = "muniment_template"
_PREFIX = "muniment-postgres-"
_URL = "MUNIMENT_DATABASE_URL"
_REPOSITORY = Path(__file__).parents[2]
_STARTED: list[Cluster] = []


class Cluster:
    """A PostgreSQL of our own below a temporary directory."""

    def __init__(self) -> None:
        _remove_abandoned()
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        programs = _programs()
        # The kernel interrupts it when we die: a fast, orderly shutdown.
        command = ["setpriv", "--pdeathsig", "INT"]
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
            command += ["--reuid", "postgres", "--regid", "postgres", "--init-groups"]
        data = self.folder / "data"
        initdb = [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust"]
        done = subprocess.run(
            [*command, *initdb, "-E", "UTF8", "--locale=C"], capture_output=True, text=True, cwd="/"
        )
        assert done.returncode == 0, done.stderr
        options = {"listen_addresses": "", "unix_socket_directories": self.folder, "max_connections": 300}
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, programs / "postgres", "-D", data, *settings], stdout=log, stderr=log, cwd="/"
            )
        self._await()

    def _await(self) -> None:
        end = time.monotonic() + 60
        while True:
            try:
                _ask(self.folder, "postgres", "SELECT 1")
            except _psycopg().OperationalError:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < end, "PostgreSQL did not answer"
                time.sleep(0.05)
            else:
                return

    def make_template(self) -> None:
        _ask(self.folder, "postgres", f"CREATE DATABASE {_TEMPLATE}")
        with tempfile.TemporaryDirectory() as data:
            _migrate_elsewhere(Path(data), _url(self.folder, _TEMPLATE))

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)


def _migrate_elsewhere(data: Path, url: str) -> None:
    """In a process of its own, because Django is set up once per process."""
    command = [sys.executable, "-m", "tests.support.databases", str(data), url]
    done = subprocess.run(command, capture_output=True, text=True, cwd=_REPOSITORY)
    assert done.returncode == 0, done.stderr


def _remove_abandoned() -> None:
    """Directories of sessions that were killed: their PostgreSQL has ended, nobody else can clear up."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        if time.time() - folder.stat().st_mtime > 600 and not (folder / "data/postmaster.pid").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _psycopg() -> Any:
    import psycopg  # only where PostgreSQL is asked for

    return psycopg


def _programs() -> Path:
    """The directory of initdb and postgres, which Debian keeps out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    elsewhere = shutil.which("initdb")
    if found:
        return found[-1].parent
    if elsewhere is None:
        raise pytest.UsageError("--database postgresql needs PostgreSQL: apt-get install postgresql")
    return Path(elsewhere).parent


def _url(socket: Path | str, name: str) -> str:
    return f"postgresql://postgres@/{name}?host={socket}"


def _ask(socket: Path | str, database: str, query: str) -> list[tuple[Any, ...]]:
    with closing(_psycopg().connect(_url(socket, database), autocommit=True)) as connection:
        cursor = connection.execute(query)
        return cursor.fetchall() if cursor.description else []


def is_postgresql() -> bool:
    return _SOCKET in os.environ


def url_for(data: Path) -> str:
    """The address of the data directory's own database, made at first; empty for SQLite."""
    if not is_postgresql():
        return ""
    socket, name = os.environ[_SOCKET], _name(data)
    try:
        _ask(socket, "postgres", f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
    except _psycopg().errors.DuplicateDatabase:
        pass
    return _url(socket, name)


@cache
def _migrated() -> bytes:
    """A SQLite database in which all migrations have run."""
    with tempfile.TemporaryDirectory() as data:
        _migrate_elsewhere(Path(data), "")
        return _sqlite(Path(data)).read_bytes()


def begin(data: Path) -> None:
    """What a data directory that is not there yet begins with."""
    if is_postgresql() or data.exists():
        return
    data.mkdir(mode=0o700)
    _sqlite(data).touch(mode=0o600)
    _sqlite(data).write_bytes(_migrated())


def _sqlite(data: Path) -> Path:
    return ServerConfig(data=data).database


def socket_folder() -> Path:
    """Where the cluster listens."""
    return Path(os.environ[_SOCKET])


def ask_cluster(query: str, *, database: str = "postgres") -> list[tuple[Any, ...]]:
    """As its superuser, beside any data directory."""
    return _ask(socket_folder(), database, query)


def environment_for(data: Path) -> dict[str, str]:
    """What `muniment serve` and `muniment admin` find their database by."""
    url = url_for(data)
    return {_URL: url} if url else {}


def rows(data: Path, query: str) -> list[tuple[Any, ...]]:
    """What the database of a data directory answers to a plain query."""
    if is_postgresql():
        return _ask(os.environ[_SOCKET], _name(data), query)
    with closing(sqlite3.connect(f"file:{_sqlite(data)}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def change(data: Path, statement: str) -> None:
    """Change rows behind a server's back, as time would have."""
    if is_postgresql():
        with _psycopg().connect(_url(os.environ[_SOCKET], _name(data)), autocommit=True) as connection:
            connection.execute(statement)
        return
    with closing(sqlite3.connect(_sqlite(data), timeout=30)) as connection, connection:
        connection.execute(statement)


def save(data: Path) -> None:
    """A copy of the database of a data directory that nobody uses now: the operator's backup."""
    if is_postgresql():
        ask_cluster(f"CREATE DATABASE {_name(data)}_saved TEMPLATE {_name(data)}")
    else:
        shutil.copy(data / "muniment.sqlite3", data.with_name(f"{data.name}.saved"))


def put_back(data: Path) -> None:
    """What `save` copied, in the place of what was there."""
    if is_postgresql():
        ask_cluster(f"DROP DATABASE {_name(data)}")
        ask_cluster(f"CREATE DATABASE {_name(data)} TEMPLATE {_name(data)}_saved")
    else:
        shutil.copy(data.with_name(f"{data.name}.saved"), data / "muniment.sqlite3")


def _name(data: Path) -> str:
    return "t" + hashlib.sha256(os.fsencode(data)).hexdigest()[:24]


def start_cluster() -> None:
    """From now on this process, and those that it starts, use PostgreSQL. Nothing where one runs already."""
    if is_postgresql():
        return
    cluster = Cluster()
    _STARTED.append(cluster)
    cluster.make_template()
    os.environ[_SOCKET] = str(cluster.folder)


def stop_cluster() -> None:
    while _STARTED:
        os.environ.pop(_SOCKET, None)
        _STARTED.pop().stop()


def migrate(data: Path, url: str) -> None:
    from django.core.management import call_command  # once it is known that this process sets Django up
    from django.db import connections

    set_up_django(ServerConfig(data=data, database_url=url))
    call_command("migrate", verbosity=0, interactive=False)
    connections.close_all()


if __name__ == "__main__":
    migrate(Path(sys.argv[1]), sys.argv[2])
