"""One flipped bit, anywhere in what is stored: found, or without effect. Never a wrong byte restored.

At least a thousand flips, each from the seed. A flip counts as found when the command fails or names damage,
and all that it restored is true; as harmless when everything was restored and is true.
"""

from __future__ import annotations

import functools
import os
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from muniment.client.disk.target import PosixTarget
from muniment.client.vault.opening import open_heads, unwrap_any
from muniment.client.vault.slots import check_wrapped_slots, read_slot_list
from muniment.crypto.codes import RecoveryKit
from muniment.crypto.keys import VaultKeys
from muniment.engine.plan_restore import RestoreRequest
from muniment.engine.ports import Overwrite, Special
from muniment.engine.restore import restore
from muniment.format import tree as tree_module
from muniment.model.entry import PageRef
from muniment.model.errors import DamagedObject, MunimentError, Outcome
from muniment.model.ids import DeviceId, PackId, VaultId
from muniment.wire import messages as wire
from tests.support.attacked import files_of, whatever_is_there_is_true
from tests.support.evil import Evil
from tests.support.machine import Machine
from tests.support.memory_vault import RecordingProgress
from tests.support.raw_device import ask, send
from tests.support.server import Served

SEED = 20_261_122
FLOORS = {"packs": 350, "sealed": 500, "server": 100, "database": 45, "machine": 28}
"""Flips of each kind; their sum is what is promised."""


@dataclass
class Kept:
    """A small vault on a real server: its machine, and what is stored where."""

    served: Served
    source: Path
    alice: Machine
    kit: str
    vault: VaultId
    keys: VaultKeys
    snapshot: str

    def get(self, path: str) -> tuple[int, bytes]:
        status, content, _ = send(
            self.served.url, "GET", f"/vaults/{self.vault}{path}", token=self.alice.secrets.token
        )
        return status, content

    @functools.cached_property
    def shown(self) -> wire.VaultKeys:
        path = f"/vaults/{self.vault}/keys"
        return ask(self.served.url, "GET", path, wire.VaultKeys, token=self.alice.secrets.token)

    @functools.cached_property
    def packs(self) -> dict[str, bytes]:
        status, content = self.get(f"/snapshots/{self.snapshot}/packs")
        assert status == 200
        listed = msgspec.json.decode(content, type=wire.SnapshotPacks).packs
        return {info.pack: self.get(f"/packs/{info.pack}")[1] for info in listed}

    @property
    def root(self) -> PageRef | None:
        return open_heads(self.keys, self.shown.heads, own=None).opened[0].head.root

    def objects(self, kind: str) -> list[Path]:
        below = self.served.data / "objects" / self.vault.hex / kind
        return sorted(path for path in below.rglob("*") if path.is_file())


def make_source(root: Path) -> None:
    """Some forty entries in two leaves or more; content that compresses and content that does not."""
    rng = random.Random(SEED)
    for number in range(36):
        path = root / f"d{number % 5}/{rng.randrange(1 << 64):016x}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(600) if number % 3 else b"again and again %d " % number * 90)
        os.utime(path, ns=(1_600_000_000_000_000_000 + number, 1_600_000_000_000_000_000 + number))
    (root / "link").symlink_to("d1")
    (root / "d2").chmod(0o700)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    base = tmp_path_factory.mktemp("kept")
    source = base / "source"
    make_source(source)
    served = Served(base / "server").start()
    try:
        alice = Machine(base / "alice", environment={"MUNIMENT_PATIENCE": "0"})
        kit = alice.join(served.url, served.create_account()).expect(0).result["recovery_kit"]
        snapshot = alice.muniment("backup", source).expect(0).result["snapshot"]
        alice.muniment("snapshots").expect(0)
        vault = alice.connection.vault
        token = alice.secrets.token
        said = ask(served.url, "GET", f"/vaults/{vault}/keys", wire.VaultKeys, token=token)
        keys = unwrap_any(said, vault, kit=RecoveryKit.parse(kit))
        # Restarted, so that nothing of what is on its disk is also in its memory.
        served.restart()
        yield Kept(served, source, alice, kit, vault, keys, snapshot)
    finally:
        served.close()


