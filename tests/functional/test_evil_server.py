"""An evil server shows a machine false keys and false history. The machine stops, by name, and sends nothing.

The rows are those of "Attacks" in docs/design/threat-model.md that meet a machine when it opens the vault,
and those that meet an export, which must hold all of it.
Others: test_evil_packs.py (stored bytes), test_evil_backup.py (what a run believes), test_evil_transport.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from muniment.crypto.keys import VaultKeys
from muniment.crypto.slots import device_public_key, wrap_device
from muniment.format.head import open_head
from muniment.model.ids import DeviceId, SlotId, SnapshotId
from muniment.model.packs import PackKind
from muniment.wire import messages as wire
from tests.support.attacked import AttackedVault
from tests.support.evil import Evil, Exchange
from tests.support.forger import record_of
from tests.support.machine import Machine

Says = wire.VaultKeys
change = msgspec.structs.replace


@dataclass(frozen=True)
class Row:
    """`twist` makes what the machine is shown out of what the server says. `error`, `code`: how it stops."""

    id: str
    twist: Callable[[AttackedVault, Says], Says]
    error: str = "DamagedObject"
    code: int = 5
    machine: str = "alice"


def flip(content: bytes, at: int, bit: int = 0) -> bytes:
    changed = bytearray(content)
    changed[at] ^= 1 << bit
    return bytes(changed)


def slots(
    change_one: Callable[[AttackedVault, wire.WrappedSlot], wire.WrappedSlot | None],
) -> Callable[[AttackedVault, Says], Says]:
    """Twist each wrapped key; None leaves it out."""

    def twist(world: AttackedVault, said: Says) -> Says:
        twisted = [change_one(world, slot) for slot in said.slots]
        return change(said, slots=[slot for slot in twisted if slot is not None])

    return twist


def signed(
    body: Callable[[AttackedVault, wire.SignedSlotList], wire.SignedSlotList | None],
) -> Callable[[AttackedVault, Says], Says]:
    def twist(world: AttackedVault, said: Says) -> Says:
        assert said.signed is not None
        return change(said, signed=body(world, said.signed))

    return twist


def lines(change_list: Callable[[wire.SlotList], wire.SlotList]) -> Callable[[AttackedVault, Says], Says]:
    """Another list under the MAC of the true one: all that a server without the key can write."""

    def body(world: AttackedVault, true: wire.SignedSlotList) -> wire.SignedSlotList:
        shown = msgspec.msgpack.decode(true.body, type=wire.SlotList)
        return change(true, body=msgspec.msgpack.encode(change_list(shown)))

    return signed(body)


def head_of(
    name: str, twist_record: Callable[[AttackedVault, wire.HeadRecord], wire.HeadRecord | None]
) -> Callable[[AttackedVault, Says], Says]:
    """Twist the newest head of a machine; None hides it."""

    def twist(world: AttackedVault, said: Says) -> Says:
        device = getattr(world, name).connection.device.hex
        heads = [twist_record(world, record) if record.device == device else record for record in said.heads]
        return change(said, heads=[record for record in heads if record is not None])

    return twist


def of_stage(stage: str, *fields: str) -> Callable[[AttackedVault, Says], Says]:
    """What the server said before, in these fields: it was true once."""
    return lambda world, said: change(said, **{name: getattr(world.shown[stage], name) for name in fields})


def kind_of(world: AttackedVault, slot: wire.WrappedSlot) -> str:
    listed = msgspec.msgpack.decode(world.shown["now"].signed.body, type=wire.SlotList)
    return next(info.kind for info in listed.slots if info.slot == slot.slot)


def is_own(world: AttackedVault, slot: wire.WrappedSlot) -> bool:
    listed = msgspec.msgpack.decode(world.shown["now"].signed.body, type=wire.SlotList)
    own = world.alice.connection.device.hex
    return any(info.slot == slot.slot and info.device == own for info in listed.slots)


def replaced_vault_key(world: AttackedVault, said: Says) -> Says:
    """All that an operator can do: a vault key of his own, wrapped for the device, in a list of his own."""
    fake = VaultKeys.generate(world.vault)
    slot = SlotId.random()
    wrapped = wrap_device(fake, slot, device_public_key(world.alice.secrets.private_key))
    info = wire.SlotInfo(
        slot=slot.hex, kind="device", label="alice", device=world.alice.connection.device.hex,
        added_by="alice", added_at=0.0, digest=hashlib.sha256(wrapped).digest(),
    )  # fmt: skip
    body = msgspec.msgpack.encode(wire.SlotList(vault=world.vault.hex, number=9, previous=b"", slots=[info]))
    mine = wire.SignedSlotList(body=body, mac=fake.mac(body, epoch=0))
    return change(said, signed=mine, slots=[wire.WrappedSlot(slot=slot.hex, wrapped=wrapped)], heads=[])


def planted_slot(world: AttackedVault, said: Says) -> Says:
    planted = wire.WrappedSlot(slot=SlotId.random().hex, wrapped=said.slots[0].wrapped)
    return change(said, slots=[*said.slots, planted])


def swapped_slots(world: AttackedVault, said: Says) -> Says:
    """The own key under another slot's name, and the other way round."""
    own = next(slot for slot in said.slots if is_own(world, slot))
    other = next(slot for slot in said.slots if not is_own(world, slot))
    swapped = {own.slot: other.wrapped, other.slot: own.wrapped}
    return change(
        said, slots=[change(slot, wrapped=swapped.get(slot.slot, slot.wrapped)) for slot in said.slots]
    )


