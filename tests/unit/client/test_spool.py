"""The spool against a vault of a few lines: bounds, failures, resuming; which index packs are believed."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from muniment.client.backup.learning import learn_index_packs
from muniment.client.spool.directory import SpoolDirectory
from muniment.client.spool.uploads import Spool, VaultPacks
from muniment.client.state.chunk_index import LocalChunkIndex
from muniment.client.state.database import Database
from muniment.client.transport.connections import FileBody
from muniment.crypto.digests import chunk_id
from muniment.crypto.keys import VaultKeys
from muniment.format.block import Compressor
from muniment.format.pack import PackBuilder, encode_index_copy, read_index
from muniment.model.errors import DamagedObject, MunimentError, ServerUnreachable, SessionExpired, VaultFull
from muniment.model.ids import ChunkId, PackId, SessionId, VaultId
from muniment.model.packs import ChunkAddress, PackKind, SealedPack
from muniment.wire import messages as wire

KEYS = VaultKeys.generate(VaultId(b"v" * 16))


@dataclass
class PlainVault:
    """Server and session in one; `answer` may raise or wait before a pack is taken."""

    packs: dict[PackId, bytes] = field(default_factory=dict)
    puts: list[PackId] = field(default_factory=list)
    answer: Any = lambda _pack: None
    current: SessionId = field(default_factory=SessionId.random)
    renewals: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put_pack(self, vault: VaultId, session: SessionId, pack: SealedPack, content: FileBody) -> None:
        with self.lock:
            self.puts.append(pack.pack_id)
        self.answer(pack)
        if session != self.current:
            raise SessionExpired("over")
        data = content.file.read()
        assert len(data) == content.size == pack.size
        assert hashlib.sha256(data).digest() == pack.sha256
        with self.lock:
            self.packs[pack.pack_id] = data

    def known_packs(self, vault: VaultId, request: wire.KnownPacksRequest) -> wire.KnownPacks:
        asked = [PackId.parse(text) for text in request.packs]
        held = {pack.hex: hashlib.sha256(self.packs[pack]).digest() for pack in asked if pack in self.packs}
        return wire.KnownPacks(held=held)

    def renew(self, expired: SessionId) -> SessionId:
        self.renewals += 1
        self.current = SessionId.random()
        return self.current

    def read_pack(self, vault: VaultId, pack: PackId, *, offset: int, length: int) -> bytes:
        if pack not in self.packs:
            raise DamagedObject(f"pack {pack}", why="the vault no longer holds it")
        return self.packs[pack][offset : offset + length]

    def read(self, pack: PackId, *, offset: int, length: int) -> bytes:
        return self.read_pack(KEYS.vault, pack, offset=offset, length=length)


@dataclass
class Bench:
    """One machine's spool; `again` is the same machine after its process died."""

    place: Path
    vault: PlainVault = field(default_factory=PlainVault)
    options: dict[str, Any] = field(default_factory=dict)
    set_name: str = "set"

    def __post_init__(self) -> None:
        self.database = Database(self.place / "state", machine=b"m")
        self.index = LocalChunkIndex(self.database)
        self.directory = SpoolDirectory(self.place / "spool" / self.set_name)

    def spool(self) -> Spool:
        return Spool(
            self.directory,
            index=self.index,
            keys=KEYS,
            server=self.vault,  # type: ignore[arg-type]
            session=self.vault,  # type: ignore[arg-type]
            **self.options,
        )

    def again(self) -> Bench:
        self.database.close()
        return Bench(self.place, self.vault, self.options, self.set_name)

    def beside(self) -> Bench:
        """The run of another set of the same vault."""
        return Bench(self.place, self.vault, self.options, "another")

    def files(self) -> list[Path]:
        return sorted(self.directory.path.iterdir())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def sealed_pack(size: int = 50_000) -> tuple[SealedPack, memoryview, Mapping[ChunkId, ChunkAddress]]:
    builder = PackBuilder(KEYS, PackKind.DATA)
    content = os.urandom(size)
    builder.add_data(bytes(Compressor().encode([content])), [chunk_id(KEYS, content)], [len(content)])
    sealed, view = builder.seal()
    return sealed, view, dict(builder.chunks)


def test_packs_arrive_are_known_at_once_and_leave_nothing_behind(bench: Bench) -> None:
    packs = [sealed_pack() for _ in range(12)]
    with bench.spool() as spool:
        for pack, content, chunks in packs:
            spool.send(pack, content, chunks)
            assert dict(bench.index.find(list(chunks))) == chunks
        spool.drain()
        assert spool.backlog == 0
    assert bench.vault.packs.keys() == {pack.pack_id for pack, _, _ in packs}
    assert bench.files() == []
    assert spool.sent_packs == bench.vault.packs.keys()


