"""A stolen device's token, and what its holder sends, against the owner's other machines.

The server is honest and blind: it takes any bytes for a head. None of it may keep another machine, or a
recovery kit, from backing up and restoring; all of it is told.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import pytest

from muniment.client.vault.opening import unwrap_any
from muniment.crypto.codes import RecoveryKit
from muniment.crypto.keys import VaultKeys
from muniment.format.head import open_head, seal_head
from muniment.wire import messages as wire
from tests.support.evil import Evil
from tests.support.machine import Machine
from tests.support.raw_device import RawDevice, Refused
from tests.support.server import Served

change = msgspec.structs.replace


@dataclass
class Stolen:
    """`alice` and `bob` back up into one vault; `thief` has bob's token. `good`: snapshots made before."""

    served: Served
    alice: Machine
    bob: Machine
    thief: RawDevice
    tree: Path
    kit: str
    good: list[str]
    taken: list[str] = field(default_factory=list)

    @property
    def keys(self) -> VaultKeys:
        kit = RecoveryKit.parse(self.kit)
        return unwrap_any(self.thief.keys(), kit.vault, kit=kit)

    @property
    def newest_of_bob(self) -> wire.HeadRecord:
        return next(one for one in self.thief.keys().heads if one.device == self.thief.device)

    def commit(self, head: bytes, *, set_id: str | None = None) -> str:
        """What the server takes from the thief as bob's next snapshot."""
        draft = self.thief.draft([], head=head, parent=None, set_id=set_id or secrets.token_hex(16))
        self.taken.append(self.thief.commit(draft).snapshot)
        return self.taken[-1]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Stolen]:
    served = Served(tmp_path / "server").start()
    try:
        tree = tmp_path / "tree"
        tree.mkdir()
        (tree / "letter").write_text("of alice")
        alice, bob = Machine(tmp_path / "alice"), Machine(tmp_path / "bob")
        kit = alice.join(served.url, served.create_account(), "--name", "alice").expect(0).result
        bob.join(served.url, served.enrol(), "--name", "bob").expect(0)
        good = [one.muniment("backup", tree).expect(0).result["snapshot"] for one in (bob, alice)]
        thief = RawDevice(
            served.url, bob.connection.device.hex, bob.secrets.token, vault=bob.connection.vault.hex
        )
        thief.open_session()
        world = Stolen(served, alice, bob, thief, tree, kit["recovery_kit"], good)
        head = open_head(world.keys, world.newest_of_bob.head)
        thief.installation, thief.counter = head.installation.hex, head.counter
        yield world
    finally:
        served.close()


def noise(world: Stolen) -> None:
    """All that a token is good for: bytes that nobody sealed."""
    world.commit(secrets.token_bytes(1088))


def noise_on_top(world: Stolen) -> None:
    """In the place of bob's newest: what he made before is found in the history."""
    world.commit(secrets.token_bytes(1088), set_id=world.newest_of_bob.set_id)


def newer_format(world: Stolen) -> None:
    head = world.thief.keys().heads[0].head
    world.commit(head[:8] + b"\x09" + head[9:])


def head_of_alice(world: Stolen) -> None:
    """With the vault key: well sealed, and alice's own. As bob's it is none."""
    keys = world.keys
    (record,) = [one for one in world.thief.keys().heads if one.device != world.thief.device]
    world.commit(seal_head(keys, replace(open_head(keys, record.head), counter=9)), set_id=record.set_id)


@pytest.mark.parametrize("attack", [noise, noise_on_top, newer_format, head_of_alice])
def test_heads_that_do_not_open_lock_nobody_out(
    world: Stolen, attack: Callable[[Stolen], None], tmp_path: Path
) -> None:
    attack(world)
    (bad,) = world.taken
    bare = Machine(tmp_path / "bare")

    ran = world.alice.muniment("backup", world.tree).expect(0)
    made = ran.result["snapshot"]
    assert any(bad[:12] in line and "bob" in line for line in ran.result["warnings"])
    listed = world.alice.muniment("snapshots").expect(0)
    assert [one["id"] for one in listed.result] == [*world.good, made]
    assert listed.err.count(f"({bad[:12]})") == 1
    status = world.alice.muniment("status", "--check").expect(3)
    assert (status.result["verdict"], status.result["set_aside"]) == ("attention", [bad])
    assert world.alice.muniment("verify").expect(5).result["unreadable"] == [bad]
    world.alice.muniment("verify", made[:12]).expect(0)
    world.alice.muniment("keys", "list").expect(0)
    exported = world.alice.muniment("export", tmp_path / "export").expect(3)
    assert (exported.result["snapshots"], exported.result["left_out"]) == (3, [bad])

    restored = bare.muniment(
        "--kit", world.kit, "restore", made[:12], "--target", tmp_path / "out", server=world.served.url
    ).expect(0)
    assert bad[:12] in restored.err
    assert (tmp_path / "out" / world.tree.relative_to("/") / "letter").read_text() == "of alice"

    # And the owner can do what the warning says.
    assert world.alice.muniment("devices", "revoke", "bob").error == "NeedsOwnerConfirmation"


