"""A pack's way in: refused early, live only when whole, metered once."""

from __future__ import annotations

import hashlib
import secrets
from uuid import UUID

import pytest

from muniment.model.packs import PACK_FLOOR, PackKind
from muniment.server.accounts.models import Device
from muniment.server.deployment import Deployment
from muniment.server.refusals import Refusal
from muniment.server.store.port import StorageFull
from muniment.server.vaults.allowances import set_allowance
from muniment.server.vaults.leftovers import clear_all_uploads, clear_expired_uploads
from muniment.server.vaults.models import HELD, UNSETTLED_SQL, Event, Grant, Pack, PackState, Vault
from muniment.server.vaults.reading import open_pack
from muniment.server.vaults.receive import Receipt, known_packs
from muniment.server.vaults.sessions import close_session
from muniment.wire import messages as m
from muniment.wire.errors import ErrorCode
from tests.support.domain import Clock, Member, make_deployment, refusal_of

CONTENT = secrets.token_bytes(PACK_FLOOR)


def _begun(member: Member, content: bytes = CONTENT, **fields: object) -> Receipt:
    if not member.session:
        member.open_session()
    receipt = member.begin(content, secrets.token_hex(16), **fields)
    assert isinstance(receipt, Receipt)
    return receipt


def _objects(deployment: Deployment) -> list[str]:
    return [item.key for item in deployment.objects.list("") if "/packs/" in item.key]


def _vault(member: Member) -> Vault:
    return Vault.objects.get(ref=member.vault)


def test_a_pack_is_live_metered_and_readable(deployment: Deployment, member: Member) -> None:
    pack = member.put(CONTENT)
    opened = open_pack(deployment, member.access(), UUID(hex=pack))
    assert opened.reader.read(offset=0, length=opened.size) == CONTENT
    opened.reader.close()
    row = Pack.objects.get(ref=pack)
    assert (row.state, opened.sha256) == (PackState.LIVE, hashlib.sha256(CONTENT).digest())
    assert _vault(member).used == PACK_FLOOR
    assert Grant.objects.get(vault=row.vault).pending == PACK_FLOOR


def test_before_the_last_step_the_pack_does_not_exist(deployment: Deployment, member: Member) -> None:
    receipt = _begun(member)
    receipt.append([CONTENT])
    assert refusal_of(open_pack, deployment, member.access(), receipt.offer.pack).code is ErrorCode.NOT_FOUND
    asked = m.KnownPacksRequest(session=member.session, packs=[receipt.offer.pack.hex])
    assert known_packs(deployment, member.access(), asked).held == {}
    assert _vault(member).used == 0
    receipt.finish()
    assert list(known_packs(deployment, member.access(), asked).held) == [receipt.offer.pack.hex]


def test_a_repeat_is_acknowledged_without_its_bytes(deployment: Deployment, member: Member) -> None:
    pack = member.put(CONTENT)
    assert member.begin(CONTENT, pack) == m.PackStored(pack=pack, created=False)
    assert _vault(member).used == PACK_FLOOR


@pytest.mark.parametrize("change", [{"content": bytes(PACK_FLOOR)}, {"kind": 2}, {"epoch": 1}])
def test_another_pack_under_the_same_id_is_refused(member: Member, change: dict[str, object]) -> None:
    pack = member.put(CONTENT)
    values = {"content": CONTENT, "pack": pack, **change}
    assert refusal_of(member.begin, **values).code is ErrorCode.PACK_CONFLICT


def test_ids_are_per_vault(deployment: Deployment, member: Member) -> None:
    pack = member.put(CONTENT)
    stranger = Member.first(deployment)
    stranger.put(bytes(PACK_FLOOR), pack)
    reader = open_pack(deployment, member.access(), UUID(hex=pack)).reader
    assert reader.read(offset=0, length=PACK_FLOOR) == CONTENT
    reader.close()


@pytest.mark.parametrize("size", [0, 1, PACK_FLOOR - 1, PACK_FLOOR + 1, 3 * PACK_FLOOR, (64 << 20) + 1])
def test_only_padded_sizes(member: Member, size: int) -> None:
    member.open_session()
    assert refusal_of(member.begin, CONTENT, "ab" * 16, size=size).code is ErrorCode.PACK_SIZE