def forked(world: AttackedVault, record: wire.HeadRecord) -> wire.HeadRecord:
    """With the vault key: another snapshot of the same number, well sealed."""
    head = open_head(world.keys, record.head)
    return record_of(world.keys, replace(head, ended_ns=head.ended_ns + 1), received_at=record.received_at)


def leapt(world: AttackedVault, record: wire.HeadRecord) -> wire.HeadRecord:
    """With the vault key: a newer snapshot whose parents do not lead to what was seen."""
    head = open_head(world.keys, record.head)
    ahead = replace(head, counter=head.counter + 2, parent=SnapshotId(b"\x07" * 32))
    return record_of(world.keys, ahead, received_at=record.received_at + 1)


def earlier(world: AttackedVault, record: wire.HeadRecord) -> wire.HeadRecord:
    history = [old for old in world.history(world.alice) if old.device == record.device]
    return history[0]


def of_stranger(world: AttackedVault, record: wire.HeadRecord) -> wire.HeadRecord:
    return change(world.says(world.stranger).heads[0], device=record.device, set_id=record.set_id)


def of_newer_epoch(world: AttackedVault, record: wire.HeadRecord) -> wire.HeadRecord:
    return as_snapshot(record, record.head[:12] + (7).to_bytes(4) + record.head[16:])


def as_snapshot(record: wire.HeadRecord, head: bytes) -> wire.HeadRecord:
    """The server can give any bytes their right name."""
    return change(record, head=head, snapshot=hashlib.sha256(head).hexdigest())


