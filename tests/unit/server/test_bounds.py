"""What one device can leave behind is bounded: bytes by the allowance, rows by counts and rates."""

from __future__ import annotations

import hashlib
import secrets

import msgspec
import pytest

from muniment.model.packs import PACK_FLOOR
from muniment.server.accounts.enrolment import MOST_WAITING, make_code
from muniment.server.accounts.models import EnrolmentCode
from muniment.server.deployment import Deployment
from muniment.server.refusals import Refusal
from muniment.server.transactions import writing
from muniment.server.vaults.access import authenticate_device
from muniment.server.vaults.allowances import set_allowance
from muniment.server.vaults.closing import close_vault
from muniment.server.vaults.enrolment import create_vault, enrol_device
from muniment.server.vaults.kits import open_kit_session, register_kit
from muniment.server.vaults.models import Event, Grant, KitToken, Run, Session, Snapshot, Vault
from muniment.server.vaults.refs import parse_ref
from muniment.server.vaults.runs import report_run
from muniment.server.vaults.slots import put_slot, put_slot_list
from muniment.wire import messages as m
from muniment.wire.errors import ErrorCode
from tests.support.domain import Clock, Member, make_deployment, packs_hash, refusal_of, thread_of

STEP = 4096


def _vault(member: Member) -> Vault:
    return Vault.objects.get(ref=member.vault)


def _stored(member: Member) -> int:
    """Bytes that the store has of the vault."""
    return sum(item.size for item in member.deployment.objects.list(member.vault + "/"))


def _commit_on(member: Member, *, head: int) -> Refusal:
    """Commit big heads that need no pack at all, until the server has enough of it."""
    member.open_session()
    for _ in range(200):
        draft = member.draft([], parent=None, head=secrets.token_bytes(head), packs_hash=packs_hash(set()))
        try:
            member.commit(draft)
        except Refusal as refused:
            return refused
    raise AssertionError("nothing stopped it")


# --- bytes


def test_heads_and_reference_sets_count(member: Member) -> None:
    packs = [member.put() for _ in range(3)]
    member.commit(member.draft(packs))
    snapshot = Snapshot.objects.get(vault__ref=member.vault)
    assert snapshot.metered == 2 * STEP
    assert _vault(member).used == 3 * PACK_FLOOR + 2 * STEP
    again = member.draft([], head=secrets.token_bytes(STEP + 1))
    member.commit(again)
    assert member.commit(again).created is False
    assert _vault(member).used == 3 * PACK_FLOOR + 5 * STEP, "a repeat is not counted"


def test_a_commit_loop_ends_at_the_allowance_and_the_owner_still_commits(
    deployment: Deployment, member: Member
) -> None:
    thief = member.beside()
    set_allowance(deployment, member.account, 4 << 20)
    kept = Grant.objects.get(vault=_vault(member), device__ref=member.device).reserved
    refused = _commit_on(thief, head=256 << 10)
    assert refused.code is ErrorCode.VAULT_FULL
    assert refused.short_by is not None
    assert "kept for the vault's other devices" in refused.advice
    assert _stored(thief) <= (4 << 20) - kept, "what was refused was not kept"
    assert kept == int(0.1 * (4 << 20))
    for _ in range(4):
        member.commit(member.draft([member.put()]))


def test_packs_leave_room_to_commit_them(deployment: Deployment, member: Member) -> None:
    set_allowance(deployment, member.account, 20 * PACK_FLOOR)
    sent = [member.put() for _ in range(19)]
    assert refusal_of(member.put).code is ErrorCode.VAULT_FULL
    assert member.commit(member.draft(sent)).created


