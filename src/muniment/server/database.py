"""Which database the server keeps its rows in: SQLite in the data directory, or PostgreSQL by address.

database_settings(config)               # for Django
reach_database(seconds=60)              # wait for PostgreSQL, or say plainly why it cannot be used
with one_migrates(): ...
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.db import DatabaseError, connection

from muniment.server.config import ServerConfig
from muniment.server.logs import SERVICE

# TRUNCATE rather than DELETE: with synchronous=FULL SQLite syncs the emptied journal, so that a power cut
# right after a commit cannot bring the journal back and roll the acknowledged commit away.
# secure_delete: what is erased is gone from the file, not only from the tables.
_SQLITE_PRAGMAS = (
    "PRAGMA journal_mode=TRUNCATE; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA secure_delete=ON;"
)

# Whatever the cluster's own default is: what we acknowledge is on disk.
_DURABLE = "-c synchronous_commit=on"


_ANSWER_SECONDS = "10"
"""libpq's own patience with one address is the kernel's: minutes."""
_PAUSE_SECONDS = 0.5
_MIGRATING = int.from_bytes(b"muniment")
"""The advisory lock that whoever migrates holds."""


class BadDatabaseUrl(ValueError):
    """The address is of no kind that we speak."""


class DatabaseUnusable(Exception):
    """Says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """`passes`: it may be over in a moment, without anybody doing anything."""

    advice: str
    passes: bool = False


_AWAY = Trouble("PostgreSQL does not answer: is it running, and is its address right?", passes=True)
_STARTING = Trouble("PostgreSQL is starting or stopping: wait, then try again", passes=True)
_CROWDED = Trouble("PostgreSQL has no connection left: raise its max_connections", passes=True)
_PASSWORD = Trouble("PostgreSQL refuses the user or the password: see to the address, or to ~/.pgpass")
_NO_ENTRY = Trouble("PostgreSQL lets this user in from here by no rule: add one to its pg_hba.conf")
_TLS = Trouble("no TLS connection came about: see to the server's certificate, or to sslmode in the address")
_OPTION = Trouble("libpq does not know what stands after the ? of the address")
_TROUBLES: tuple[tuple[str, Trouble], ...] = (
    ("password authentication failed", _PASSWORD),
    ("no password supplied", _PASSWORD),
    ("peer authentication failed", _PASSWORD),
    ("authentication failed", _PASSWORD),
    ("no pg_hba.conf entry", _NO_ENTRY),
    ("role ", Trouble("PostgreSQL knows no such user: createuser makes one")),
    ("database ", Trouble("there is no such database: createdb makes one, empty is fine")),
    ("permission denied", Trouble("the user may not make tables: let it own the database")),
    ("ssl", _TLS),
    ("certificate", _TLS),
    ("invalid connection option", _OPTION),
    ("invalid integer value", _OPTION),
    ("invalid uri", _OPTION),
    ("starting up", _STARTING),
    ("shutting down", _STARTING),
    ("recovery mode", _STARTING),
    ("too many clients", _CROWDED),
    ("connection slots", _CROWDED),
    ("connection refused", _AWAY),
    ("no such file or directory", _AWAY),
    ("timeout expired", _AWAY),
    ("timed out", _AWAY),
    ("unreachable", _AWAY),
    ("no route to host", _AWAY),
    ("translate host name", _AWAY),
    ("name resolution", _AWAY),
    ("not known", _AWAY),
    ("closed the connection", _AWAY),
)
"""By what libpq and PostgreSQL say: of a connection that did not come about they tell no code. First wins."""


def database_settings(config: ServerConfig) -> dict[str, Any]:
    """Django's settings of the one database. Raises BadDatabaseUrl.

    `postgresql://USER:PASSWORD@HOST:PORT/NAME?sslmode=verify-full`; parts that are left out come from libpq's
    own places (`PGPASSFILE`, `PGSERVICE`). A directory as `?host=` is that of a Unix socket.
    """
    if not config.database_url:
        return {
            "ENGINE": "muniment.server.databases.sqlite",
            "NAME": str(config.database),
            "CONN_MAX_AGE": None,
            "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 30, "init_command": _SQLITE_PRAGMAS},
        }
    try:
        parts = urlsplit(config.database_url)
        port, options = parts.port, dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:  # its own text may quote a piece of the password
        raise BadDatabaseUrl("the port, or what stands after the ?, makes no sense") from None
    name = unquote(parts.path.removeprefix("/"))
    if parts.scheme not in ("postgresql", "postgres") or not name:
        raise BadDatabaseUrl("the address of the database is not postgresql://[USER@]HOST/NAME")
    return {
        "ENGINE": "muniment.server.databases.postgresql",
        "NAME": name,
        "USER": unquote(parts.username or options.pop("user", "")),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": options.pop("host", None) or parts.hostname or "",
        "PORT": str(port or options.pop("port", "")),
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"connect_timeout": _ANSWER_SECONDS, **options, "options": _DURABLE},
    }


def reach_database(*, seconds: float) -> None:
    """Return once the database answers. Raises DatabaseUnusable: at once where waiting mends nothing, else
    when it has not answered for so long.
    """
    end = time.monotonic() + seconds
    has_said = False
    while True:
        try:
            connection.ensure_connection()
        except DatabaseError as error:
            trouble = trouble_of(error)
            if not trouble.passes or time.monotonic() >= end:
                raise DatabaseUnusable(trouble.advice) from error
            if not has_said:
                SERVICE.warning("waiting for the database", exc_info=error)
                has_said = True
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def trouble_of(error: DatabaseError) -> Trouble:
    """What is wrong with the database, in words for the operator."""
    said = " ".join(str(error).split())
    if connection.vendor != "postgresql":
        return Trouble(f"the database cannot be used: {said}")
    # What is in quotes is a name: of a database that is called "role", say.
    plain = "".join(said.split('"')[::2]).lower()
    for words, trouble in _TROUBLES:
        if words in plain and ("exist" in plain or words not in ("role ", "database ")):
            return Trouble(f"{trouble.advice} ({said})", passes=trouble.passes)
    return Trouble(f"the database cannot be used: {said}")


@contextmanager
def one_migrates() -> Iterator[None]:
    """Whoever else migrates the same PostgreSQL waits, from wherever. It lets go when a process dies."""
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [_MIGRATING])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_MIGRATING])