ROWS = [
    # replaced, added, hidden, rolled-back slots
    Row(
        "own-slot-replaced",
        slots(lambda w, s: change(s, wrapped=flip(s.wrapped, -1)) if is_own(w, s) else s),
        "NotGranted",
        4,
    ),
    Row(
        "other-slot-replaced",
        slots(lambda w, s: s if is_own(w, s) else change(s, wrapped=flip(s.wrapped, -1))),
    ),
    Row("slots-swapped", swapped_slots, "NotGranted", 4),
    Row("slot-planted", planted_slot),
    Row("own-slot-hidden", slots(lambda w, s: None if is_own(w, s) else s), "NotGranted", 4),
    Row("all-slots-hidden", lambda w, said: change(said, slots=[]), "NotGranted", 4),
    Row(
        "slot-of-another-vault", lambda w, said: change(said, slots=[*said.slots, *w.says(w.stranger).slots])
    ),
    Row("list-hidden", signed(lambda w, s: None)),
    Row("list-body-altered", signed(lambda w, s: change(s, body=flip(s.body, len(s.body) // 2)))),
    Row("list-mac-altered", signed(lambda w, s: change(s, mac=flip(s.mac, 0)))),
    Row("list-mac-cut", signed(lambda w, s: change(s, mac=b""))),
    Row("list-line-dropped", lines(lambda shown: change(shown, slots=shown.slots[1:]))),
    Row("list-line-added", lines(lambda shown: change(shown, slots=[*shown.slots, shown.slots[0]]))),
    Row("list-renumbered", lines(lambda shown: change(shown, number=shown.number + 1))),
    Row("list-of-another-vault", lambda w, said: change(said, signed=w.says(w.stranger).signed)),
    Row("list-rolled-back", of_stage("one", "signed", "slots"), "RollbackDetected"),
    Row("list-rolled-back-alone", of_stage("one", "signed"), "RollbackDetected"),
    Row("everything-rolled-back", of_stage("one", "signed", "slots", "heads"), "RollbackDetected"),
    Row("no-vault-yet", lambda w, said: change(said, signed=None, slots=[], heads=[])),
    Row("vault-key-replaced", replaced_vault_key, "VaultKeyReplaced"),
    # rollback, hidden or forked heads
    Row("own-heads-hidden", head_of("alice", lambda w, r: None), "RollbackDetected"),
    Row("others-heads-hidden", head_of("bob", lambda w, r: None), "RollbackDetected"),
    Row("all-heads-hidden", lambda w, said: change(said, heads=[]), "RollbackDetected"),
    Row("own-head-rolled-back", head_of("alice", earlier), "RollbackDetected"),
    Row("others-head-rolled-back", head_of("bob", earlier), "RollbackDetected"),
    Row("head-forked", head_of("alice", forked), "RollbackDetected"),
    Row("others-head-forked", head_of("bob", forked), "RollbackDetected"),
    Row("head-leapt", head_of("bob", leapt), "RollbackDetected"),
    Row("new-machine-is-told-less", head_of("alice", earlier), "RollbackDetected", machine="kit"),
    Row("new-machine-is-shown-a-fork", head_of("alice", forked), "RollbackDetected", machine="kit"),
    Row("new-machine-is-shown-old-list", of_stage("one", "signed"), "RollbackDetected", machine="kit"),
    # heads that are not what they are said to be
    Row("head-altered", head_of("alice", lambda w, r: as_snapshot(r, flip(r.head, 100)))),
    Row("head-altered-name-kept", head_of("alice", lambda w, r: change(r, head=flip(r.head, 100)))),
    Row("head-cut", head_of("alice", lambda w, r: as_snapshot(r, r.head[:-1024]))),
    Row("head-empty", head_of("alice", lambda w, r: as_snapshot(r, b""))),
    Row("head-of-another-vault", head_of("alice", of_stranger)),
    Row("head-of-another-epoch", head_of("alice", of_newer_epoch)),
    Row(
        "head-format-newer",
        head_of("alice", lambda w, r: as_snapshot(r, flip(r.head, 8, 1))),
        "NewerFormat",
        1,
    ),
    Row("head-format-older", head_of("alice", lambda w, r: as_snapshot(r, flip(r.head, 8, 0)))),
    Row("head-counter-lied", head_of("alice", lambda w, r: change(r, counter=r.counter + 1))),
    Row(
        "head-device-lied",
        head_of("alice", lambda w, r: change(r, device=DeviceId(b"\x01" * 16).hex)),
        "RollbackDetected",
    ),
    Row("head-set-lied", head_of("alice", lambda w, r: change(r, set_id="01" * 16))),
    Row("head-partial-lied", head_of("alice", lambda w, r: change(r, partial=True))),
    Row(
        "heads-swapped",
        lambda w, said: change(
            said,
            heads=[
                change(one, head=two.head, snapshot=two.snapshot)
                for one, two in zip(said.heads, said.heads[::-1], strict=True)
            ],
        ),
    ),
    Row("head-absurd-time", head_of("alice", lambda w, r: change(r, received_at=1e300)), "MunimentError", 1),
]


@pytest.fixture
def alice(attacked: AttackedVault, tmp_path: Path) -> Machine:
    return attacked.alice.copy_to(tmp_path / "alice")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_machine_stops_at_false_keys_and_history(attacked: AttackedVault, row: Row, tmp_path: Path) -> None:
    machine = (
        attacked.alice.copy_to(tmp_path / "alice") if row.machine == "alice" else Machine(tmp_path / "bare")
    )
    with Evil(attacked.url) as evil:
        evil.rewrite("keys", Says, lambda said: row.twist(attacked, said))
        if row.machine == "kit":
            ran = machine.muniment("--kit", attacked.kit, "snapshots", server=evil.url)
        else:
            ran = machine.muniment("backup", attacked.tree, server=evil.url)
        assert (ran.error, ran.code) == (row.error, row.code), ran
        assert evil.attacked
        assert not evil.sent_after_attack
        # It stops there: nothing but the history is even asked for.
        assert {exchange.route for exchange in evil.after_attack} <= {"snapshots"}
    # And nothing false was remembered: looking at the true server, all is well.
    if row.machine == "alice":
        machine.muniment("snapshots").expect(0)


def test_honest_proxy_changes_nothing(attacked: AttackedVault, alice: Machine) -> None:
    """The harness itself does no harm, or the rows above would mean nothing."""
    with Evil(attacked.url) as evil:
        shown = alice.muniment("snapshots", server=evil.url).expect(0).result
        assert [one["id"] for one in shown] == [one.snapshot for one in attacked.history(attacked.alice)]
        assert not evil.attacked


def test_conflict_at_commit_does_not_make_older_history_believed(
    attacked: AttackedVault, tmp_path: Path
) -> None:
    """An honest face at the start; then "somebody else was first", and an older state to go on from."""
    machine = attacked.alice.copy_to(tmp_path / "alice")
    answered: list[str] = []

    def refuse(exchange: Exchange) -> None:
        if not answered:
            answered.append(exchange.route)
            exchange.refuse("commit_conflict", status=409, reason="counter")

    def go_back(said: wire.VaultKeys) -> wire.VaultKeys:
        return attacked.shown["one"] if answered else said

    with Evil(attacked.url) as evil:
        evil.usurp("commit", refuse)
        evil.rewrite("keys", wire.VaultKeys, go_back)
        ran = machine.muniment("backup", attacked.tree, server=evil.url)
    assert (ran.error, ran.code) == ("RollbackDetected", 5)
    assert len(evil.of("commit")) == 1
    machine.muniment("snapshots").expect(0)


# --- an export, whose reader will have no server to ask


@dataclass(frozen=True)
class Hidden:
    """`twist` is played on the answers to `route`; `error` ends the export, and says all of `named`."""

    id: str
    route: str
    answer: type[wire.Message]
    twist: Callable[[AttackedVault, Any], Any]
    error: str = "DamagedObject"
    named: Callable[[AttackedVault], list[str]] = lambda world: []


def without_snapshot(name: str) -> Callable[[AttackedVault, wire.SnapshotPage], wire.SnapshotPage]:
    def twist(world: AttackedVault, said: wire.SnapshotPage) -> wire.SnapshotPage:
        kept = [record for record in said.snapshots if record.snapshot != world.snapshots[name]]
        return change(said, snapshots=kept)

    return twist


def packs_of_tree(world: AttackedVault) -> tuple[str, str]:
    """Of Alice's first snapshot: the pack that its root lies in, and one that has only data."""
    record = next(one for one in world.history(world.alice) if one.snapshot == world.snapshots["alice-1"])
    root = open_head(world.keys, record.head).root
    assert root is not None
    infos = world.packs_of(record.snapshot)
    data = next(info.pack for info in infos if info.kind == PackKind.DATA)
    return root.block.pack_id.hex, data


def without_pack(place: int) -> Callable[[AttackedVault, wire.SnapshotPacks], wire.SnapshotPacks]:
    """From the set of one snapshot alone: others that need the pack have it still."""

    def twist(world: AttackedVault, said: wire.SnapshotPacks) -> wire.SnapshotPacks:
        if said.snapshot != world.snapshots["alice-1"]:
            return said
        left_out = packs_of_tree(world)[place]
        return change(said, packs=[info for info in said.packs if info.pack != left_out])

    return twist


def only_device_slots(world: AttackedVault, said: Says) -> Says:
    return change(said, slots=[slot for slot in said.slots if kind_of(world, slot) == "device"])


@pytest.mark.parametrize("kind", ["kit", "passphrase"])
def test_a_way_in_that_the_server_keeps_back_is_told(
    attacked: AttackedVault, alice: Machine, kind: str
) -> None:
    """Nothing is wrong yet, and backups go on. But who loses the machine stands before a locked vault."""
    listed = msgspec.msgpack.decode(attacked.shown["now"].signed.body, type=wire.SlotList)
    (hidden,) = [info.slot for info in listed.slots if info.kind == kind]
    with Evil(attacked.url) as evil:
        evil.rewrite(
            "keys", Says, lambda said: change(said, slots=[one for one in said.slots if one.slot != hidden])
        )
        status = alice.muniment("status", "--check", server=evil.url).expect(3)
        listing = alice.muniment("snapshots", server=evil.url).expect(0)
        assert evil.attacked
    assert status.result["withheld"] == [hidden]
    assert all(f"key slot {hidden[:12]}" in ran.err for ran in (status, listing))
    honest = alice.muniment("status")
    assert honest.result["withheld"] == []
    assert hidden[:12] not in honest.err


HIDDEN = [
    Hidden("oldest", "snapshots", wire.SnapshotPage, without_snapshot("alice-1"), "RollbackDetected"),
    Hidden("newest", "snapshots", wire.SnapshotPage, without_snapshot("bob-2"), "RollbackDetected"),
    Hidden("all", "snapshots", wire.SnapshotPage, lambda w, s: change(s, snapshots=[]), "RollbackDetected"),
    Hidden(
        "pack-of-pages", "snapshot_packs", wire.SnapshotPacks, without_pack(0),
        named=lambda world: [world.snapshots["alice-1"], packs_of_tree(world)[0]],
    ),
    Hidden(
        "pack-of-data", "snapshot_packs", wire.SnapshotPacks, without_pack(1),
        named=lambda world: [world.snapshots["alice-1"], packs_of_tree(world)[1]],
    ),
    Hidden("whole-set", "snapshot_packs", wire.SnapshotPacks, lambda w, s: change(s, packs=[])),
    Hidden("ways-in", "keys", Says, only_device_slots),
]  # fmt: skip


@pytest.mark.parametrize("row", HIDDEN, ids=lambda row: row.id)
def test_export_does_not_believe_a_server_that_hides(
    attacked: AttackedVault, alice: Machine, row: Hidden, tmp_path: Path
) -> None:
    place = tmp_path / "export"
    with Evil(attacked.url) as evil:
        evil.rewrite(row.route, row.answer, lambda said: row.twist(attacked, said))
        ran = alice.muniment("export", place, server=evil.url)
        assert evil.attacked
    assert (ran.error, ran.code) == (row.error, 5), ran
    assert all(name in ran.result["message"] for name in row.named(attacked)), ran.result
    # What there is does not pass for an export; with a true server, the same directory becomes one.
    assert not (place / "vault.json").exists()
    assert list((place / "heads").iterdir()) == []
    assert alice.muniment("export", place).expect(0).result["snapshots"] == 4


def test_export_opens_packs_rather_than_believe_the_hash_beside_them(
    attacked: AttackedVault, alice: Machine, tmp_path: Path
) -> None:
    """One bit in the first block: the server gives the hash of what it gives."""
    _, victim = packs_of_tree(attacked)
    false = flip(attacked.pack(victim), 200)
    place = tmp_path / "export"

    def give(exchange: Exchange) -> None:
        if exchange.ids["pack"] == victim:
            start, length = exchange.range
            exchange.content, exchange.tricked = false[start : start + length], True

    def vouch(said: wire.SnapshotPacks) -> wire.SnapshotPacks:
        digest = hashlib.sha256(false).digest()
        return change(
            said, packs=[change(one, sha256=digest) if one.pack == victim else one for one in said.packs]
        )

    with Evil(attacked.url) as evil:
        evil.alter("get_pack", give)
        evil.rewrite("snapshot_packs", wire.SnapshotPacks, vouch)
        ran = alice.muniment("export", place, server=evil.url)
        assert (ran.result["damaged"], ran.code) == ([victim], 5), ran
        pack = place / "packs" / victim[:2] / victim
        assert not pack.exists()
        pack.write_bytes(b"torn")
        assert alice.muniment("export", place, server=evil.url).expect(5).result["damaged"] == [victim]
        assert not pack.exists()
        # What an earlier export has right is kept, whatever the server says now.
        pack.write_bytes(attacked.pack(victim))
        assert alice.muniment("export", place, server=evil.url).expect(0).result["damaged"] == []
    assert pack.read_bytes() == attacked.pack(victim)


@pytest.mark.parametrize("place", [0, 1])
def test_damage_does_not_hide_what_a_set_leaves_out(
    attacked: AttackedVault, alice: Machine, tmp_path: Path, place: int
) -> None:
    """Of every pack but two the server gives zeros; what the rest proves to be lacking is named still."""
    kept = set(packs_of_tree(attacked))

    def spoil(exchange: Exchange) -> None:
        if exchange.ids["pack"] not in kept:
            exchange.content, exchange.tricked = bytes(len(exchange.content)), True

    with Evil(attacked.url) as evil:
        evil.alter("get_pack", spoil)
        evil.rewrite("snapshot_packs", wire.SnapshotPacks, lambda said: without_pack(place)(attacked, said))
        ran = alice.muniment("export", tmp_path / "export", server=evil.url)
    assert (ran.error, ran.code) == ("DamagedObject", 5), ran
    assert packs_of_tree(attacked)[place] in ran.result["message"]
    assert not (tmp_path / "export" / "vault.json").exists()


def test_export_takes_more_than_is_needed(attacked: AttackedVault, alice: Machine, tmp_path: Path) -> None:
    """A pack too many in a set costs its bytes and nothing else."""
    more = attacked.packs_of(attacked.snapshots["alice-2"])

    def add(said: wire.SnapshotPacks) -> wire.SnapshotPacks:
        return change(said, packs=list({info.pack: info for info in [*said.packs, *more]}.values()))

    with Evil(attacked.url) as evil:
        evil.rewrite("snapshot_packs", wire.SnapshotPacks, add)
        alice.muniment("export", tmp_path / "export", server=evil.url).expect(0)
        assert evil.attacked
    of_bob = (tmp_path / "export" / "sets" / attacked.snapshots["bob-1"]).read_bytes()
    assert len(of_bob) // 16 > len(attacked.packs_of(attacked.snapshots["bob-1"]))