def test_only_known_kinds(member: Member) -> None:
    member.open_session()
    for kind in PackKind:
        member.put(CONTENT, kind=int(kind))
    assert refusal_of(member.begin, CONTENT, "ab" * 16, kind=9).code is ErrorCode.MALFORMED


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (CONTENT[:-1], ErrorCode.HASH_MISMATCH),
        (CONTENT[:-1] + b"x", ErrorCode.HASH_MISMATCH),
        (CONTENT + b"x", ErrorCode.PACK_SIZE),
    ],
)
def test_wrong_bytes_leave_nothing(
    deployment: Deployment, member: Member, sent: bytes, code: ErrorCode
) -> None:
    member.open_session()
    receipt = _begun(member)
    with pytest.raises(Refusal) as refused:
        try:
            receipt.append([sent])
            receipt.finish()
        finally:
            receipt.abandon()
    assert refused.value.code is code
    assert _objects(deployment) == []
    assert not Pack.objects.filter(ref=receipt.offer.pack).exists()
    assert _vault(member).used == 0


@pytest.fixture
def packs_only(deployment: Deployment, clock: Clock) -> Member:
    """Of a server that keeps no room for commits, so that packs fit to the byte."""
    return Member.first(make_deployment(deployment.config.data, clock, commit_room=0))


def test_over_allowance_is_refused_before_the_first_byte(deployment: Deployment, packs_only: Member) -> None:
    member = packs_only
    member.open_session()
    Vault.objects.filter(ref=member.vault).update(allowance=PACK_FLOOR + 10)
    member.put()
    refused = refusal_of(member.begin, CONTENT, "ab" * 16)
    assert (refused.code, refused.short_by) == (ErrorCode.VAULT_FULL, PACK_FLOOR - 10)
    assert len(_objects(deployment)) == 1


def test_two_at_once_do_not_pass_the_allowance_together(deployment: Deployment, packs_only: Member) -> None:
    member = packs_only
    member.open_session()
    Vault.objects.filter(ref=member.vault).update(allowance=PACK_FLOOR)
    receipts = [_begun(member), _begun(member)]
    for receipt in receipts:
        receipt.append([CONTENT])
    receipts[0].finish()
    with pytest.raises(Refusal) as refused:
        try:
            receipts[1].finish()
        finally:
            receipts[1].abandon()
    assert refused.value.code is ErrorCode.VAULT_FULL
    assert _vault(member).used == PACK_FLOOR
    assert len(_objects(deployment)) == 1


def _take(member: Member) -> Refusal:
    """Send packs and commit each at once, until the server has enough of it."""
    for _ in range(100):
        try:
            pack = member.put()
        except Refusal as refused:
            return refused
        member.commit(member.draft([pack]))
    raise AssertionError("nothing stopped it")


def _reserves(member: Member) -> dict[str, int]:
    grants = Grant.objects.filter(vault=_vault(member)).select_related("device")
    return {grant.device.ref.hex: grant.reserved for grant in grants}


def test_a_thief_who_commits_all_it_sends_leaves_the_other_device_its_share(
    deployment: Deployment, member: Member
) -> None:
    thief = member.beside()
    set_allowance(deployment, member.account, 20 * PACK_FLOOR)
    for _ in range(12):
        member.put()
    stopped = _take(thief)
    assert stopped.code is ErrorCode.VAULT_FULL
    assert f"{2 * PACK_FLOOR} bytes are kept" in stopped.advice
    assert _vault(member).used <= 18 * PACK_FLOOR
    assert _reserves(member)[member.device] == 2 * PACK_FLOOR
    member.commit(member.draft([member.put()]))
    assert refusal_of(member.put).code is ErrorCode.VAULT_FULL
    assert _vault(member).used <= 20 * PACK_FLOOR


def test_a_device_alone_has_it_all_and_a_revoked_one_is_kept_nothing(
    deployment: Deployment, member: Member
) -> None:
    set_allowance(deployment, member.account, 10 * PACK_FLOOR)
    assert _take(member).code is ErrorCode.VAULT_FULL
    assert 8 * PACK_FLOOR < _vault(member).used <= 10 * PACK_FLOOR
    set_allowance(deployment, member.account, 20 * PACK_FLOOR)
    other = member.beside()
    assert _reserves(member) == {member.device: 2 * PACK_FLOOR, other.device: 2 * PACK_FLOOR}
    Device.objects.filter(ref=other.device).update(revoked_at=deployment.now())
    _take(member)
    assert 18 * PACK_FLOOR < _vault(member).used <= 20 * PACK_FLOOR


@pytest.mark.parametrize(("devices", "used", "each"), [(2, 0, 4), (6, 0, 4), (11, 0, 2), (4, 36, 1)])
def test_no_more_is_kept_than_half_nor_than_is_free(
    deployment: Deployment, member: Member, devices: int, used: int, each: int
) -> None:
    Vault.objects.filter(ref=member.vault).update(used=used * PACK_FLOOR)
    for _ in range(devices - 1):
        member.beside()
    set_allowance(deployment, member.account, 40 * PACK_FLOOR)
    assert list(_reserves(member).values()) == [each * PACK_FLOOR] * devices


