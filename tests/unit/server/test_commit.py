"""Commit: compare-and-swap, reference sets, pending bytes, the feed."""

from __future__ import annotations

import hashlib
import random
import secrets
from dataclasses import replace
from uuid import UUID

import pytest

from muniment.server.deployment import Deployment
from muniment.server.store.port import StorageFailed
from muniment.server.vaults import reference_sets
from muniment.server.vaults.models import Event, Grant, Pack, PackState, Snapshot
from muniment.server.vaults.reading import list_snapshot_packs, list_snapshots
from muniment.server.vaults.reference_sets import MAX_DEPTH, load_reference_set
from muniment.server.vaults.sessions import close_session
from muniment.wire import messages as m
from muniment.wire.errors import ErrorCode
from muniment.wire.routes import Auth
from tests.support.domain import Clock, Member, packs_hash, refusal_of


def _refused(member: Member, draft: m.Commit):  # type: ignore[no-untyped-def]
    refusal = refusal_of(member.commit, draft)
    assert not Snapshot.objects.filter(name=hashlib.sha256(draft.head).hexdigest()).exists()
    return refusal


def test_a_commit_makes_a_snapshot_and_a_repeat_answers_the_same(
    deployment: Deployment, member: Member
) -> None:
    draft = member.draft([member.put(), member.put()])
    first = member.commit(draft)
    assert first.snapshot == hashlib.sha256(draft.head).hexdigest()
    again = member.commit(draft)
    assert (again.snapshot, again.created, again.received_at) == (first.snapshot, False, first.received_at)
    assert Event.objects.filter(vault__ref=member.vault, kind="snapshot_committed").count() == 1
    page = list_snapshots(deployment, member.access(), after=None, limit=10)
    assert [(head.head, head.counter, head.parent) for head in page.snapshots] == [(draft.head, 1, None)]


def test_a_repeat_is_answered_even_when_the_session_is_over(deployment: Deployment, member: Member) -> None:
    draft = member.draft([member.put()])
    member.commit(draft)
    close_session(deployment, member.access(), UUID(hex=member.session))
    assert member.commit(draft).created is False
    assert _refused(member, member.draft([])).code is ErrorCode.SESSION_EXPIRED


def test_missing_packs_are_named(member: Member) -> None:
    held, absent = member.put(), secrets.token_hex(16)
    refusal = _refused(member, member.draft([held, absent]))
    assert (refusal.code, refusal.reason, refusal.missing) == (
        ErrorCode.COMMIT_CONFLICT,
        "missing",
        (absent,),
    )


def test_packs_of_another_vault_are_missing(deployment: Deployment, member: Member) -> None:
    foreign = Member.first(deployment).put()
    member.open_session()
    assert _refused(member, member.draft([foreign])).missing == (foreign,)


def test_packs_of_another_device_of_the_vault_are_not(member: Member) -> None:
    pack = member.put()
    other = member.beside()
    other.open_session()
    assert other.commit(other.draft([pack])).created


def test_an_empty_snapshot(member: Member) -> None:
    member.open_session()
    assert member.commit(member.draft([])).created


def test_the_counter_is_compared_and_swapped(member: Member) -> None:
    member.open_session()
    member.commit(member.draft([]))
    for counter in (0, 1, 3):
        refusal = _refused(member, member.draft([], counter=counter))
        assert (refusal.code, refusal.reason) == (ErrorCode.COMMIT_CONFLICT, "counter")
        assert refusal.newest is not None
        assert (refusal.newest.snapshot, refusal.newest.counter) == (member.newest, 1)
    assert member.commit(member.draft([], counter=2)).created


def test_the_first_counter_is_one(member: Member) -> None:
    member.open_session()
    refusal = _refused(member, member.draft([], counter=5))
    assert (refusal.reason, refusal.newest) == ("counter", None)


def test_devices_have_lines_of_their_own(member: Member) -> None:
    other = member.beside()
    for each in (member, other, member):
        each.open_session()
        each.commit(each.draft([each.put()]))
    assert (member.counter, other.counter) == (2, 1)