def test_sending_waits_while_the_spool_is_full(bench: Bench) -> None:
    gate = threading.Event()
    bench.vault.answer = lambda _pack: gate.wait(10)
    bench.options = {"uploads": 1, "most": 140_000}
    sent: list[int] = []

    def send_all(spool: Spool) -> None:
        for number in range(6):
            spool.send(*sealed_pack())
            sent.append(number)

    with bench.spool() as spool:
        sender = threading.Thread(target=send_all, args=(spool,))
        sender.start()
        time.sleep(0.3)
        assert len(sent) == 2
        assert spool.backlog <= 140_000
        gate.set()
        sender.join()
        spool.drain()
    assert len(bench.vault.packs) == 6


@pytest.mark.parametrize(
    "error", [VaultFull(short_by=5), ServerUnreachable("away"), RuntimeError("surprise")]
)
def test_a_failure_is_told_to_who_sends_next_and_who_waits(bench: Bench, error: Exception) -> None:
    def refuse(_pack: SealedPack) -> None:
        raise error

    bench.vault.answer = refuse
    expected = type(error) if isinstance(error, MunimentError) else MunimentError
    with bench.spool() as spool:
        spool.send(*sealed_pack())
        with pytest.raises(expected):
            spool.drain()
        with pytest.raises(expected):
            spool.send(*sealed_pack())
    assert len(bench.files()) >= 1  # kept for the next run


def test_an_expired_session_is_renewed_without_the_sender_noticing(bench: Bench) -> None:
    bench.vault.answer = lambda _pack: None
    with bench.spool() as spool:
        stale = bench.vault.current

        def expire(_pack: SealedPack) -> None:
            bench.vault.answer = lambda _pack: None
            bench.vault.current = SessionId.random()

        bench.vault.answer = expire
        spool.send(*sealed_pack())
        spool.drain()
    assert bench.vault.current != stale
    assert len(bench.vault.packs) == 1
    assert bench.vault.renewals >= 1


def test_what_a_dead_run_left_is_sent_first_and_only_if_the_vault_lacks_it(bench: Bench) -> None:
    held, lacking = sealed_pack(), sealed_pack()
    for pack, content, chunks in (held, lacking):
        bench.directory.write(pack, content)
        bench.index.add_pack(pack.pack_id, kind=pack.kind, epoch=0, chunks=chunks)
    bench.vault.packs[held[0].pack_id] = bytes(held[1])
    after = bench.again()
    with after.spool() as spool:
        assert spool.resume() == 1
        spool.drain()
    assert after.vault.puts == [lacking[0].pack_id]
    assert after.files() == []
    both = [*held[2], *lacking[2]]
    assert set(after.index.find(both)) == set(both)


def test_a_pack_that_was_never_recorded_is_learned_from_itself(bench: Bench) -> None:
    pack, content, chunks = sealed_pack()
    bench.directory.write(pack, content)
    with bench.spool() as spool:
        assert spool.resume() == 1
        spool.drain()
    assert dict(bench.index.find(list(chunks))) == chunks