def test_the_share_is_looked_at_again_when_the_pack_is_whole(
    deployment: Deployment, packs_only: Member
) -> None:
    member, thief = packs_only, packs_only.beside()
    set_allowance(deployment, member.account, 10 * PACK_FLOOR)
    for _ in range(8):
        thief.put()
    receipts = [_begun(thief), _begun(thief)]
    for receipt in receipts:
        receipt.append([CONTENT])
    receipts[0].finish()
    assert refusal_of(receipts[1].finish).code is ErrorCode.VAULT_FULL
    receipts[1].abandon()
    assert _reserves(member) == {member.device: PACK_FLOOR, thief.device: 0}


def test_what_no_commit_refers_to_is_capped_per_device(clock: Clock, deployment: Deployment) -> None:
    capped = make_deployment(deployment.config.data, clock, pending_cap=2 * PACK_FLOOR)
    member = Member.first(capped)
    other = member.beside()
    first = [member.put(), member.put()]
    refused = refusal_of(member.begin, CONTENT, "ab" * 16)
    assert (refused.code, refused.short_by) == (ErrorCode.PENDING_CAP, PACK_FLOOR)
    other.put()
    member.commit(member.draft(first[:1]))
    member.put()
    assert refusal_of(member.begin, CONTENT, "ab" * 16).code is ErrorCode.PENDING_CAP, (
        "one is still unreferred"
    )
    other.commit(other.draft([first[1]], parent=None))
    assert refusal_of(member.begin, CONTENT, "ab" * 16).code is ErrorCode.PENDING_CAP, (
        "another's commit is not mine"
    )


def test_the_same_pack_sent_twice_at_once(deployment: Deployment, member: Member) -> None:
    member.open_session()
    pack = secrets.token_hex(16)
    first, second = member.begin(CONTENT, pack), member.begin(CONTENT, pack)
    assert isinstance(first, Receipt)
    assert isinstance(second, Receipt)
    second.append([CONTENT])
    first.append([CONTENT])
    assert second.finish().created is True
    assert first.finish().created is False
    assert len(_objects(deployment)) == 1
    assert _vault(member).used == PACK_FLOOR
    assert [row.state for row in Pack.objects.filter(ref=pack)] == [PackState.LIVE]


def test_two_different_packs_under_one_id_at_once(deployment: Deployment, member: Member) -> None:
    member.open_session()
    pack = secrets.token_hex(16)
    first, second = member.begin(CONTENT, pack), member.begin(bytes(PACK_FLOOR), pack)
    assert isinstance(first, Receipt)
    assert isinstance(second, Receipt)
    first.append([CONTENT])
    second.append([bytes(PACK_FLOOR)])
    first.finish()
    assert refusal_of(second.finish).code is ErrorCode.PACK_CONFLICT
    second.abandon()
    assert len(_objects(deployment)) == 1


def test_a_session_that_ends_meanwhile(deployment: Deployment, member: Member) -> None:
    receipt = _begun(member)
    receipt.append([CONTENT])
    close_session(deployment, member.access(), UUID(hex=member.session))
    assert refusal_of(receipt.finish).code is ErrorCode.SESSION_EXPIRED
    receipt.abandon()
    assert _objects(deployment) == []


def test_a_device_revoked_meanwhile(deployment: Deployment, member: Member, clock: Clock) -> None:
    receipt = _begun(member)
    receipt.append([CONTENT])
    Device.objects.filter(ref=member.device).update(revoked_at=clock())
    assert refusal_of(receipt.finish).code is ErrorCode.NOT_GRANTED
    receipt.abandon()
    assert _objects(deployment) == []


