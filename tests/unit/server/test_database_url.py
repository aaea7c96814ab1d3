"""The address of the database."""

from __future__ import annotations

from pathlib import Path

import pytest

from muniment.server.config import ServerConfig
from muniment.server.database import BadDatabaseUrl, database_settings


def _settings(url: str) -> dict[str, object]:
    return database_settings(ServerConfig(data=Path("/data"), database_url=url))


def test_without_an_address_it_is_a_file_in_the_data_directory() -> None:
    made = _settings("")
    assert (made["ENGINE"], made["NAME"]) == ("muniment.server.databases.sqlite", "/data/muniment.sqlite3")


def test_an_address_over_the_network() -> None:
    made = _settings("postgresql://back%20up:p%40ss@db.example.org:6432/vaults?sslmode=verify-full")
    assert made["ENGINE"] == "muniment.server.databases.postgresql"
    assert (made["USER"], made["PASSWORD"]) == ("back up", "p@ss")
    assert (made["HOST"], made["PORT"], made["NAME"]) == ("db.example.org", "6432", "vaults")
    assert made["OPTIONS"] == {
        "sslmode": "verify-full",
        "connect_timeout": "10",
        "options": "-c synchronous_commit=on",
    }


def test_an_address_of_a_socket() -> None:
    made = _settings("postgresql:///vaults?host=/run/postgresql&user=muniment")
    assert (made["HOST"], made["USER"], made["NAME"]) == ("/run/postgresql", "muniment", "vaults")


@pytest.mark.parametrize("url", ["mysql://host/name", "postgresql://host", "name", "postgresql:///"])
def test_anything_else_is_refused(url: str) -> None:
    with pytest.raises(BadDatabaseUrl):
        _settings(url)


@pytest.mark.parametrize(
    "url",
    ["postgresql://me:secret@host:secret/name", "postgresql://me:se[cret@host/name", "postgresql:///n?x"],
)
def test_what_cannot_be_read_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(BadDatabaseUrl) as refused:
        _settings(url)
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None
