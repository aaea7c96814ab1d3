"""The chunk index against a model, over restarts, drops and bit flips."""

from __future__ import annotations

import random
import shutil
import sqlite3
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from muniment.client.state import chunk_index
from muniment.client.state.chunk_index import LocalChunkIndex
from muniment.client.state.database import Database
from muniment.model.ids import ChunkId, PackId
from muniment.model.packs import BlockAddress, ChunkAddress, PackKind

SEEDS = st.integers(0, 2**32)


def made_pack(seed: int, *, chunks: int = 40) -> tuple[PackId, dict[ChunkId, ChunkAddress]]:
    chance = random.Random(seed)
    pack = PackId(chance.randbytes(16))
    found: dict[ChunkId, ChunkAddress] = {}
    offset = 32
    for ordinal in range(-(-chunks // 10)):
        length = chance.randrange(100, 500_000)
        block = BlockAddress(pack, PackKind.DATA, chance.randrange(3), ordinal, offset, length)
        block = BlockAddress(pack, PackKind.DATA, 1, ordinal, offset, length)
        offset += length
        for place in range(min(10, chunks - ordinal * 10)):
            found[ChunkId(chance.randbytes(16))] = ChunkAddress(block, place * 7, chance.randrange(1, 2**22))
    return pack, found


class IndexAgainstModel(RuleBasedStateMachine):
    """Packs come from this run and from elsewhere, merges and restarts happen whenever they like."""

    @initialize()
    def begin(self) -> None:
        self.place = Path(__import__("tempfile").mkdtemp())
        self.database = Database(self.place / "state", machine=b"m")
        self.index = LocalChunkIndex(self.database)
        self.model: dict[ChunkId, ChunkAddress] = {}
        self.packs: dict[PackId, dict[ChunkId, ChunkAddress]] = {}
        self.committed: set[PackId] = set()

    @rule(seed=SEEDS)
    def add(self, seed: int) -> None:
        pack, chunks = made_pack(seed)
        self.index.add_pack(pack, kind=PackKind.DATA, epoch=1, chunks=chunks)
        self.packs[pack] = chunks
        self.model |= chunks

    @rule(seed=SEEDS)
    def learn(self, seed: int) -> None:
        pack, chunks = made_pack(seed)
        if pack not in self.packs:
            self.index.add_foreign_pack(pack, kind=PackKind.DATA, epoch=1, chunks=chunks)
            self.packs[pack] = chunks
            self.model |= chunks
            self.committed.add(pack)

    @precondition(lambda self: self.packs)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        pack = data.draw(st.sampled_from(sorted(self.packs)))
        self.index.drop_packs([pack])
        for chunk in self.packs.pop(pack):
            self.model.pop(chunk, None)
        self.committed.discard(pack)

    @precondition(lambda self: self.packs)
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        packs = data.draw(st.sets(st.sampled_from(sorted(self.packs))))
        self.index.mark_committed(packs)
        self.committed |= packs

    @rule()
    def restart(self) -> None:
        self.database.close()
        self.database = Database(self.place / "state", machine=b"m")
        self.index = LocalChunkIndex(self.database)

    @rule(seed=SEEDS)
    def look_up(self, seed: int) -> None:
        strangers = list(made_pack(seed + 2**40, chunks=5)[1])
        wanted = [*self.model, *strangers]
        random.Random(seed).shuffle(wanted)
        assert dict(self.index.find(wanted)) == self.model
        assert set(self.index.uncommitted()) == self.packs.keys() - self.committed
        assert self.index.unknown_of([*self.packs, PackId(b"\0" * 16)]) == {PackId(b"\0" * 16)}

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.database.close()
            shutil.rmtree(self.place)


TestIndexAgainstModel = IndexAgainstModel.TestCase
TestIndexAgainstModel.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "state", machine=b"m")


def test_merging_while_a_run_goes_on_loses_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunk_index, "MERGE_AT", 100)
    index = LocalChunkIndex(database)
    model: dict[ChunkId, ChunkAddress] = {}
    for seed in range(12):
        pack, chunks = made_pack(seed)
        index.add_pack(pack, kind=PackKind.DATA, epoch=1, chunks=chunks)
        model |= chunks
        assert dict(index.find(list(model))) == model


def test_what_a_killed_run_staged_is_found_beside_what_was_recorded_after(database: Database) -> None:
    pack, before = made_pack(1)
    LocalChunkIndex(database).add_pack(pack, kind=PackKind.DATA, epoch=1, chunks=before)
    index = LocalChunkIndex(database)
    pack, after = made_pack(2)
    index.add_pack(pack, kind=PackKind.DATA, epoch=1, chunks=after)
    assert dict(index.find([*before, *after])) == before | after


@pytest.mark.parametrize("merged", [False, True])
def test_no_flipped_bit_gives_a_wrong_address(tmp_path: Path, merged: bool) -> None:
    """Absent is fine: the chunk is stored once more. Somewhere else would be content lost."""
    path = tmp_path / "state"
    database = Database(path, machine=b"m")
    index = LocalChunkIndex(database)
    model: dict[ChunkId, ChunkAddress] = {}
    for seed in range(3):
        pack, chunks = made_pack(seed, chunks=20)
        index.add_pack(pack, kind=PackKind.DATA, epoch=1, chunks=chunks)
        model |= chunks
    if merged:
        LocalChunkIndex(database).find(list(model))
    database.close()
    sound = path.read_bytes()
    chance = random.Random(5)
    found = 0
    for _ in range(250):
        spoiled = bytearray(sound)
        spoiled[chance.randrange(len(sound))] ^= 1 << chance.randrange(8)
        path.write_bytes(spoiled)
        try:
            damaged = Database(path, machine=b"m")
            try:
                told = LocalChunkIndex(damaged).find(list(model))
            finally:
                damaged.close()
        except sqlite3.DatabaseError:
            continue
        found += len(told)
        assert all(model[chunk] == address for chunk, address in told.items())
    assert found > 0


def test_a_pack_dropped_by_another_run_never_lends_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sets run at once: one drops what the other has not sent yet, and stores a pack of its own."""
    monkeypatch.setattr(chunk_index, "MERGE_AT", 10)
    ours, theirs = (Database(tmp_path / "state", machine=b"m") for _ in range(2))
    index, other = LocalChunkIndex(ours), LocalChunkIndex(theirs)
    waiting, its_chunks = made_pack(1)
    index.add_pack(waiting, kind=PackKind.DATA, epoch=1, chunks=its_chunks)
    assert index.find(list(its_chunks)) == its_chunks
    other.drop_packs(other.uncommitted())
    pack, chunks = made_pack(2)
    other.add_pack(pack, kind=PackKind.DATA, epoch=1, chunks=chunks)
    assert index.find(list(chunks)) == chunks
    ours.close()
    theirs.close()