def test_a_foreign_installation_is_a_clone(member: Member) -> None:
    member.open_session()
    member.commit(member.draft([]))
    refusal = _refused(member, member.draft([], installation=secrets.token_hex(16)))
    assert refusal.code is ErrorCode.DEVICE_CLONED


def test_after_lost_state_a_new_installation_goes_on_once(member: Member) -> None:
    member.open_session()
    member.commit(member.draft([]))
    old, new = member.installation, secrets.token_hex(16)
    wrong = _refused(member, member.draft([], installation=new, continues="ab" * 32))
    assert (wrong.code, wrong.reason) == (ErrorCode.COMMIT_CONFLICT, "counter")
    member.commit(member.draft([], installation=new, continues=member.newest))
    back = _refused(member, member.draft([], installation=old, continues=member.newest))
    assert back.code is ErrorCode.DEVICE_CLONED, "the old life may not come back"
    assert member.commit(member.draft([], installation=new)).created


def test_the_parent_may_be_any_snapshot_of_the_vault(member: Member) -> None:
    packs = [member.put() for _ in range(3)]
    first = member.commit(member.draft(packs))
    other = member.beside()
    other.open_session()
    other.packs = set(packs)
    made = other.commit(other.draft([], remove=(packs[0],), parent=first.snapshot))
    assert made.created
    listed = list_snapshot_packs(other.deployment, other.access(), snapshot=made.snapshot)
    assert {info.pack for info in listed.packs} == set(packs[1:])


def test_a_long_reference_set_is_listed_in_pages_and_passes_over_what_was_lost(member: Member) -> None:
    made = member.commit(member.draft([member.put() for _ in range(5)]))
    packs = sorted(member.packs)
    Pack.objects.filter(ref=UUID(hex=packs[3])).delete()
    small = replace(member.deployment, config=replace(member.deployment.config, pack_page=2))
    pages, after = [], None
    while not pages or after is not None:
        page = list_snapshot_packs(small, member.access(), snapshot=made.snapshot, after=after)
        pages.append([info.pack for info in page.packs])
        after = None if page.next is None else UUID(hex=page.next)
    assert pages == [packs[:2], packs[2:3], packs[4:]]


def test_an_unknown_parent(deployment: Deployment, member: Member) -> None:
    member.open_session()
    assert _refused(member, member.draft([], parent="ab" * 32)).reason == "parent"
    foreign = Member.first(deployment)
    foreign.open_session()
    theirs = foreign.commit(foreign.draft([])).snapshot
    assert _refused(member, member.draft([], parent=theirs)).reason == "parent"


def test_the_full_list_must_hash_as_said(member: Member) -> None:
    pack = member.put()
    assert _refused(member, member.draft([pack], packs_hash=packs_hash(set()))).reason == "packs_hash"


def test_quarantined_packs_are_refused_unless_carried_knowingly(member: Member) -> None:
    pack, other = member.put(), member.put()
    member.commit(member.draft([pack]))
    Pack.objects.filter(ref__in=[pack, other]).update(state=PackState.QUARANTINED)
    assert _refused(member, member.draft([])).missing == (pack,)
    new = _refused(member, member.draft([other], damaged=[pack, other]))
    assert new.missing == (other,), "only what the parent holds may be carried"
    assert member.commit(member.draft([], damaged=[pack])).created
    assert member.commit(member.draft([], remove=(pack,))).created


def test_a_slot_list_to_come_is_refused(member: Member) -> None:
    member.open_session()
    assert _refused(member, member.draft([], slot_list_number=1)).reason == "slot_list"
    member.add_slot()
    assert member.commit(member.draft([], slot_list_number=1)).created


def test_committed_packs_no_longer_pend(member: Member) -> None:
    packs = [member.put() for _ in range(3)]
    grant = Grant.objects.get(device__ref=member.device)
    before = grant.pending
    member.commit(member.draft(packs[:2]))
    grant.refresh_from_db()
    assert grant.pending == before // 3
    member.commit(member.draft([], remove=(packs[0],)))
    member.commit(member.draft([packs[0]]))
    grant.refresh_from_db()
    assert grant.pending == before // 3, "settled once"


