"""A server, a vault and a machine, all of whose ports are watched, for many faults one after the other.

Every fault leaves the same vault and the same machine to the next one. What must hold after each is
`assert_sound`: the newest snapshot restores to exactly what the source is, and the server holds what it says.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.killing import CENSUS, RECORD, SMALL_PACKS
from tests.support.machine import Machine, Ran, differences
from tests.support.nursery import Nursery
from tests.support.server import Served, wait_until


@dataclass
class World:
    """`order` files are those of `tests.support.killing`, for the server's process and the machine's."""

    root: Path
    served: Served
    machine: Machine
    server_order: Path
    machine_order: Path
    source: Path
    chance: random.Random = field(default_factory=lambda: random.Random(20_261_122))
    restores: int = 0
    sound: bool = True
    """False while a fault is under way: a world that failed a test is of no use to the next."""

    # --- the source

    def change_source(self) -> None:
        """Some files change, one comes, one goes; enough new content for several small packs."""
        for _ in range(6):
            name = self.source / f"d{self.chance.randrange(5)}" / f"f{self.chance.randrange(12)}"
            name.write_bytes(self.chance.randbytes(self.chance.randrange(40_000, 90_000)))
        text = f"note {self.chance.random()}\n" * 50
        (self.source / "notes" / f"{self.chance.randrange(1 << 30):x}.txt").write_text(text)
        notes = sorted((self.source / "notes").iterdir())
        if len(notes) > 6:
            notes[0].unlink()

    # --- what the server was offered and what it holds

    def records(self) -> list[list[str]]:
        path = self.root / "record"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def forget_records(self) -> None:
        (self.root / "record").unlink(missing_ok=True)

    def received_twice(self) -> list[str]:
        """Packs whose bytes the server took in whole more than once."""
        taken = Counter(record[1] for record in self.records() if record[0] == "stored")
        return [pack for pack, times in taken.items() if times > 1]

    def stored_twice(self) -> list[str]:
        """Packs that became live more than once."""
        stored = Counter(record[1] for record in self.records() if record[::2] == ["stored", "True"])
        return [pack for pack, times in stored.items() if times > 1]

    def offered_again(self) -> list[str]:
        """Packs that a machine began to send although the server had stored them before."""
        stored: set[str] = set()
        again = []
        for word, pack, *_ in self.records():
            if word == "stored":
                stored.add(pack)
            elif pack in stored:
                again.append(pack)
        return again

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(
            sqlite3.connect(f"file:{self.served.data}/muniment.sqlite3?mode=ro", uri=True)
        ) as database:
            return database.execute(query).fetchall()

    def is_tidy(self) -> bool:
        """No upload half done: in the database, in the store, or between the two."""
        if self.rows("select 1 from vaults_pack where state = 'incoming'"):
            return False
        objects = self.served.data / "objects"
        if any((objects / ".incoming").iterdir()):
            return False
        named = {row[0] for row in self.rows("select object_key from vaults_pack where state = 'live'")}
        there = {str(path.relative_to(objects)) for path in objects.glob("*/packs/*/*")}
        return named == there

    # --- what must hold

    def snapshots(self) -> int:
        return self.rows("select count(*) from vaults_snapshot")[0][0]

    def assert_sound(self, snapshot: str) -> None:
        """The snapshot restores to the source, and the server's books agree with what it holds."""
        self.restores += 1
        target = self.root / f"restored{self.restores}"
        result = self.machine.done("restore", snapshot, "--target", target)
        assert result["errors"] == 0
        found = self.differences_from(target)
        assert not found, found[:5]
        shutil.rmtree(target)
        wait_until(self.is_tidy, seconds=60)
        assert self.stored_twice() == []
        metered = self.rows(
            "select v.used, (select coalesce(sum(size), 0) from vaults_pack p"
            " where p.vault_id = v.id and state = 'live') + (select coalesce(sum(metered), 0)"
            " from vaults_snapshot s where s.vault_id = v.id) from vaults_vault v"
        )
        assert all(used == held for used, held in metered), metered
        pending = self.rows(
            "select g.pending, (select coalesce(sum(size), 0) from vaults_pack p"
            " where p.vault_id = g.vault_id and p.sender_id = g.device_id and p.pending and state = 'live')"
            " from vaults_grant g"
        )
        assert all(counted == held for counted, held in pending), pending

    def differences_from(self, target: Path) -> list[str]:
        return differences(self.source, target / self.source.relative_to("/"))

    def back_up(self) -> Ran:
        return self.machine.run("backup")

    @contextmanager
    def fault(self) -> Iterator[None]:
        """Marks the world as of no use to others if what happens inside fails."""
        self.sound = False
        self.forget_records()
        yield
        self.sound = True

    def close(self) -> None:
        self.served.close()
        if self.machine.nursery is not None:
            self.machine.nursery.close()


def make_world(root: Path, *, census: bool = False, connect: bool = True) -> World:
    """A running server and a machine with a first snapshot of a small tree."""
    root.mkdir(parents=True)
    server_order, machine_order = root / "server.order", root / "machine.order"
    settings = {RECORD: str(root / "record"), SMALL_PACKS: "1"}
    ours, theirs = dict(settings), dict(settings)
    if census:
        ours[CENSUS], theirs[CENSUS] = str(root / "machine.census"), str(root / "server.census")
    data = root / "server"
    served = Served(data, nursery=Nursery(server_order, "server", environment=theirs))
    machine = Machine(root / "home", nursery=Nursery(machine_order, "client", environment=ours))
    world = World(root, served, machine, server_order, machine_order, root / "source")
    try:
        served.start()
        _plant(world)
        if connect:
            machine.connect(served.url, served.create_account())
            machine.done("backup", world.source)
    except BaseException:
        world.close()
        raise
    return world


@pytest.fixture(scope="module")
def worlds() -> Iterator[list[World]]:
    """All that the tests of a module used up, and the one in use."""
    made: list[World] = []
    yield made
    for world in made:
        world.close()


@pytest.fixture
def world(worlds: list[World], tmp_path_factory: pytest.TempPathFactory) -> World:
    """The world that the tests before left; a new one where they left it broken."""
    if not worlds or not worlds[-1].sound:
        if worlds:
            worlds[-1].close()
        worlds.append(make_world(tmp_path_factory.mktemp("kills") / "world"))
    return worlds[-1]


def _plant(world: World) -> None:
    for number in range(5):
        directory = world.source / f"d{number}"
        directory.mkdir(parents=True)
        for file in range(12):
            (directory / f"f{file}").write_bytes(
                world.chance.randbytes(world.chance.randrange(2_000, 30_000))
            )
    (world.source / "notes").mkdir()
    (world.source / "empty").mkdir()
    (world.source / "link").symlink_to("d1/f1")
    os.mkfifo(world.source / "pipe")
    os.link(world.source / "d1" / "f1", world.source / "d2" / "hard")
    with (world.source / "sparse").open("wb") as file:
        file.write(b"begin")
        file.truncate(3_000_000)
    (world.source / "large").write_bytes(world.chance.randbytes(1_500_000))
    # Files as young as the run that reads them are read again next time; most trees are older.
    then = time.time() - 3600
    for path in sorted(world.source.rglob("*"), reverse=True):
        os.utime(path, (then, then), follow_symlinks=False)
