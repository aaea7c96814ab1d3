"""Pages kept sealed beside the client; the newest history seen, and what contradicts it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from muniment.client.state import known_heads, page_cache
from muniment.client.state.database import Database
from muniment.client.state.known_heads import KnownHeads, OpenedHead
from muniment.client.state.page_cache import KEEP_RUNS, LocalPageCache
from muniment.client.vault.history import check_history
from muniment.crypto.keys import VaultKeys
from muniment.format.head import seal_head, snapshot_id
from muniment.model.errors import RollbackDetected
from muniment.model.ids import DeviceId, InstallationId, PackId, PageId, SetId, SnapshotId, VaultId
from muniment.model.snapshot import Counts, Head, SeenHead

KEYS = VaultKeys.generate(VaultId(b"v" * 16))


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "state", machine=b"m")


def test_pages_come_back_also_after_a_restart(database: Database) -> None:
    pages = {PageId.random(): os.urandom(50) + b"front coded" * 500 for _ in range(600)}
    cache = LocalPageCache(database, KEYS)
    for page, content in pages.items():
        cache.put(page, content)
    assert all(cache.get(page) == content for page, content in pages.items())
    cache.flush()
    again = LocalPageCache(database, KEYS)
    assert all(again.get(page) == content for page, content in pages.items())
    assert again.get(PageId.random()) is None


def test_pages_on_disk_tell_no_names(database: Database) -> None:
    cache = LocalPageCache(database, KEYS)
    cache.put(PageId.random(), b"secret-name.txt" * 100)
    cache.flush()
    assert b"secret-name" not in database.path.read_bytes()
    stranger = LocalPageCache(database, VaultKeys.generate(VaultId(b"v" * 16)))
    with database.reading() as connection:
        page = PageId(connection.execute("select page from pages").fetchone()[0])
    assert stranger.get(page) is None


def test_the_memo_of_packs_is_kept_and_never_believed_when_damaged(database: Database) -> None:
    cache = LocalPageCache(database, KEYS)
    page, packs = PageId.random(), frozenset(PackId.random() for _ in range(9))
    assert cache.packs_of(page) is None
    cache.note_packs(page, packs)
    assert cache.packs_of(page) == packs
    cache.flush()
    assert LocalPageCache(database, KEYS).packs_of(page) == packs
    with database.transaction() as connection:
        stored = connection.execute("select packs from page_packs").fetchone()[0]
        connection.execute("update page_packs set packs = ?", (bytes([stored[0] ^ 1]) + stored[1:],))
    assert LocalPageCache(database, KEYS).packs_of(page) is None


def test_pages_unused_for_long_are_dropped(database: Database) -> None:
    cache = LocalPageCache(database, KEYS)
    old, used = PageId.random(), PageId.random()
    for page in (old, used):
        cache.put(page, b"content")
        cache.note_packs(page, frozenset())
    cache.flush()
    for _ in range(KEEP_RUNS + 11):
        database.begin_run()
        database.end_run()
        cache = LocalPageCache(database, KEYS)
        assert cache.get(used) == b"content"
        cache.flush()
    cache.drop_unused()
    assert cache.get(used) == b"content"
    assert cache.get(old) is None


def test_beyond_the_limit_only_what_nobody_uses_is_dropped(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_cache, "MOST_BYTES", 3000)
    cache = LocalPageCache(database, KEYS)
    often, seldom, never, long_gone = (PageId.random() for _ in range(4))

    def runs(count: int) -> None:
        for _ in range(count):
            database.begin_run()
            database.end_run()
            cache = LocalPageCache(database, KEYS)
            cache.get(often)
            if database.run % 2:
                cache.get(seldom)  # by a set of its own, every other time
            cache.flush()
            cache.drop_unused()

    for page in (long_gone, often, seldom):
        cache.put(page, os.urandom(1200))
    cache.flush()
    runs(7)
    cache = LocalPageCache(database, KEYS)
    cache.put(never, os.urandom(1200))
    cache.flush()
    runs(14)
    cache = LocalPageCache(database, KEYS)
    assert cache.get(long_gone) is None
    assert None not in (cache.get(often), cache.get(seldom), cache.get(never))
    runs(20)
    cache = LocalPageCache(database, KEYS)
    assert None not in (cache.get(often), cache.get(seldom))
    assert cache.get(never) is None


# --- heads


def made_head(
    counter: int, *, device: bytes = b"a", parent: OpenedHead | None = None, seen: tuple[SeenHead, ...] = ()
) -> OpenedHead:
    head = Head(
        device=DeviceId(device * 16),
        installation=InstallationId(b"i" * 16),
        counter=counter,
        set_id=SetId(b"s" * 16),
        set_name="default",
        started_ns=counter,
        ended_ns=counter,
        roots=(b"/home",),
        root=None,
        counts=Counts(),
        parent=parent.snapshot if parent else None,
        slot_list_number=1,
        slot_list_hash=b"h" * 32,
        seen=seen,
    )
    return OpenedHead(snapshot_id(seal_head(KEYS, head)), head, float(counter))


def no_history(_after: SnapshotId) -> list[OpenedHead]:
    raise AssertionError("nothing moved, so nobody should ask")


def test_the_same_history_is_accepted_without_asking(database: Database) -> None:
    known = KnownHeads(database)
    head = made_head(4)
    known.remember([head])
    known.check([head], history=no_history)


def test_a_history_that_went_on_is_accepted(database: Database) -> None:
    known = KnownHeads(database)
    first = made_head(1)
    second = made_head(2, parent=first)
    third = made_head(5, parent=second)
    known.remember([first])
    known.check([third], history=lambda after: [second, third] if after == first.snapshot else [])


@pytest.mark.parametrize("case", ["older", "other", "gone", "forked", "gap"])
def test_a_contradicting_history_is_not(database: Database, case: str) -> None:
    known = KnownHeads(database)
    first = made_head(1)
    seen = made_head(3, parent=first)
    known.remember([seen])
    fork = made_head(3, parent=made_head(2, parent=first))
    newer = {"forked": made_head(4, parent=fork), "gap": made_head(9, parent=made_head(8))}
    shown = (
        {"older": [first], "other": [fork], "gone": []}.get(case) or [newer[case]] if case != "gone" else []
    )
    with pytest.raises(RollbackDetected):
        known.check(shown, history=lambda _after: [fork, *shown])


def test_what_another_device_has_seen_counts_even_at_first_sight(database: Database) -> None:
    mine = made_head(7, device=b"a")
    witness = made_head(2, device=b"b", seen=known_heads.testimony([mine], besides=DeviceId(b"b" * 16)))
    known = KnownHeads(database)
    known.check([mine, witness], history=no_history)
    rolled_back = made_head(6, device=b"a")
    with pytest.raises(RollbackDetected):
        known.check([rolled_back, witness], history=no_history)
    replaced = replace(mine, snapshot=SnapshotId(b"x" * 32))
    with pytest.raises(RollbackDetected):
        known.check([replaced, witness], history=no_history)
    with pytest.raises(RollbackDetected):
        known.check([witness], history=no_history)


def test_a_whole_history_holds_what_other_devices_vouch_for() -> None:
    """Also where the device in question went on: its newest number alone would agree."""
    first = made_head(1)
    vouched = made_head(2, parent=first)
    witness = made_head(1, device=b"b", seen=known_heads.testimony([vouched], besides=DeviceId(b"b" * 16)))
    check_history([first, vouched, made_head(3, parent=vouched), witness], newest=[])
    replaced = OpenedHead(SnapshotId(b"x" * 32), vouched.head, 2.0)
    fork = [first, replaced, made_head(3, parent=replaced), witness]
    known_heads.check_testimony(fork[2:])
    with pytest.raises(RollbackDetected):
        check_history(fork, newest=[])


def test_reference_sets_are_kept_for_the_newest(database: Database) -> None:
    known = KnownHeads(database)
    one, two = SnapshotId(b"1" * 32), SnapshotId(b"2" * 32)
    packs = frozenset(PackId.random() for _ in range(5))
    known.note_reference_set(one, packs, instead_of=None)
    assert known.reference_set(one) == packs
    known.note_reference_set(two, packs, instead_of=one)
    assert known.reference_set(one) is None
    assert known.reference_set(two) == packs
