"""An evil server, or a hostile holder of the key, works on what a run believes: its index, acknowledgements,
"you have no vault yet", the key slots that a passphrase is tried on.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from muniment.crypto.digests import chunk_id
from muniment.crypto.keys import VaultKeys
from muniment.format.block import Compressor
from muniment.format.pack import PackBuilder
from muniment.model.ids import PackId, VaultId
from muniment.model.packs import PackKind
from muniment.wire import messages as wire
from tests.support.attacked import AttackedVault, files_of, whatever_is_there_is_true
from tests.support.evil import Evil, Exchange
from tests.support.forger import Forger
from tests.support.machine import Machine, Ran

change = msgspec.structs.replace


@pytest.fixture
def evil(attacked: AttackedVault) -> Iterator[Evil]:
    with Evil(attacked.url) as proxy:
        yield proxy


# --- "you have no vault yet"

NO_VAULT: dict[str, tuple[str, int]] = {
    "enrol-shows-none": ("UsageError", 2),
    "keys-not-found": ("NotOnServer", 1),
    "keys-empty": ("WrongSecret", 1),
    "keys-without-list": ("DamagedObject", 5),
}


@pytest.mark.parametrize("options", [(), ("--existing",)], ids=["code-says", "flag-says"])
@pytest.mark.parametrize("name", NO_VAULT)
def test_no_key_is_made_because_a_server_says_so(
    attacked: AttackedVault, evil: Evil, name: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    match name:
        case "enrol-shows-none":
            evil.rewrite("enrol", wire.Enrolled, lambda said: change(said, vaults=[]))
        case "keys-not-found":
            evil.usurp("keys", lambda exchange: exchange.refuse("not_found", status=404))
        case "keys-empty":
            evil.rewrite("keys", wire.VaultKeys, lambda said: change(said, signed=None, slots=[], heads=[]))
        case "keys-without-list":
            evil.rewrite("keys", wire.VaultKeys, lambda said: change(said, signed=None))
    ran = Machine(tmp_path / "new").join(evil.url, attacked.codes.pop(), *options)
    assert (ran.error, ran.code) == NO_VAULT[name], ran
    assert not evil.sent_after_attack


def test_connected_machine_does_not_believe_that_its_vault_is_gone(
    attacked: AttackedVault, evil: Evil, tmp_path: Path
) -> None:
    evil.usurp("keys", lambda exchange: exchange.refuse("not_found", status=404))
    ran = attacked.alice.copy_to(tmp_path / "alice").muniment("backup", attacked.tree, server=evil.url)
    assert (ran.error, ran.code) == ("NotOnServer", 1)
    assert evil.routes == ["keys"]


# --- what a passphrase, kit or device key is tried on


def slot_of(kind: str, twist: Callable[[list[object]], object]) -> Callable[[wire.VaultKeys], wire.VaultKeys]:
    """Rewrite the parameters of the wrapped keys of a kind."""
    number = {"passphrase": 1, "kit": 2, "device": 3}[kind]

    def rewrite(said: wire.VaultKeys) -> wire.VaultKeys:
        slots = []
        for slot in said.slots:
            fields = msgspec.msgpack.decode(slot.wrapped)
            if fields[1] == number:
                twist(fields)
            slots.append(change(slot, wrapped=msgspec.msgpack.encode(fields)))
        return change(said, slots=slots)

    return rewrite


def parameter(at: int, value: int) -> Callable[[list[object]], object]:
    return lambda fields: fields[2].__setitem__(at, value)  # type: ignore[attr-defined]


DERIVATIONS = {
    "memory-tiny": parameter(1, 8),
    "memory-below-floor": parameter(1, (64 << 10) - 1),
    "memory-absurd": parameter(1, (1 << 32) - 1),
    "memory-zero": parameter(1, 0),
    "memory-negative": parameter(1, -1),
    "passes-one": parameter(2, 1),
    "passes-absurd": parameter(2, 1 << 30),
    "lanes-zero": parameter(3, 0),
    "lanes-absurd": parameter(3, 1 << 24),
}


@pytest.mark.parametrize("name", DERIVATIONS)
def test_key_derivation_is_neither_weakened_nor_inflated(
    attacked: AttackedVault, evil: Evil, name: str, tmp_path: Path
) -> None:
    evil.rewrite("keys", wire.VaultKeys, slot_of("passphrase", DERIVATIONS[name]))
    begun = time.process_time()
    ran = Machine(tmp_path / "new").join(evil.url, attacked.codes.pop())
    assert (ran.error, ran.code) == ("WeakKeyDerivation", 5), ran
    assert time.process_time() - begun < 10
    assert evil.routes[-1] == "keys"


@pytest.mark.parametrize("kind", ["kit", "device"])
def test_mauled_slot_is_no_oracle(attacked: AttackedVault, kind: str, tmp_path: Path) -> None:
    """Whichever byte of what a secret decides on is changed: the same error, the same requests."""
    said = attacked.says(attacked.alice)
    own = attacked.alice.connection.device.hex
    listed = msgspec.msgpack.decode(said.signed.body, type=wire.SlotList)  # type: ignore[union-attr]
    name = next(
        info.slot for info in listed.slots if info.kind == kind and (kind == "kit" or info.device == own)
    )
    wrapped = next(slot.wrapped for slot in said.slots if slot.slot == name)
    machine = attacked.alice.copy_to(tmp_path / "alice") if kind == "device" else Machine(tmp_path / "bare")
    words = ["--kit", attacked.kit] if kind == "kit" else []
    seen: set[tuple[object, ...]] = set()
    with Evil(attacked.url) as evil:
        # Beginning after version and kind, which every reader may look at.
        for at in range(3, len(wrapped), 3):
            evil.forget()
            mauled = bytearray(wrapped)
            mauled[at] ^= 1 << at % 8
            evil.rewrite("keys", wire.VaultKeys, _with_slot(name, bytes(mauled)))
            ran = machine.muniment(*words, "snapshots", server=evil.url)
            assert ran.code != 0
            framing = ran.error == "DamagedObject"
            seen.add((framing, ran.error, ran.code, ran.result["message"], tuple(evil.routes)))
    by_secret = {one for one in seen if not one[0]}
    assert len(by_secret) == 1, by_secret
    assert len({one[-1] for one in seen}) == 1, "the requests tell what was wrong"


def _with_slot(name: str, wrapped: bytes) -> Callable[[wire.VaultKeys], wire.VaultKeys]:
    return lambda said: change(
        said, slots=[change(slot, wrapped=wrapped) if slot.slot == name else slot for slot in said.slots]
    )


# --- the index


@dataclass
class Victim:
    """A machine new to the vault, with files of its own, and somewhere to restore them."""

    machine: Machine
    source: Path
    world: AttackedVault

    def back_up(self, evil: Evil, *, code: int = 0) -> Ran:
        return self.machine.muniment("backup", self.source, server=evil.url).expect(code)

    def restores(self, snapshot: str, target: Path) -> bool:
        """From the true server, elsewhere."""
        bare = Machine(target.with_name("bare-" + target.name))
        bare.muniment("--kit", self.world.kit, "restore", snapshot, "--target", target).expect(0)
        return whatever_is_there_is_true(self.source, target) == files_of(self.source)


@pytest.fixture
def victim(attacked: AttackedVault, tmp_path: Path) -> Victim:
    machine = Machine(tmp_path / "victim")
    machine.join(attacked.url, attacked.codes.pop(), "--name", "victim").expect(0)
    source = tmp_path / "mine"
    source.mkdir()
    (source / "secret").write_bytes(b"what the hostile holder knows that I have " * 100)
    (source / "other").write_bytes(os.urandom(2000))
    return Victim(machine, source, attacked)


def poison(forger: Forger, known: bytes, name: str) -> None:
    """An index pack that says: that chunk is held already, in this pack."""
    keys = forger.keys
    chunk = chunk_id(keys, known)
    compressor = Compressor()
    builder = PackBuilder(keys, PackKind.DATA)
    builder.add_data(bytes(compressor.encode([b"garbage" * 600])), [chunk], [len(known)])
    copy, covered = builder.index_copy(), builder.pack_id
    if name != "pack-is-not-there":
        forger.packs[covered] = bytes(builder.seal()[1])
    index = PackBuilder(keys, PackKind.INDEX)
    index.add_index_copy(bytes(compressor.encode([copy])), covered, len(copy))
    sealed, content = index.seal()
    forger.packs[sealed.pack_id] = bytes(content)
    forger.index_packs.append(
        wire.IndexPackInfo(pack=sealed.pack_id.hex, epoch=0, size=sealed.size, covers=[covered.hex])
    )


@pytest.mark.parametrize(
    "name", ["chunk-is-garbage", "pack-is-not-there", "sealed-by-the-operator", "not-a-pack"]
)
def test_poisoned_index_is_not_believed(
    attacked: AttackedVault, evil: Evil, victim: Victim, name: str, tmp_path: Path
) -> None:
    known = (victim.source / "secret").read_bytes()
    if name == "sealed-by-the-operator":
        forger = Forger(VaultKeys.generate(attacked.vault))
    elif name == "not-a-pack":
        forger = Forger(attacked.keys)
        pack = PackId.random()
        forger.packs[pack] = os.urandom(1 << 16)
        forger.index_packs.append(
            wire.IndexPackInfo(pack=pack.hex, epoch=0, size=1 << 16, covers=[PackId.random().hex])
        )
    else:
        forger = Forger(attacked.keys)
    if name != "not-a-pack":
        poison(forger, known, name)
    forger.plant(evil)
    ran = victim.back_up(evil)
    assert "not believed" in ran.err
    assert evil.of("put_pack"), "the content was stored all the same"
    assert victim.restores(ran.result["snapshot"], tmp_path / "target")


INFOS: dict[str, Callable[[wire.SessionOpened], wire.SessionOpened]] = {
    "size-impossible": lambda said: change(
        said, index_packs=[wire.IndexPackInfo(pack="0a" * 16, epoch=0, size=77, covers=["0b" * 16])]
    ),
    "size-absurd": lambda said: change(
        said, index_packs=[wire.IndexPackInfo(pack="0a" * 16, epoch=0, size=1 << 50, covers=["0b" * 16])]
    ),
    "pack-of-another-vault": lambda said: change(
        said, index_packs=[wire.IndexPackInfo(pack="0a" * 16, epoch=9, size=1 << 16, covers=["0b" * 16])]
    ),
    "everything-quarantined": lambda said: change(said, quarantined=["0c" * 16]),
    "cursor-absurd": lambda said: change(said, cursor=1 << 53),
    "heartbeat-absurd": lambda said: change(said, heartbeat_seconds=(1 << 31) - 1),
    "heartbeat-zero": lambda said: change(said, heartbeat_seconds=0),
    "clock-absurd": lambda said: change(said, server_time=250_000_000_000.0),
    "allowance-none": lambda said: change(said, allowance=0, used=1 << 53),
}


@pytest.mark.parametrize("name", INFOS)
def test_session_lies_do_no_harm(evil: Evil, victim: Victim, name: str, tmp_path: Path) -> None:
    evil.rewrite("open_session", wire.SessionOpened, INFOS[name])
    ran = victim.back_up(evil)
    assert evil.attacked
    assert victim.restores(ran.result["snapshot"], tmp_path / "target")


# --- acknowledged, and thrown away


def test_what_the_vault_lost_is_stored_again(
    attacked: AttackedVault, victim: Victim, evil: Evil, tmp_path: Path
) -> None:
    """The server says that it holds everything and holds nothing; then a commit finds packs missing."""
    swallowed: set[str] = set()

    def swallow(exchange: Exchange) -> None:
        swallowed.add(exchange.ids["pack"])
        exchange.answer(wire.PackStored(pack=exchange.ids["pack"], created=True))

    evil.usurp("put_pack", swallow)
    ran = victim.back_up(evil, code=1)
    assert ran.error == "CommitRefused"
    assert swallowed
    # An honest server again: the same command stores what was lost.
    evil.forget()
    ran = victim.back_up(evil)
    assert victim.restores(ran.result["snapshot"], tmp_path / "target")


def test_swallowed_commit_is_noticed(victim: Victim, evil: Evil, tmp_path: Path) -> None:
    """A snapshot acknowledged and not kept: the next look finds it missing."""
    victim.back_up(evil)

    def swallow(exchange: Exchange) -> None:
        message = msgspec.json.decode(exchange.body, type=wire.Commit)
        name = hashlib.sha256(message.head).hexdigest()
        exchange.answer(wire.Committed(snapshot=name, created=True, received_at=time.time()))

    (victim.source / "more").write_bytes(os.urandom(100))
    evil.usurp("commit", swallow)
    victim.back_up(evil)
    evil.forget()
    ran = victim.machine.muniment("backup", victim.source, server=evil.url)
    assert (ran.error, ran.code) == ("RollbackDetected", 5)
    assert not {"put_pack", "commit"} & set(evil.routes)


def test_acknowledgement_of_another_snapshot_is_refused(victim: Victim, evil: Evil) -> None:
    evil.rewrite("commit", wire.Committed, lambda said: change(said, snapshot="0d" * 32))
    ran = victim.back_up(evil, code=5)
    assert ran.error == "DamagedObject"


# --- history hidden from a list


def hide(attacked: AttackedVault, evil: Evil, *hidden: str) -> None:
    names = {attacked.snapshots[one] for one in hidden}

    def keep(said: wire.SnapshotPage) -> wire.SnapshotPage:
        return change(said, snapshots=[one for one in said.snapshots if one.snapshot not in names])

    evil.rewrite("snapshots", wire.SnapshotPage, keep)


@pytest.mark.parametrize("hidden", ["alice-1", "bob-1", "alice-2", "bob-2"])
@pytest.mark.parametrize("command", ["snapshots", "restore", "verify"])
def test_hidden_snapshot_is_noticed(
    attacked: AttackedVault, evil: Evil, hidden: str, command: str, tmp_path: Path
) -> None:
    """By a machine that never listed the history, and by whatever asks for all of it anew."""
    hide(attacked, evil, hidden)
    words = [command, *(["latest", "--target", tmp_path / "target"] if command == "restore" else [])]
    machines = [Machine(tmp_path / "bare")]
    if command == "verify":
        machines.append(attacked.alice.copy_to(tmp_path / "alice"))
    else:
        forgetful = attacked.alice.copy_to(tmp_path / "forgetful")
        shutil.rmtree(forgetful.home / "state")
        machines.append(forgetful)
    for machine in machines:
        kit = ["--kit", attacked.kit] if machine.home.name == "bare" else []
        ran = machine.muniment(*kit, *words, server=evil.url)
        assert (ran.error, ran.code) == ("RollbackDetected", 5), ran
        assert not (tmp_path / "target").exists()


def test_what_was_listed_before_cannot_be_taken_back(
    attacked: AttackedVault, evil: Evil, tmp_path: Path
) -> None:
    machine = attacked.alice.copy_to(tmp_path / "alice")
    hide(attacked, evil, *attacked.snapshots)
    shown = machine.muniment("snapshots", server=evil.url).expect(0).result
    assert [one["id"] for one in shown] == [one.snapshot for one in attacked.history(attacked.alice)]


def test_only_new_snapshots_are_fetched(attacked: AttackedVault, evil: Evil, tmp_path: Path) -> None:
    """Of a history that this machine has listed, one request asks for what came since."""
    machine = attacked.alice.copy_to(tmp_path / "alice")
    shutil.rmtree(machine.home / "state")

    def fetched(*words: object) -> list[int]:
        evil.forget()
        machine.muniment(*words, server=evil.url).expect(0)
        pages = [msgspec.json.decode(one.content, type=wire.SnapshotPage) for one in evil.of("snapshots")]
        return [len(page.snapshots) for page in pages]

    every = len(attacked.history(attacked.alice))
    assert fetched("snapshots") == [every]
    for words in (["ls"], ["find", "new.txt", "--all"], ["restore", "latest", "--target", tmp_path / "out"]):
        assert fetched(*words) == [0]
    assert fetched("verify", attacked.snapshots["alice-1"]) == [every]

    # The memory was cut short: from there on it is fetched again, and remembered again.
    (path,) = (machine.home / "state").glob("*/state.sqlite3")
    connection = sqlite3.connect(path)
    connection.execute("update listed_heads set record = zeroblob(500) where place = 2")
    connection.commit()
    connection.close()
    assert fetched("snapshots") == [every - 2]
    assert fetched("snapshots") == [0]


def test_vault_ids_do_not_cross(attacked: AttackedVault) -> None:
    """The vaults of the rows above are two: else 'another vault' would mean nothing."""
    assert attacked.stranger.connection.vault != VaultId.parse(attacked.vault.hex)