@dataclass
class Verdicts:
    """What came of the flips."""

    counts: Counter[str] = field(default_factory=Counter)
    undetected: list[str] = field(default_factory=list)

    def judge(self, what: str, *, found: bool, true: bool) -> None:
        if not true:
            self.undetected.append(what)
        self.counts["found" if found else "harmless"] += 1

    def accept(self, kind: str) -> None:
        assert self.undetected == []
        assert sum(self.counts.values()) >= FLOORS[kind]
        assert self.counts["found"] > 0


def flipped(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content))
    changed = bytearray(content)
    changed[at] ^= 1 << rng.randrange(8)
    return bytes(changed)


def is_true(source: Path, target: Path, *, whole: bool) -> bool:
    """Whether nothing in `target` is other than it was; with `whole`, and nothing is missing."""
    try:
        found = whatever_is_there_is_true(source, target, directories=whole)
    except (AssertionError, OSError):
        return False  # other bytes, or a name that never was
    return not whole or (
        found == files_of(source) and (target / source.relative_to("/") / "link").is_symlink()
    )


# --- packs, in this process


class FlippedPacks:
    """The engine's BlockSource over stored bytes, one of them with a flipped bit."""

    def __init__(self, packs: dict[str, bytes]) -> None:
        self.packs = packs

    def read(self, pack: PackId, *, offset: int, length: int) -> bytes:
        if pack.hex not in self.packs:
            raise DamagedObject(f"pack {pack}", why="nobody holds it")
        content = self.packs[pack.hex][offset : offset + length]
        if len(content) != length:
            raise DamagedObject(f"pack {pack}", why="it is shorter than that")
        return content


def restore_from(kept: Kept, packs: dict[str, bytes], target: Path) -> bool:
    """Restore into `target`; whether damage was found."""
    disk = PosixTarget(os.fsencode(target))
    try:
        report = restore(
            RestoreRequest(root=kept.root, under=None, overwrite=Overwrite.NEVER, special=Special.SKIP),
            keys=kept.keys, source=FlippedPacks(packs), pages=None, target=disk,
            progress=RecordingProgress(), stop=lambda: False,
        )  # fmt: skip
    except MunimentError:
        return True
    finally:
        disk.close()
    return report.outcome is Outcome.INTEGRITY


def flip_packs(kept: Kept, base: Path, *, flips: int) -> Verdicts:
    rng, verdicts = random.Random(SEED), Verdicts()
    names = sorted(kept.packs)
    # Most of a small pack is padding, which no restore reads: so most flips go where blocks are.
    used = {name: len(kept.packs[name].rstrip(b"\0")) for name in names}
    assert all(used.values())
    for number in range(flips):
        name = rng.choice(names)
        content = bytearray(kept.packs[name])
        at = rng.randrange(min(len(content), 32 << 10)) if number % 4 else rng.randrange(len(content))
        content[at] ^= 1 << rng.randrange(8)
        target = base / f"target-{number}"
        found = restore_from(kept, kept.packs | {name: bytes(content)}, target)
        verdicts.judge(
            f"pack {name} at {at}", found=found, true=is_true(kept.source, target, whole=not found)
        )
        shutil.rmtree(target, ignore_errors=True)
    return verdicts


def test_bits_of_packs(kept: Kept, tmp_path: Path) -> None:
    verdicts = flip_packs(kept, tmp_path, flips=FLOORS["packs"])
    verdicts.accept("packs")
    assert verdicts.counts["found"] > verdicts.counts["harmless"] / 8