def test_what_may_be_meant_is_not_replaced_by_an_older_one(world: Stolen, tmp_path: Path) -> None:
    """`latest` of alice's is hers. Of bob's it would be the one that cannot be read: he has to be asked."""
    noise(world)
    (bad,) = world.taken
    world.alice.muniment("restore", "latest", "--target", tmp_path / "one").expect(0)
    named = world.alice.muniment("restore", bad[:12], "--target", tmp_path / "two").expect(5)
    assert bad[:12] in named.result["message"]
    # On bob's own machine nothing goes on: a machine's own line is never left out.
    assert world.bob.muniment("snapshots").expect(5).error == "DamagedObject"
    assert world.bob.muniment("backup", world.tree).expect(5).error == "DamagedObject"


def spoil_head(evil: Evil, snapshot: str) -> None:
    """One head comes altered, under its name, wherever the server shows it."""

    def spoiled(records: list[wire.HeadRecord]) -> list[wire.HeadRecord]:
        return [change(one, head=one.head[::-1]) if one.snapshot == snapshot else one for one in records]

    evil.rewrite("keys", wire.VaultKeys, lambda said: change(said, heads=spoiled(said.heads)))
    evil.rewrite("snapshots", wire.SnapshotPage, lambda said: change(said, snapshots=spoiled(said.snapshots)))


def test_server_that_spoils_the_newest_is_found_by_a_kit(world: Stolen, tmp_path: Path) -> None:
    """Alice's newest is altered on its way: what is left of hers is not passed off as the latest."""
    (world.tree / "letter").write_text("newer")
    newest = world.alice.muniment("backup", world.tree).expect(0).result["snapshot"]

    bare = Machine(tmp_path / "bare")
    with Evil(world.served.url) as evil:
        spoil_head(evil, newest)
        latest = bare.muniment(
            "--kit", world.kit, "restore", "latest", "--target", tmp_path / "out", server=evil.url
        )
        by_id = bare.muniment(
            "--kit", world.kit, "restore", world.good[1], "--target", tmp_path / "out", server=evil.url
        ).expect(0)
    assert (latest.error, latest.code) == ("DamagedObject", 5), latest
    assert newest[:12] in latest.result["message"]
    assert newest[:12] in by_id.err


def test_head_that_was_believed_may_not_be_spoiled_later(world: Stolen) -> None:
    """Alice has seen bob's snapshot open. That it does not any more is the server's doing, not bob's."""

    with Evil(world.served.url) as evil:
        spoil_head(evil, world.newest_of_bob.snapshot)
        ran = world.alice.muniment("backup", world.tree, server=evil.url)
        assert (ran.error, ran.code) == ("RollbackDetected", 5), ran
        assert not evil.sent_after_attack


def test_a_false_list_of_keys_is_taken_back_once_its_writer_is_revoked(world: Stolen, tmp_path: Path) -> None:
    """Nobody can read it, and the server cannot know. The owner revokes, the operator steps back."""
    signed = world.thief.keys().signed
    assert signed is not None
    before = msgspec.msgpack.decode(signed.body, type=wire.SlotList)
    slot, wrapped = secrets.token_hex(16), secrets.token_bytes(64)
    world.thief.at_vault("PUT", f"/slots/{slot}", wire.Stored, wire.WrappedSlot(slot=slot, wrapped=wrapped))
    line = wire.SlotInfo(
        slot=slot, kind="passphrase", label="", device=None, added_by="x", added_at=0.0,
        digest=hashlib.sha256(wrapped).digest(),
    )  # fmt: skip
    digest = hashlib.sha256(signed.body).digest()
    false = change(before, number=before.number + 1, previous=digest, slots=[*before.slots, line])
    listing = wire.PutSlotList(
        expected_number=before.number, expected_hash=digest,
        signed=wire.SignedSlotList(body=msgspec.msgpack.encode(false), mac=secrets.token_bytes(32)),
    )  # fmt: skip
    world.thief.at_vault("PUT", "/slot-list", wire.Stored, listing)
    world.alice.muniment("backup", world.tree).expect(5)

    withdraw = ("withdraw-slot-list", world.thief.vault)
    too_early = world.served.try_admin(*withdraw)
    assert (too_early.returncode, "not by a revoked device" in too_early.stderr) == (1, True), too_early
    owner = RawDevice(
        world.served.url,
        world.alice.connection.device.hex,
        world.alice.secrets.token,
        vault=world.thief.vault,
    )
    asking = wire.AskConfirmation(action="revoke_device", subject=world.thief.device)
    with pytest.raises(Refused) as refused:
        owner.at_vault("POST", "/confirmations", wire.ErrorReply, asking)
    assert refused.value.reply.request is not None
    world.served.confirm(refused.value.reply.request)
    assert world.served.admin(*withdraw) == {"number": before.number}

    world.alice.muniment("backup", world.tree).expect(0)
    assert slot not in {one.slot for one in owner.keys().slots}
    kit = world.alice.muniment("keys", "recovery-kit").expect(0).result["recovery_kit"]  # a next list fits
    Machine(tmp_path / "bare").muniment("--kit", kit, "snapshots", server=world.served.url).expect(0)