def test_no_room_for_the_object_takes_back_the_row(
    deployment: Deployment, member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    member.open_session()

    def full(key: str, *, size: int) -> None:
        raise StorageFull

    monkeypatch.setattr(deployment.objects, "begin", full)
    with pytest.raises(StorageFull):
        member.begin(CONTENT, "ab" * 16)
    assert not Pack.objects.filter(vault__ref=member.vault).exists()


def test_a_killed_process_leaves_rows_that_the_next_start_clears(
    deployment: Deployment, member: Member
) -> None:
    kept = member.put(CONTENT)
    unfinished = _begun(member)
    unfinished.append([CONTENT[:1000]])
    published = _begun(member)
    published.append([CONTENT])
    published.writer.publish()
    assert len(_objects(deployment)) == 2
    assert clear_all_uploads(deployment) == 2
    assert [row.ref.hex for row in Pack.objects.filter(vault__ref=member.vault)] == [kept]
    assert len(_objects(deployment)) == 1


def test_expired_sessions_lose_their_uploads_and_live_ones_do_not(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    other = member.beside()
    gone = _begun(member)
    clock.turn(days=1, seconds=1)
    going = _begun(other)
    assert clear_expired_uploads(deployment) == 1
    gone.append([CONTENT])
    assert refusal_of(gone.finish).code is ErrorCode.SESSION_EXPIRED
    gone.abandon()
    going.append([CONTENT])
    assert going.finish().created is True
    assert len(_objects(deployment)) == 1


def test_a_lost_file_is_quarantined_and_told_and_can_be_sent_again(
    deployment: Deployment, member: Member
) -> None:
    pack = member.put(CONTENT)
    row = Pack.objects.get(ref=pack)
    deployment.objects.delete(row.object_key)
    refused = refusal_of(open_pack, deployment, member.access(), UUID(hex=pack))
    assert (refused.code, refused.reason) == (ErrorCode.NOT_FOUND, "quarantined")
    refusal_of(open_pack, deployment, member.access(), UUID(hex=pack))
    told = Event.objects.filter(vault__ref=member.vault, kind="pack_quarantined")
    assert [event.detail for event in told] == [{"pack": pack}], "once"
    assert member.open_session().quarantined == [pack]
    asked = m.KnownPacksRequest(session=member.session, packs=[pack])
    assert known_packs(deployment, member.access(), asked).held == {}
    assert refusal_of(member.begin, bytes(PACK_FLOOR), pack).code is ErrorCode.PACK_CONFLICT
    used = _vault(member).used
    member.put(CONTENT, pack)
    reader = open_pack(deployment, member.access(), UUID(hex=pack)).reader
    assert reader.read(offset=0, length=PACK_FLOOR) == CONTENT
    reader.close()
    assert _vault(member).used == used
    assert member.open_session().quarantined == []
    clear_all_uploads(deployment)
    assert len(_objects(deployment)) == 1
    assert sorted(Pack.objects.filter(ref=pack).values_list("state", flat=True)) == ["gone", "live"]


def test_a_cut_file_is_quarantined(deployment: Deployment, member: Member) -> None:
    pack = member.put(CONTENT)
    path = deployment.config.objects / Pack.objects.get(ref=pack).object_key
    path.write_bytes(CONTENT[:-1])
    assert refusal_of(open_pack, deployment, member.access(), UUID(hex=pack)).reason == "quarantined"


def test_a_sender_that_leaves_while_its_pack_becomes_live_destroys_nothing(
    deployment: Deployment, member: Member
) -> None:
    receipt = _begun(member)
    receipt.append([CONTENT])
    receipt.finish()
    receipt.abandon()
    opened = open_pack(deployment, member.access(), receipt.offer.pack)
    assert opened.reader.read(offset=0, length=opened.size) == CONTENT
    opened.reader.close()


def test_an_upload_given_up_stays_given_up(deployment: Deployment, member: Member) -> None:
    receipt = _begun(member)
    receipt.abandon()
    receipt.abandon()
    assert refusal_of(receipt.append, [CONTENT]).code is ErrorCode.SESSION_EXPIRED
    assert refusal_of(receipt.finish).code is ErrorCode.SESSION_EXPIRED
    assert not Pack.objects.filter(ref=receipt.offer.pack).exists()


@pytest.mark.sqlite
def test_partial_indexes_are_used_where_they_matter(member: Member) -> None:
    """The few unsettled rows are found without reading a vault's millions."""
    plans = {
        str(Pack.objects.filter(vault_id=1, state="quarantined").extra(where=[UNSETTLED_SQL]).explain()),
        str(Pack.objects.filter(state="incoming").extra(where=[UNSETTLED_SQL]).explain()),
    }
    assert all("unsettled_packs" in plan for plan in plans), plans
    assert "packs_by_ref" in Pack.objects.filter(vault_id=1, ref=UUID(int=1), state__in=HELD).explain()


def test_a_device_sends_a_bounded_number_at_once(deployment: Deployment, clock: Clock) -> None:
    few = make_deployment(deployment.config.data, clock, uploads=2)
    member = Member.first(few)
    other = member.beside()
    other.open_session()
    first, second = _begun(member), _begun(member)
    refused = refusal_of(member.begin, CONTENT, secrets.token_hex(16))
    assert (refused.code, refused.retry_after) == (ErrorCode.TOO_MANY, 5)
    other.put()
    first.abandon()
    first.abandon()
    third = _begun(member)
    second.append([CONTENT])
    second.finish()
    fourth = _begun(member)
    assert refusal_of(member.begin, CONTENT, secrets.token_hex(16)).code is ErrorCode.TOO_MANY
    third.abandon()
    fourth.abandon()


def test_a_restore_session_takes_no_packs(member: Member) -> None:
    member.open_session(purpose="restore")
    assert refusal_of(member.begin, CONTENT, "ab" * 16).code is ErrorCode.NOT_GRANTED