def test_torn_and_foreign_files_are_thrown_away(bench: Bench) -> None:
    pack, content, _ = sealed_pack()
    path = bench.directory.write(pack, content).path
    spoiled = bytearray(path.read_bytes())
    spoiled[len(spoiled) // 2] ^= 1
    path.write_bytes(spoiled)
    (bench.directory.path / "something.part").write_bytes(b"half")
    (bench.directory.path / f"{PackId.random()}.pack").write_bytes(b"no pack")
    with bench.spool() as spool:
        assert spool.resume() == 0
        spool.drain()
    assert bench.files() == []
    assert bench.vault.puts == []


def test_a_recorded_pack_whose_file_was_torn_is_not_believed_in(bench: Bench) -> None:
    pack, content, chunks = sealed_pack()
    path = bench.directory.write(pack, content).path
    bench.index.add_pack(pack.pack_id, kind=pack.kind, epoch=0, chunks=chunks)
    path.write_bytes(path.read_bytes()[:1000])
    after = bench.again()
    with after.spool() as spool:
        spool.resume()
        spool.drain()
    assert after.index.find(list(chunks)) == {}


def test_packs_that_the_vault_let_go_are_forgotten_unless_committed(bench: Bench) -> None:
    gone, kept = sealed_pack(), sealed_pack()
    for pack, _, chunks in (gone, kept):
        bench.index.add_pack(pack.pack_id, kind=pack.kind, epoch=0, chunks=chunks)
    bench.index.mark_committed([kept[0].pack_id])
    with bench.spool() as spool:
        spool.resume()
    assert set(bench.index.find([*gone[2], *kept[2]])) == set(kept[2])


def test_what_another_set_has_sealed_is_neither_forgotten_nor_sent(bench: Bench) -> None:
    pack, content, chunks = sealed_pack()
    bench.directory.write(pack, content)
    bench.index.add_pack(pack.pack_id, kind=pack.kind, epoch=0, chunks=chunks)
    other = bench.beside()
    with other.spool() as spool:
        assert spool.resume() == 0
        spool.drain()
    assert dict(other.index.find(list(chunks))) == chunks
    assert bench.vault.puts == []
    assert [path.stem for path in bench.files()] == [pack.pack_id.hex]


def test_what_another_set_has_sealed_is_sent_when_a_commit_lacks_it(bench: Bench) -> None:
    here, torn, nowhere = sealed_pack(), sealed_pack(), sealed_pack()
    for pack, content, chunks in (here, torn):
        bench.directory.write(pack, content)
        bench.index.add_pack(pack.pack_id, kind=pack.kind, epoch=0, chunks=chunks)
    path = bench.directory.path_of(torn[0].pack_id)
    path.write_bytes(path.read_bytes()[:-100] + bytes(100))
    other = bench.beside()
    with other.spool() as spool:
        assert spool.adopt([pack.pack_id for pack, _, _ in (here, torn, nowhere)]) == {here[0].pack_id}
        spool.drain()
    assert bench.vault.puts == [here[0].pack_id]
    assert other.files() == []
    with bench.spool() as spool:  # whose own run finds it held
        assert spool.resume() == 0
    assert bench.vault.puts == [here[0].pack_id]
    assert bench.files() == []


def test_ranges_are_read_from_the_spool_while_they_are_there(bench: Bench) -> None:
    pack, content, _ = sealed_pack()
    bench.directory.write(pack, content)
    source = VaultPacks(bench.vault, KEYS.vault, bench.directory)  # type: ignore[arg-type]
    assert source.read(pack.pack_id, offset=100, length=50) == bytes(content[100:150])
    bench.directory.path_of(pack.pack_id).unlink()
    with pytest.raises(DamagedObject):
        source.read(pack.pack_id, offset=100, length=50)


# --- index packs of others


def index_pack_of(
    *packs: tuple[SealedPack, memoryview, Mapping[ChunkId, ChunkAddress]],
) -> tuple[SealedPack, bytes]:
    builder = PackBuilder(KEYS, PackKind.INDEX)
    for pack, content, _ in packs:
        copy = encode_index_copy(read_index(KEYS, content, pack_id=pack.pack_id))
        builder.add_index_copy(bytes(Compressor().encode([copy])), pack.pack_id, len(copy))
    sealed, view = builder.seal()
    return sealed, bytes(view)


def info_of(index: SealedPack, *covers: PackId) -> wire.IndexPackInfo:
    return wire.IndexPackInfo(
        pack=index.pack_id.hex, epoch=0, size=index.size, covers=[pack.hex for pack in covers]
    )


def test_index_packs_of_others_are_learned_once(bench: Bench) -> None:
    packs = [sealed_pack() for _ in range(3)]
    for pack, content, _ in packs:
        bench.vault.packs[pack.pack_id] = bytes(content)
    index, content_of_index = index_pack_of(*packs)
    bench.vault.packs[index.pack_id] = content_of_index
    info = info_of(index, *(pack.pack_id for pack, _, _ in packs))
    learned = learn_index_packs([info], index=bench.index, keys=KEYS, source=bench.vault)
    assert (learned.packs, learned.refused) == (3, ())
    every = {chunk: address for _, _, chunks in packs for chunk, address in chunks.items()}
    assert dict(bench.index.find(list(every))) == every
    assert bench.index.uncommitted() == []
    again = learn_index_packs([info], index=bench.index, keys=KEYS, source=bench.vault)
    assert again.packs == 0


@pytest.mark.parametrize("lie", ["packs are gone", "packs are others", "index is gone", "size is absurd"])
def test_an_index_pack_that_lies_is_not_believed(bench: Bench, lie: str) -> None:
    packs = [sealed_pack() for _ in range(3)]
    index, content_of_index = index_pack_of(*packs)
    info = info_of(index, *(pack.pack_id for pack, _, _ in packs))
    if lie != "index is gone":
        bench.vault.packs[index.pack_id] = content_of_index
    if lie == "packs are others":
        for pack, _, _ in packs:
            bench.vault.packs[pack.pack_id] = bytes(sealed_pack()[1])
    if lie == "size is absurd":
        info = wire.IndexPackInfo(pack=info.pack, epoch=0, size=1 << 40, covers=info.covers)
    learned = learn_index_packs([info], index=bench.index, keys=KEYS, source=bench.vault)
    assert learned.packs == 0
    assert [pack for pack, _ in learned.refused] == [index.pack_id.hex]
    assert bench.index.find([chunk for _, _, chunks in packs for chunk in chunks]) == {}