def test_index_packs_enter_the_feed_in_order(member: Member) -> None:
    data, index = member.put(), member.put(kind=4)
    opened = member.open_session()
    assert (opened.index_packs, opened.cursor) == ([], 0)
    info = m.IndexPackInfo(pack=index, epoch=0, size=65536, covers=[data])
    member.commit(member.draft([data], index_packs=[info]))
    assert Grant.objects.get(device__ref=member.device).pending == 0
    opened = member.open_session()
    assert opened.index_packs == [info]
    assert member.open_session(cursor=opened.cursor).index_packs == []


def test_index_packs_must_be_held_and_be_index_packs(member: Member) -> None:
    data = member.put()
    for pack in (data, secrets.token_hex(16)):
        info = m.IndexPackInfo(pack=pack, epoch=0, size=65536, covers=[data])
        assert _refused(member, member.draft([data], index_packs=[info])).missing == (pack,)
    index = member.put(kind=4)
    info = m.IndexPackInfo(pack=index, epoch=0, size=65536, covers=[secrets.token_hex(16)])
    assert _refused(member, member.draft([data], index_packs=[info])).code is ErrorCode.MALFORMED


def test_reference_sets_survive_long_chains(
    deployment: Deployment, member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seventy random commits; every set is read back without the cache, and chains never pass the depth."""
    pool = [member.put() for _ in range(12)]
    choose = random.Random(5)
    expected: dict[str, set[str]] = {}
    for _ in range(70):
        add = [pack for pack in pool if choose.random() < 0.3]
        remove = tuple(pack for pack in pool if pack not in add and choose.random() < 0.3)
        committed = member.commit(member.draft(add, remove=remove))
        expected[committed.snapshot] = set(member.packs)
    monkeypatch.setattr(reference_sets, "_RECENT", reference_sets._RecentSets(most=0))
    depths = []
    for row in Snapshot.objects.filter(vault__ref=member.vault):
        assert {raw.hex() for raw in load_reference_set(deployment, row)} == expected[row.name]
        depths.append(row.packs_depth)
    assert max(depths) == MAX_DEPTH
    assert depths.count(0) == 3


def test_an_altered_reference_set_is_not_believed(
    deployment: Deployment, member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    member.commit(member.draft([member.put()]))
    monkeypatch.setattr(reference_sets, "_RECENT", reference_sets._RecentSets(most=0))
    row = Snapshot.objects.get(name=member.newest)
    path = deployment.config.objects / row.packs_key
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(StorageFailed):
        load_reference_set(deployment, row)
    path.unlink()
    with pytest.raises(StorageFailed):
        load_reference_set(deployment, row)


def test_a_commit_repeated_after_a_crash_before_its_row(deployment: Deployment, member: Member) -> None:
    """Objects are there, the row is not: the same objects serve again."""
    draft = member.draft([member.put()])
    member.commit(draft)
    before = {item.key for item in deployment.objects.list("")}
    Snapshot.objects.filter(name=member.newest).delete()
    assert member.commit(draft).created
    assert {item.key for item in deployment.objects.list("")} == before


def test_pages_of_snapshots(deployment: Deployment, member: Member) -> None:
    member.open_session()
    made = [member.commit(member.draft([])).snapshot for _ in range(5)]
    seen, after = [], None
    while True:
        page = list_snapshots(deployment, member.access(Auth.READER), after=after, limit=2)
        seen += [head.snapshot for head in page.snapshots]
        after = page.next
        if after is None:
            break
    assert seen == made
    with pytest.raises(Exception, match="no such snapshot"):
        list_snapshots(deployment, member.access(), after="ab" * 32, limit=2)


def test_newest_heads_are_per_device_and_set(member: Member, clock: Clock) -> None:
    other = member.beside()
    for each in (member, other):
        each.open_session()
        each.commit(each.draft([]))
        each.commit(each.draft([], partial=True))
        each.commit(each.draft([], set_id=secrets.token_hex(16)))
    heads = member.keys().heads
    assert sorted((head.device, head.counter, head.partial) for head in heads) == sorted(
        [(each.device, counter, counter == 2) for each in (member, other) for counter in (2, 3)]
    )
    assert member.open_session().heads == heads