def test_harness_can_fail(kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted bugs: without the page's id, the chunk's id and the seal, flips go through and are seen."""
    from muniment.crypto.sealing import SealKeys
    from muniment.engine.blocks import BlockFetcher

    def open_unsealed(self: SealKeys, sealed: bytes, *, aad: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        sealed = bytes(sealed)
        counter = sealed[:12] + (2).to_bytes(4)
        return Cipher(algorithms.AES(self._raw[:32]), modes.CTR(counter)).decryptor().update(sealed[12:-16])

    monkeypatch.setattr(SealKeys, "open", open_unsealed)
    monkeypatch.setattr(BlockFetcher, "_wrong_chunks", lambda self, content, chunks: frozenset())
    monkeypatch.setattr(tree_module.TreeReader, "_load", lambda self, ref, expected: self._load_page(ref))
    verdicts = flip_packs(kept, tmp_path, flips=120)
    assert verdicts.undetected


# --- heads, lists, slots, as a server might hand them out


def test_bits_of_heads_lists_and_slots(kept: Kept) -> None:
    rng, verdicts, shown = random.Random(SEED), Verdicts(), kept.shown
    assert shown.signed is not None
    state = read_slot_list(kept.keys, shown.signed, seen=None)
    change = msgspec.structs.replace

    def head() -> None:
        record = rng.choice(shown.heads)
        own = DeviceId.parse(record.device)
        open_heads(kept.keys, [change(record, head=flipped(record.head, rng))], own=own)

    def listed_body() -> None:
        signed = shown.signed
        read_slot_list(kept.keys, change(signed, body=flipped(signed.body, rng)), seen=None)

    def listed_mac() -> None:
        read_slot_list(kept.keys, change(shown.signed, mac=flipped(shown.signed.mac, rng)), seen=None)

    def slot() -> None:
        wrapped = rng.choice(shown.slots)
        check_wrapped_slots(state, [change(wrapped, wrapped=flipped(wrapped.wrapped, rng))])

    def kit_slot() -> None:
        slots = [change(one, wrapped=flipped(one.wrapped, rng)) for one in shown.slots]
        keys = unwrap_any(change(shown, slots=slots), kept.vault, kit=RecoveryKit.parse(kept.kit))
        if keys != kept.keys:
            verdicts.undetected.append("another key came out of a slot")

    for number in range(FLOORS["sealed"]):
        act: Callable[[], None] = (head, listed_body, listed_mac, slot, kit_slot)[number % 5]
        try:
            act()
        except MunimentError:
            verdicts.judge(act.__name__, found=True, true=True)
        else:
            verdicts.judge(act.__name__, found=False, true=False)
    verdicts.accept("sealed")


# --- what lies on the server's disk


def test_bits_of_the_servers_objects(kept: Kept) -> None:
    """Heads, reference sets, lists and slots: the server finds them, and says so instead of answering."""
    rng, verdicts = random.Random(SEED), Verdicts()
    places = {
        "heads": "/keys", "sets": f"/snapshots/{kept.snapshot}/packs", "slots": "/keys", "slotlists": "/keys",
    }  # fmt: skip
    kinds = {path.name for path in (kept.served.data / "objects" / kept.vault.hex).iterdir()}
    truth = {place: kept.get(place)[1] for place in places.values()}
    kept.served.restart()  # forgets which reference sets it has read
    for number in range(FLOORS["server"]):
        kind = sorted(kinds & places.keys())[number % len(kinds & places.keys())]
        path = rng.choice(kept.objects(kind))
        true = path.read_bytes()
        path.chmod(0o600)
        path.write_bytes(flipped(true, rng))
        try:
            status, content = kept.get(places[kind])
        finally:
            path.write_bytes(true)
        found = status >= 400
        verdicts.judge(f"{kind} {path.name}", found=found, true=found or content == truth[places[kind]])
    assert kinds - {"packs"} == places.keys()
    verdicts.accept("server")
    assert verdicts.counts["harmless"] == 0
    assert kept.get("/keys")[0] == 200


def test_bits_of_the_servers_database(kept: Kept, tmp_path: Path) -> None:
    """A flip in the file, and its change counter raised so that the server reads what is on the disk."""
    rng, verdicts = random.Random(SEED), Verdicts()
    database = kept.served.data / "muniment.sqlite3"
    with sqlite3.connect(database) as connection:
        connection.execute("select count(*) from sqlite_master").fetchone()
    connection.close()
    true = database.read_bytes()
    counter = int.from_bytes(true[24:28])
    for number in range(FLOORS["database"]):
        at = 40 + rng.randrange(len(true) - 40)
        content = bytearray(true)
        content[at] ^= 1 << rng.randrange(8)
        counter = _write_database(database, content, counter)
        target = tmp_path / f"target-{number}"
        bare = Machine(tmp_path / "bare", environment={"MUNIMENT_PATIENCE": "0"})
        ran = bare.muniment("--kit", kept.kit, "restore", kept.snapshot, "--target", target)
        found = ran.code != 0
        assert not found or ran.error or ran.code == 5, ran
        verdicts.judge(f"database at {at}", found=found, true=is_true(kept.source, target, whole=not found))
        shutil.rmtree(target, ignore_errors=True)
    _write_database(database, bytearray(true), counter)
    kept.alice.muniment("snapshots").expect(0)
    assert verdicts.undetected == []
    assert sum(verdicts.counts.values()) >= FLOORS["database"]


def _write_database(path: Path, content: bytearray, counter: int) -> int:
    """In place: the server keeps the file open."""
    content[24:28] = (counter + 1000).to_bytes(4)
    content[92:96] = content[24:28]
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()
    return counter + 1000


# --- what lies on the machine


@pytest.fixture(scope="module")
def unsent(kept: Kept, tmp_path_factory: pytest.TempPathFactory) -> tuple[Machine, Path]:
    """The machine after a run whose packs the server refused: a full spool. And the tree of that run."""
    base = tmp_path_factory.mktemp("unsent")
    source = base / "source"
    shutil.copytree(kept.source, source, symlinks=True)
    (source / "d1/again").write_bytes(next(iter(sorted(files_of(kept.source)))).read_bytes())
    (source / "d1/new").write_bytes(random.Random(SEED).randbytes(30_000))
    machine = kept.alice.copy_to(base / "alice")
    with Evil(kept.served.url) as evil:
        evil.usurp("put_pack", lambda exchange: exchange.refuse("vault_full", status=507, short_by=1))
        machine.muniment("backup", source, server=evil.url).expect(4)
    assert list((base / "alice").rglob("*.pack"))
    return machine, source


def test_bits_of_the_machine(kept: Kept, unsent: tuple[Machine, Path], tmp_path: Path) -> None:
    """State, spool, configuration and device key: then a backup, and what it made is restored elsewhere."""
    machine, source = unsent
    rng, verdicts = random.Random(SEED), Verdicts()
    files = sorted(path for path in machine.home.rglob("*") if path.is_file() and path.stat().st_size)
    for number in range(FLOORS["machine"]):
        home = tmp_path / f"home-{number}"
        victim = machine.copy_to(home)
        path = home / files[number % len(files)].relative_to(machine.home)
        path.write_bytes(flipped(path.read_bytes(), rng))
        ran = victim.muniment("backup", source)
        what = f"{path.relative_to(home)} (exit {ran.code})"
        if ran.code != 0:
            verdicts.judge(what, found=True, true=ran.error is not None)
        else:
            target, bare = tmp_path / "target", Machine(tmp_path / "bare")
            made = ran.result["snapshot"]
            restored = bare.muniment("--kit", kept.kit, "restore", made, "--target", target)
            true = restored.code == 0 and is_true(source, target, whole=True)
            verdicts.judge(what, found=False, true=true)
            shutil.rmtree(target, ignore_errors=True)
        shutil.rmtree(home)
    assert verdicts.undetected == []
    assert sum(verdicts.counts.values()) >= FLOORS["machine"]


def test_a_thousand_flips_are_promised() -> None:
    assert sum(FLOORS.values()) >= 1000
