"""Which slots count as kept back: listed, not given, and taken out by no holder of the key."""

from __future__ import annotations

import pytest

from muniment.client.vault.slots import (
    SlotListState,
    describe_withheld,
    sign_removal,
    slot_info,
    withheld_ways_in,
)
from muniment.crypto.keys import VaultKeys
from muniment.model.errors import DamagedObject
from muniment.model.ids import SlotId, VaultId
from muniment.wire import messages as wire

KEYS = VaultKeys.generate(VaultId.random())
ABOUT = wire.VaultInfo(vault=KEYS.vault.hex, name="", created_at=0.0, used=0, allowance=0)


def made(kind: str) -> wire.SlotInfo:
    return slot_info(SlotId.random(), b"wrapped", kind=kind, label=kind, added_by="me", added_at=0.0)


PASSPHRASE, KIT, OTHER_KIT, DEVICE = made("passphrase"), made("kit"), made("kit"), made("device")
STATE = SlotListState((PASSPHRASE, KIT, OTHER_KIT, DEVICE), number=4)


def withheld(*given: wire.SlotInfo, removals: list[wire.SignedRemoval]) -> tuple[wire.SlotInfo, ...]:
    slots = [wire.WrappedSlot(slot=info.slot, wrapped=b"wrapped") for info in given]
    reply = wire.VaultKeys(vault=ABOUT, signed=None, slots=slots, heads=[], removals=removals)
    return withheld_ways_in(KEYS, STATE, reply)


def removal_of(info: wire.SlotInfo, *, keys: VaultKeys = KEYS) -> wire.SignedRemoval:
    return sign_removal(keys, SlotId.parse(info.slot), list_number=4, made_at=0.0)


def test_all_given_is_well() -> None:
    assert withheld(PASSPHRASE, KIT, OTHER_KIT, DEVICE, removals=[]) == ()


def test_a_machine_that_was_revoked_is_no_way_in() -> None:
    assert withheld(PASSPHRASE, KIT, OTHER_KIT, removals=[]) == ()


def test_each_way_in_that_is_not_given_is_named() -> None:
    assert withheld(KIT, DEVICE, removals=[]) == (PASSPHRASE, OTHER_KIT)
    assert KIT.slot[:12] in describe_withheld(KIT)


def test_a_removal_explains_its_own_slot_alone() -> None:
    assert withheld(PASSPHRASE, DEVICE, removals=[removal_of(KIT)]) == (OTHER_KIT,)


def test_a_removal_that_the_server_made_up_explains_nothing() -> None:
    theirs = VaultKeys.generate(KEYS.vault)
    with pytest.raises(DamagedObject):
        withheld(PASSPHRASE, OTHER_KIT, DEVICE, removals=[removal_of(KIT, keys=theirs)])
