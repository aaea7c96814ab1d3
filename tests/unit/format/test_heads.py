"""Heads survive sealing, tell little by their size, and no bit of them can be altered."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.crypto.keys import VaultKeys
from muniment.format.head import MAX_HEAD, open_head, seal_head, snapshot_id
from muniment.format.tables import MAX_LEVEL
from muniment.model.entry import PageRef, PageType
from muniment.model.errors import DamagedObject, NewerFormat, UsageError
from muniment.model.ids import DeviceId, InstallationId, PackId, PageId, SetId, SnapshotId, VaultId
from muniment.model.packs import BlockAddress, PackKind
from muniment.model.snapshot import Counts, FileSystemNote, Head, SeenHead
from tests.unit.format.makers import KEYS, addresses

numbers = st.integers(0, (1 << 63) - 1)


def ids(kind: Any) -> st.SearchStrategy[Any]:
    return st.binary(min_size=kind.LENGTH, max_size=kind.LENGTH).map(kind)


@st.composite
def roots(draw: st.DrawFn) -> PageRef:
    level = draw(st.integers(0, MAX_LEVEL))
    return PageRef(
        draw(addresses()),
        draw(ids(PageId)),
        PageType.INTERIOR if level else PageType.LEAF,
        level,
        draw(st.binary(min_size=1, max_size=30)),
        draw(st.integers(1, 1 << 60)),
        draw(numbers),
    )


heads = st.builds(
    Head,
    device=ids(DeviceId),
    installation=ids(InstallationId),
    counter=numbers,
    set_id=ids(SetId),
    set_name=st.text(max_size=30),
    started_ns=st.integers(-(1 << 63), (1 << 63) - 1),
    ended_ns=st.integers(-(1 << 63), (1 << 63) - 1),
    roots=st.lists(st.binary(max_size=300), max_size=8).map(tuple),
    root=st.none() | roots(),
    counts=st.builds(Counts, numbers, numbers, numbers, numbers, numbers, numbers),
    parent=st.none() | ids(SnapshotId),
    slot_list_number=numbers,
    slot_list_hash=st.sampled_from([b"", b"h" * 32]),
    partial=st.booleans(),
    seen=st.lists(st.builds(SeenHead, ids(DeviceId), numbers, ids(SnapshotId)), max_size=3).map(tuple),
    file_systems=st.lists(
        st.builds(FileSystemNote, numbers, st.binary(max_size=9), st.text(max_size=9), st.booleans()),
        max_size=3,
    ).map(tuple),
    excluded=st.lists(st.text(max_size=20), max_size=3).map(tuple),
    host=st.text(max_size=20),
    client_version=st.text(max_size=9),
    extra=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
)

ROOT = PageRef(
    BlockAddress(PackId(b"p" * 16), PackKind.MIXED, 0, 3, 32, 500),
    PageId(b"i" * 16),
    PageType.LEAF,
    0,
    b"\0a",
    1,
    5,
)
HEAD = Head(
    DeviceId(b"d" * 16), InstallationId(b"n" * 16), 7, SetId(b"s" * 16), "home", 1, 2, (b"/home",), ROOT,
    Counts(1, 2, 3, 4, 5, 6), SnapshotId(b"q" * 32), 4, b"h" * 32,
)  # fmt: skip
SEALED = seal_head(KEYS, HEAD)


@given(heads)
def test_head_survives(head: Head) -> None:
    sealed = seal_head(KEYS, head)
    assert open_head(KEYS, sealed, snapshot_id(sealed)) == head
    assert (len(sealed) - 32 - 28) % 1024 == 0


def test_equal_heads_are_sealed_differently() -> None:
    assert len({seal_head(KEYS, HEAD) for _ in range(20)}) == 20


def test_names_do_not_show_in_the_size() -> None:
    sizes = {len(seal_head(KEYS, replace(HEAD, set_name="n" * length))) for length in range(0, 300, 10)}
    assert len(sizes) == 1


def test_every_flipped_bit_is_found() -> None:
    rng = random.Random(6)
    for at in [*range(64 * 8), *rng.sample(range(len(SEALED) * 8), 400)]:
        altered = bytearray(SEALED)
        altered[at // 8] ^= 1 << at % 8
        with pytest.raises((DamagedObject, NewerFormat)):
            open_head(KEYS, bytes(altered), None)
        with pytest.raises(DamagedObject):
            open_head(KEYS, bytes(altered), snapshot_id(SEALED))


def test_another_snapshot_in_its_place_is_found() -> None:
    other = seal_head(KEYS, HEAD)
    with pytest.raises(DamagedObject):
        open_head(KEYS, other, snapshot_id(SEALED))


def test_head_of_another_vault_or_epoch_is_refused() -> None:
    for keys in (VaultKeys(VaultId(b"w" * 16), KEYS.raw), VaultKeys(KEYS.vault, {0: KEYS.raw[0]})):
        with pytest.raises(DamagedObject):
            open_head(keys, SEALED)


def test_newer_head_is_left_alone() -> None:
    with pytest.raises(NewerFormat):
        open_head(KEYS, SEALED[:8] + b"\x02" + SEALED[9:])


@pytest.mark.parametrize(
    "sealed",
    [b"", SEALED[:31], SEALED[:60], SEALED[:-1], SEALED + b"\0", SEALED + bytes(1024), bytes(MAX_HEAD + 1)],
    ids=["empty", "clear part", "cut early", "cut late", "a byte more", "a block more", "huge"],
)
def test_other_lengths_are_refused(sealed: bytes) -> None:
    with pytest.raises(DamagedObject):
        open_head(KEYS, sealed)


def test_unreadably_large_head_is_not_written() -> None:
    with pytest.raises(UsageError, match="too many"):
        seal_head(KEYS, replace(HEAD, roots=(bytes(MAX_HEAD),)))


def resealed(change: Callable[[dict[str, Any]], object], *, pad: bytes | None = None) -> bytes:
    """The head again, authentic but altered: what a hostile holder of the key can write."""
    clear = SEALED[:32]
    sealer = KEYS.head_keys(clear[16:], epoch=KEYS.newest_epoch)
    plain = sealer.open(SEALED[32:], aad=clear + KEYS.vault.raw)
    fields = msgspec.msgpack.decode(plain[4 : 4 + int.from_bytes(plain[:4])])
    change(fields)
    body = msgspec.msgpack.encode(fields)
    plain = len(body).to_bytes(4) + body
    plain += bytes(-len(plain) % 1024) if pad is None else pad * (-len(plain) % 1024)
    return clear + sealer.seal(plain, aad=clear + KEYS.vault.raw)


PLANTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "unknown field": lambda f: f.update(more=1),
    "missing field": lambda f: f.pop("counter"),
    "negative counter": lambda f: f.update(counter=-1),
    "counter as text": lambda f: f.update(counter="7"),
    "counter of 2^63": lambda f: f.update(counter=1 << 63),
    "short device": lambda f: f.update(device=b"d"),
    "short parent": lambda f: f.update(parent=b"d"),
    "short list hash": lambda f: f.update(slot_list_hash=b"h"),
    "negative count": lambda f: f["counts"].__setitem__(0, -1),
    "root of an extent tree": lambda f: f["root"].__setitem__(7, 2),
    "leaf of level 1": lambda f: f["root"].__setitem__(8, 1),
    "too deep": lambda f: (f["root"].__setitem__(7, 1), f["root"].__setitem__(8, MAX_LEVEL + 1)),
    "root in no pack": lambda f: f["root"].__setitem__(1, 7),
    "root before the header": lambda f: f["root"].__setitem__(4, 3),
    "root of a negative epoch": lambda f: f["root"].__setitem__(2, -1),
    "root without a key": lambda f: f["root"].__setitem__(9, b""),
    "root of nothing": lambda f: f["root"].__setitem__(10, 0),
    "root of negative size": lambda f: f["root"].__setitem__(11, -1),
    "short root": lambda f: f["root"].pop(),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_planted_head_is_refused(plant: str) -> None:
    assert open_head(KEYS, resealed(lambda f: f)) == HEAD
    with pytest.raises(DamagedObject):
        open_head(KEYS, resealed(PLANTS[plant]))


def test_padding_of_anything_but_zeros_is_refused() -> None:
    with pytest.raises(DamagedObject):
        open_head(KEYS, resealed(lambda f: f, pad=b"x"))
