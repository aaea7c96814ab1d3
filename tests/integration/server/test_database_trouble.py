"""A database that is away or wrong: a line says what to do, no traceback. And one migrates at a time."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest

from tests.support.databases import ask_cluster, socket_folder
from tests.support.nursery import REPOSITORY
from tests.support.server import Served, wait_until

_MIGRATING = int.from_bytes(b"muniment")


@pytest.fixture
def database() -> str:
    """The name of an empty database."""
    name = "empty" + secrets.token_hex(6)
    ask_cluster(f"CREATE DATABASE {name}")
    return name


def url(name: str, *, host: Path | None = None, user: str = "postgres") -> str:
    return f"postgresql://{user}@/{name}?host={host or socket_folder()}"


def refused(data: Path, address: str, *, wait: float = 0.0) -> tuple[str, str]:
    """What `serve` and `admin` say; both have to end with 1."""
    said = []
    for words in (["serve", "--port", "0"], ["admin", "mailbox"]):
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.configured", f'{{"database_wait": {wait}}}', *words,
             "--data", str(data)],
            capture_output=True, text=True, timeout=120, cwd=REPOSITORY,
            env={**os.environ, "MUNIMENT_DATABASE_URL": address},
        )  # fmt: skip
        assert done.returncode == 1, done
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
        said.append(done.stderr.splitlines()[-1])
    assert said[0].startswith("muniment serve: ")
    assert said[1].startswith("muniment admin: ")
    return said[0], said[1]


@pytest.mark.parametrize(
    ("address", "advice"),
    [
        ("postgresql://me@/muniment?host=/nowhere/at/all", "is it running"),
        ("postgresql://me:geheim@127.0.0.1:1/muniment", "is it running"),
        ("postgresql://me:geheim@127.0.0.1:geheim/muniment", "makes no sense"),
        ("postgresql://me:geheim@127.0.0.1/muniment?sslmod=off", "after the ?"),
        ("mysql://me:geheim@127.0.0.1/muniment", "is not postgresql://"),
    ],
)
def test_an_address_without_a_database_is_explained(tmp_path: Path, address: str, advice: str) -> None:
    for said in refused(tmp_path / "data", address):
        assert advice in said
        assert "geheim" not in said


@pytest.mark.postgresql
def test_what_the_database_refuses_is_explained(tmp_path: Path, database: str) -> None:
    stranger = "stranger" + secrets.token_hex(4)
    ask_cluster(f"CREATE ROLE {stranger} LOGIN")
    for address, advice in (
        (url("no_such_database"), "createdb makes one"),
        (url(database, user="no_such_role"), "createuser makes one"),
        (url(database, user=stranger), "let it own the database"),
        (url(database) + "&sslmode=sideways", "see to"),
    ):
        for said in refused(tmp_path / "data", address, wait=60):
            assert advice in said, said


@pytest.mark.postgresql
def test_a_wrong_password_is_explained(tmp_path: Path, database: str) -> None:
    rules = socket_folder() / "data/pg_hba.conf"
    locked = "locked" + secrets.token_hex(4)
    ask_cluster(f"CREATE ROLE {locked} LOGIN PASSWORD 'right'")
    before = rules.read_text()
    rules.write_text(f"local all {locked} scram-sha-256\n{before}")
    try:
        ask_cluster("SELECT pg_reload_conf()")
        address = url(database).replace("postgres@", f"{locked}:wrong@")
        wait_until(lambda: _is_locked(address))
        for said in refused(tmp_path / "data", address, wait=60):
            assert "refuses the user or the password" in said
            assert "wrong" not in said
    finally:
        rules.write_text(before)
        ask_cluster("SELECT pg_reload_conf()")


def _is_locked(address: str) -> bool:
    try:
        psycopg.connect(address).close()
    except psycopg.OperationalError:
        return True
    return False


@pytest.mark.postgresql
def test_a_release_that_is_too_old_is_explained(tmp_path: Path, database: str) -> None:
    old = tmp_path / "old"
    old.mkdir()
    (old / "sitecustomize.py").write_text(
        "from django.db.backends.postgresql.features import DatabaseFeatures\n"
        "DatabaseFeatures.minimum_database_version = (99,)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "muniment.main.admin", "mailbox", "--data", str(tmp_path / "data")],
        capture_output=True, text=True, timeout=120,
        env={**os.environ, "MUNIMENT_DATABASE_URL": url(database), "PYTHONPATH": str(old)},
    )  # fmt: skip
    assert done.returncode == 1
    assert "PostgreSQL 99 or later is required" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.postgresql
def test_a_server_waits_for_a_database_that_starts_later(tmp_path: Path, database: str) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    server = Served(tmp_path / "data", config={"database_wait": 60})
    server.environment = {"MUNIMENT_DATABASE_URL": url(database, host=folder)}
    name = ".s.PGSQL.5432"

    def arrive() -> None:
        wait_until(lambda: server.log.exists() and "waiting for the database" in server.log.read_text())
        (folder / name).symlink_to(socket_folder() / name)

    arriving = threading.Thread(target=arrive)
    arriving.start()
    try:
        assert server.start().url
        assert server.log.read_text().count("waiting for the database") == 1
    finally:
        arriving.join()
        server.close()


@pytest.mark.postgresql
def test_whoever_comes_second_waits_until_the_first_has_migrated(tmp_path: Path, database: str) -> None:
    server = Served(tmp_path / "data", config={"job_poll": 60})
    server.environment = {"MUNIMENT_DATABASE_URL": url(database)}
    waits = (
        "SELECT 1 FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database"
        f" WHERE locktype = 'advisory' AND NOT granted AND datname = '{database}'"
    )
    with psycopg.connect(url(database), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [_MIGRATING])
        starting = threading.Thread(target=server.start)
        starting.start()
        try:
            wait_until(lambda: ask_cluster(waits))
            time.sleep(0.5)
            assert server.url == ""
            tables = "SELECT 1 FROM information_schema.tables WHERE table_name = 'django_migrations'"
            assert not ask_cluster(tables, database=database)
            other.execute("SELECT pg_advisory_unlock(%s)", [_MIGRATING])
        finally:
            other.close()
            starting.join()
            server.close()
    assert server.url


@pytest.mark.postgresql
def test_two_servers_that_start_at_once_on_an_empty_database_both_come_up(
    tmp_path: Path, database: str
) -> None:
    servers = [Served(tmp_path / name, config={"job_poll": 60}) for name in ("first", "second")]
    for server in servers:
        server.environment = {"MUNIMENT_DATABASE_URL": url(database)}
    threads = [threading.Thread(target=server.start) for server in servers]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(server.url for server in servers)
    finally:
        for server in servers:
            server.close()