def test_refused_commits_leave_nothing_in_the_store(member: Member) -> None:
    pack = member.put()
    before = _stored(member)
    ahead = member.draft([pack], slot_list_number=7)
    assert refusal_of(member.commit, ahead).reason == "slot_list"
    rivals = [member.draft([pack], head=secrets.token_bytes(64 << 10)) for _ in range(6)]
    outcomes: list[str] = []

    def compete(draft: m.Commit) -> None:
        try:
            member.commit(draft)
        except Refusal as refused:
            outcomes.append(refused.reason or refused.code.value)

    threads = [thread_of(compete, draft) for draft in rivals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == ["counter"] * 5
    assert _stored(member) - before < (64 << 10) + STEP


def test_the_same_commit_twice_at_once_is_stored_once_and_stays(member: Member) -> None:
    draft = member.draft([member.put()])
    threads = [thread_of(member.commit, draft) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [head.head for head in member.keys().heads] == [draft.head]


def test_an_index_pack_names_what_it_covers_once(member: Member) -> None:
    pack, index = member.put(), member.put(kind=4)
    info = m.IndexPackInfo(pack=index, epoch=0, size=PACK_FLOOR, covers=[pack] * 1000)
    refused = refusal_of(member.commit, member.draft([pack], index_packs=[info]))
    assert refused.code is ErrorCode.MALFORMED
    info = msgspec.structs.replace(info, covers=[pack])
    member.commit(member.draft([pack], index_packs=[info]))
    assert Snapshot.objects.get(vault__ref=member.vault).metered == 3 * STEP


def test_refused_slots_and_lists_leave_nothing_in_the_store(deployment: Deployment, clock: Clock) -> None:
    small = make_deployment(deployment.config.data, clock, slots=1)
    member = Member.first(small)
    member.add_slot()
    before = _stored(member)
    slot = secrets.token_hex(16)
    wrapped = m.WrappedSlot(slot=slot, wrapped=secrets.token_bytes(16384))
    assert refusal_of(put_slot, small, member.access(), parse_ref(slot), wrapped).reason == "too_many"
    signed = member.keys().signed
    assert signed is not None
    for mac in (b"", b"another"):  # the newest list again, under other macs
        repeat = m.PutSlotList(
            expected_number=0, expected_hash=b"", signed=m.SignedSlotList(body=signed.body, mac=mac)
        )
        assert put_slot_list(small, member.access(), repeat).created is False
    assert refusal_of(member.put_list, member.slot_list().slots).reason == "unchanged"
    assert _stored(member) == before


def test_a_slot_list_is_no_longer_than_what_it_says(deployment: Deployment, member: Member) -> None:
    member.add_slot()
    signed = member.keys().signed
    assert signed is not None
    long = m.PutSlotList(
        expected_number=0, expected_hash=b"", signed=m.SignedSlotList(body=signed.body, mac=bytes(65))
    )
    assert refusal_of(put_slot_list, deployment, member.access(), long).code is ErrorCode.MALFORMED
    padded = msgspec.msgpack.decode(signed.body)
    body = msgspec.msgpack.encode(padded)
    assert body[0] >> 4 == 8, "a small map, which we write again with a field many times over"
    number = msgspec.msgpack.encode("number") + msgspec.msgpack.encode(1)
    stuffed = b"\xde" + (len(padded) + 2000).to_bytes(2, "big") + body[1:] + number * 2000
    long = m.PutSlotList(expected_number=0, expected_hash=b"", signed=m.SignedSlotList(body=stuffed, mac=b""))
    assert refusal_of(put_slot_list, deployment, member.access(), long).code is ErrorCode.MALFORMED


# --- rows


@pytest.fixture
def strict(deployment: Deployment, clock: Clock) -> Deployment:
    return make_deployment(
        deployment.config.data, clock, visits=3, kit_tokens=2, vaults=2, session_silence=10**6
    )


def test_sessions_of_a_device_are_only_so_many_a_day(strict: Deployment, clock: Clock) -> None:
    member = Member.first(strict)
    for _ in range(3):
        member.open_session()
        clock.turn(hours=1)
    refused = refusal_of(member.open_session)
    assert (refused.code, refused.retry_after) == (ErrorCode.TOO_MANY, 21 * 3600)
    assert "less often" in refused.advice
    assert Session.objects.filter(vault__ref=member.vault).count() == 3
    member.beside().open_session()
    clock.turn(hours=21)
    member.open_session()


def test_reports_of_a_device_are_only_so_many_a_day(strict: Deployment, clock: Clock) -> None:
    member = Member.first(strict)
    for _ in range(3):
        assert report_run(strict, member.access(), _report()).created
    assert refusal_of(report_run, strict, member.access(), _report()).code is ErrorCode.TOO_MANY
    assert Run.objects.filter(vault__ref=member.vault).count() == 3
    assert Event.objects.filter(vault__ref=member.vault, kind="run_reported").count() == 3
    clock.turn(days=1, seconds=1)
    assert report_run(strict, member.access(), _report()).created


def _report() -> m.RunReport:
    return m.RunReport(
        session=None, set_id=secrets.token_hex(16), outcome="done", coverage=m.Coverage(),
        bytes_bound=1 << 20, seconds=1.0, client_version="test",
    )  # fmt: skip


def test_a_kit_comes_in_however_often_it_was_used(strict: Deployment) -> None:
    member = Member.first(strict)
    slot, credential = member.add_slot(kind="kit"), secrets.token_bytes(32)
    register_kit(
        strict,
        member.access(),
        m.RegisterKit(slot=slot, credential_hash=hashlib.sha256(credential).digest()),
    )
    for _ in range(5):
        newest = open_kit_session(strict, m.KitLogin(vault=member.vault, credential=credential)).token
    tokens = KitToken.objects.filter(kit__slot__vault__ref=member.vault)
    assert tokens.count() == 2
    assert tokens.filter(token_sha256=hashlib.sha256(newest.encode()).digest()).exists()


def test_an_account_has_only_so_many_vaults(strict: Deployment) -> None:
    member = Member.first(strict)
    made = [_further_vault(strict, member)]
    refused = refusal_of(_further_vault, strict, member)
    assert (refused.code, "closed" in refused.advice) == (ErrorCode.VAULT_EXISTS, True)
    close_vault(strict, parse_ref(made[0]), holds=lambda vault: None)
    _further_vault(strict, member)


def test_an_account_has_only_so_many_codes_that_wait(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    def make() -> bytes:
        with writing():
            return make_code(
                member.account, makes_vault=False, vault_ref=None, now=deployment.now(), life=3600
            )

    secrets_made = [make() for _ in range(MOST_WAITING)]
    refused = refusal_of(make)
    assert (refused.code, refused.advice) == (
        ErrorCode.TOO_MANY,
        "Use one of them, or wait until they lapse.",
    )
    enrol_device(
        deployment,
        m.EnrolRequest(secret=secrets_made[0], device_name="x", public_key=secrets.token_bytes(32)),
    )
    make()
    clock.turn(hours=1)
    make()


def _further_vault(deployment: Deployment, member: Member) -> str:
    with writing():
        secret = make_code(member.account, makes_vault=True, vault_ref=None, now=deployment.now(), life=3600)
    enrolled = enrol_device(
        deployment, m.EnrolRequest(secret=secret, device_name="x", public_key=secrets.token_bytes(32))
    )
    vault = secrets.token_hex(16)
    create_vault(deployment, authenticate_device(enrolled.token), m.CreateVault(vault=vault))
    return vault


def test_a_code_for_a_closed_vault_is_refused_and_not_spent(deployment: Deployment, member: Member) -> None:
    with writing():
        secret = make_code(
            member.account,
            makes_vault=False,
            vault_ref=parse_ref(member.vault),
            now=deployment.now(),
            life=3600,
        )
    close_vault(deployment, parse_ref(member.vault), holds=lambda vault: None)
    request = m.EnrolRequest(secret=secret, device_name="x", public_key=secrets.token_bytes(32))
    refused = refusal_of(enrol_device, deployment, request)
    assert (refused.code, "was closed" in refused.message) == (ErrorCode.CODE_SPENT, True)
    assert EnrolmentCode.objects.get(secret_sha256=hashlib.sha256(secret).digest()).device is None
