"""Which database the server keeps its rows in: SQLite in the data directory, or PostgreSQL by address."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from muniment.server.config import ServerConfig

# TRUNCATE rather than DELETE: with synchronous=FULL SQLite syncs the emptied journal, so that a power cut
# right after a commit cannot bring the journal back and roll the acknowledged commit away.
# secure_delete: what is erased is gone from the file, not only from the tables.
_SQLITE_PRAGMAS = (
    "PRAGMA journal_mode=TRUNCATE; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA secure_delete=ON;"
)

# Whatever the cluster's own default is: what we acknowledge is on disk.
_DURABLE = "-c synchronous_commit=on"


class BadDatabaseUrl(ValueError):
    """The address is of no kind that we speak."""


def database_settings(config: ServerConfig) -> dict[str, Any]:
    """Django's settings of the one database. Raises BadDatabaseUrl.

    `postgresql://USER:PASSWORD@HOST:PORT/NAME?sslmode=verify-full`; parts that are left out come from libpq's
    own places (`PGPASSFILE`, `PGSERVICE`). A directory as `?host=` is that of a Unix socket.
    """
    if not config.database_url:
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(config.database),
            "CONN_MAX_AGE": None,
            "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 30, "init_command": _SQLITE_PRAGMAS},
        }
    parts = urlsplit(config.database_url)
    name = unquote(parts.path.removeprefix("/"))
    if parts.scheme not in ("postgresql", "postgres") or not name:
        raise BadDatabaseUrl("the address of the database is not postgresql://[USER@]HOST/NAME")
    options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": unquote(parts.username or options.pop("user", "")),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": options.pop("host", None) or parts.hostname or "",
        "PORT": str(parts.port or options.pop("port", "")),
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {**options, "options": _DURABLE},
    }
