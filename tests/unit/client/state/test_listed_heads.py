"""The remembered history: a true beginning of it, or less, never anything else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from muniment.client.state.database import Database
from muniment.client.state.known_heads import OpenedHead
from muniment.client.state.listed_heads import ListedHeads
from muniment.crypto.keys import VaultKeys
from muniment.format.head import seal_head, snapshot_id
from muniment.model.ids import DeviceId, InstallationId, VaultId
from muniment.model.snapshot import Counts, Head

KEYS = VaultKeys.generate(VaultId.random())
DEVICE, INSTALLATION = DeviceId.random(), InstallationId.random()


def made(counter: int) -> OpenedHead:
    head = Head(
        device=DEVICE,
        installation=INSTALLATION,
        counter=counter,
        set_id=KEYS.set_id(DEVICE, "papers"),
        set_name="papers",
        started_ns=counter * 10**9,
        ended_ns=counter * 10**9 + 5,
        roots=(b"/home/\xff",),
        root=None,
        counts=Counts(1, 2, 3, 4, 5, 6),
        parent=None,
        slot_list_number=1,
        slot_list_hash=bytes(32),
        partial=False,
        seen=(),
        file_systems=(),
        excluded=("*.o",),
        host="here",
        client_version="1",
    )
    return OpenedHead(snapshot_id(seal_head(KEYS, head)), head, counter + 0.25)


HEADS = [made(counter) for counter in range(1, 8)]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "state", machine=b"m")
    yield database
    database.close()


def test_it_comes_back_in_order_and_grows_at_the_end(database: Database) -> None:
    memory = ListedHeads(database, KEYS)
    assert memory.all() == []
    memory.remember(HEADS[:4], place=0)
    memory.remember(HEADS[4:], place=4)
    assert ListedHeads(database, KEYS).all() == HEADS
    memory.remember(HEADS[2:3], place=2)
    assert memory.all() == HEADS[:3]


@pytest.mark.parametrize(
    "damage",
    [
        "update listed_heads set record = zeroblob(length(record)) where place = 3",
        "update listed_heads set record = substr(record, 1, 20) where place = 3",
        "update listed_heads set record = 'text' where place = 3",
        "update listed_heads set record = (select record from listed_heads where place = 2) where place = 3",
        "delete from listed_heads where place = 3",
    ],
)
def test_what_follows_a_damaged_row_is_not_believed(database: Database, damage: str) -> None:
    memory = ListedHeads(database, KEYS)
    memory.remember(HEADS, place=0)
    with database.transaction() as connection:
        connection.execute(damage)
    assert memory.all() == HEADS[:3]


def test_it_tells_nothing_without_the_key(database: Database, tmp_path: Path) -> None:
    ListedHeads(database, KEYS).remember(HEADS, place=0)
    assert ListedHeads(database, VaultKeys.generate(KEYS.vault)).all() == []
    stored = (tmp_path / "state").read_bytes()
    assert b"papers" not in stored
    assert b"/home/" not in stored
