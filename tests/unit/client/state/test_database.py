"""Local state that is new, kept, damaged or copied."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from muniment.client.state.database import Database, Origin, checked, machine_identity, unchecked


def opened(path: Path, machine: bytes = b"this machine") -> Database:
    return Database(path, machine=machine)


def test_state_is_new_then_kept(tmp_path: Path) -> None:
    path = tmp_path / "below" / "state.sqlite3"
    first = opened(path)
    installation = first.installation
    first.put("key", b"value")
    first.close()
    again = opened(path)
    assert (first.origin, again.origin) == (Origin.NEW, Origin.KEPT)
    assert again.installation == installation
    assert again.get("key") == b"value"
    assert path.stat().st_mode & 0o777 == 0o600
    again.close()


def test_a_copy_keeps_its_content_and_begins_a_new_installation(tmp_path: Path) -> None:
    first = opened(tmp_path / "one")
    first.put("key", b"value")
    installation = first.installation
    first.close()
    shutil.copy2(tmp_path / "one", tmp_path / "two")
    copy = opened(tmp_path / "two")
    assert copy.origin is Origin.COPIED
    assert copy.installation != installation
    assert copy.get("key") == b"value"
    copy.close()


def test_the_same_file_on_another_machine_is_a_copy(tmp_path: Path) -> None:
    first = opened(tmp_path / "state", b"one machine")
    installation = first.installation
    first.close()
    moved = opened(tmp_path / "state", b"another machine")
    assert moved.origin is Origin.COPIED
    assert moved.installation != installation
    moved.close()
    assert isinstance(machine_identity(), bytes)


@pytest.mark.parametrize("content", [b"x" * 5000, b"SQLite format 3\0" + b"\xff" * 4000, b""])
def test_what_is_no_database_is_set_aside(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state"
    path.write_bytes(content)
    database = opened(path)
    assert database.origin is Origin.DAMAGED
    database.put("works", b"again")
    assert database.get("works") == b"again"
    database.close()


def test_a_version_from_the_future_is_set_aside_not_guessed_at(tmp_path: Path) -> None:
    path = tmp_path / "state"
    opened(path).close()
    connection = sqlite3.connect(path)
    connection.execute("pragma user_version = 99")
    connection.close()
    database = opened(path)
    assert database.origin is Origin.DAMAGED
    assert (tmp_path / "state.damaged").exists()
    database.close()


def test_a_state_of_the_version_before_keeps_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "state"
    database = opened(path)
    database.put("cursor", b"12345678")
    database.close()
    connection = sqlite3.connect(path)
    connection.executescript("drop table listed_heads; pragma user_version = 1;")
    connection.close()
    for _ in range(2):
        database = opened(path)
        assert database.origin is Origin.KEPT
        assert database.get("cursor") == b"12345678"
        assert database.one("select count(*) from listed_heads") == (0,)
        database.close()


def test_a_row_whose_check_sum_is_wrong_counts_as_absent(tmp_path: Path) -> None:
    database = opened(tmp_path / "state")
    database.put("cursor", b"12345678")
    with database.transaction() as connection:
        connection.execute("update meta set value = ? where key = 'cursor'", (checked(b"12345678"),))
    assert database.get("cursor") is None  # the sum covers the key, too
    database.close()


def test_a_transaction_is_all_or_nothing_and_joins_the_outer_one(tmp_path: Path) -> None:
    database = opened(tmp_path / "state")
    with pytest.raises(ZeroDivisionError):
        with database.transaction():
            database.put("one", b"1")
            raise ZeroDivisionError
    assert database.get("one") is None
    database.close()


def test_check_sums_find_every_flipped_bit() -> None:
    content = os.urandom(40)
    stored = checked(content, context=b"where it is")
    assert unchecked(stored, context=b"where it is") == content
    assert unchecked(stored, context=b"elsewhere") is None
    assert unchecked(None) is None
    assert unchecked(b"abc") is None
    for bit in range(len(stored) * 8):
        flipped = bytearray(stored)
        flipped[bit // 8] ^= 1 << bit % 8
        assert unchecked(bytes(flipped), context=b"where it is") is None
