"""Slots, the list of them, what the owner must confirm, kits, sessions, runs."""

from __future__ import annotations

import hashlib
import secrets
from uuid import UUID

import msgspec
import pytest

from muniment.server.deployment import Deployment
from muniment.server.vaults.access import open_vault
from muniment.server.vaults.confirmations import (
    NotPending,
    Owner,
    ask_confirmation,
    confirm,
    list_confirmations,
    refuse,
)
from muniment.server.vaults.kits import open_kit_session, register_kit
from muniment.server.vaults.models import Confirmation, Event, Session, Slot
from muniment.server.vaults.reading import list_devices, list_events
from muniment.server.vaults.runs import report_run
from muniment.server.vaults.sessions import close_session, heartbeat, open_session
from muniment.server.vaults.slots import put_slot, put_slot_list
from muniment.wire import messages as m
from muniment.wire.errors import ErrorCode
from muniment.wire.routes import Auth
from tests.support.domain import Clock, Member, make_deployment, refusal_of


def _confirm(member: Member, request: str | None) -> Confirmation:
    assert request is not None
    return confirm(member.deployment, UUID(hex=request), by=Owner(member.account.pk))


def _kinds(member: Member) -> list[str]:
    return [event.kind for event in Event.objects.filter(vault__ref=member.vault).order_by("number")]


# --- slots are written once


def test_a_slot_is_never_replaced(deployment: Deployment, member: Member) -> None:
    slot = secrets.token_hex(16)
    first = m.WrappedSlot(slot=slot, wrapped=b"first")
    place = (deployment, member.access(), UUID(hex=slot))
    assert put_slot(*place, first).created is True
    assert put_slot(*place, first).created is False
    refusal = refusal_of(put_slot, *place, m.WrappedSlot(slot=slot, wrapped=b"second"))
    assert refusal.code is ErrorCode.SLOT_CONFLICT
    mismatch = refusal_of(put_slot, deployment, member.access(), UUID(int=1), first)
    assert mismatch.code is ErrorCode.MALFORMED


def test_slots_are_bounded(deployment: Deployment, clock: Clock) -> None:
    small = make_deployment(deployment.config.data, clock, slots=2)
    member = Member.first(small)
    member.add_slot()
    member.add_slot()
    assert refusal_of(member.add_slot).reason == "too_many"
    member.beside().add_slot()


def test_unlisted_slots_are_not_handed_out(deployment: Deployment, member: Member) -> None:
    slot = secrets.token_hex(16)
    put_slot(deployment, member.access(), UUID(hex=slot), m.WrappedSlot(slot=slot, wrapped=b"x"))
    assert member.keys().slots == []


# --- the list


def test_the_list_grows_by_compare_and_swap(deployment: Deployment, member: Member) -> None:
    first, second = member.add_slot(), member.add_slot(kind="kit")
    assert [line.slot for line in member.slot_list().slots] == [first, second]
    assert {wrapped.slot for wrapped in member.keys().slots} == {first, second}
    assert _kinds(member).count("slot_added") == 2
    signed = member.keys().signed
    assert signed is not None
    request = m.PutSlotList(expected_number=1, expected_hash=secrets.token_bytes(32), signed=signed)
    assert refusal_of(put_slot_list, deployment, member.access(), request).code is ErrorCode.MALFORMED


def test_a_repeat_of_the_newest_list_is_fine_and_an_older_one_is_not(
    deployment: Deployment, member: Member
) -> None:
    member.add_slot()
    first = member.keys().signed
    assert first is not None
    repeat = m.PutSlotList(expected_number=0, expected_hash=b"", signed=first)
    assert put_slot_list(deployment, member.access(), repeat).created is False
    member.add_slot()
    assert refusal_of(put_slot_list, deployment, member.access(), repeat).reason == "not_newest"


def test_two_writers_of_one_number(deployment: Deployment, member: Member) -> None:
    member.add_slot()
    empty = m.SlotList(vault=member.vault, number=1, previous=b"", slots=[])
    signed = m.SignedSlotList(body=msgspec.msgpack.encode(empty), mac=b"")
    request = m.PutSlotList(expected_number=0, expected_hash=b"", signed=signed)
    assert refusal_of(put_slot_list, deployment, member.access(), request).reason == "not_newest"


def test_lines_neither_vanish_nor_change(member: Member) -> None:
    member.add_slot()
    member.add_slot()
    lines = member.slot_list().slots
    assert refusal_of(member.put_list, lines[:1]).code is ErrorCode.SLOT_REMOVAL
    altered = [msgspec.structs.replace(lines[0], label="mine now"), lines[1]]
    assert refusal_of(member.put_list, altered).code is ErrorCode.SLOT_REMOVAL
    assert member.put_list([lines[1], lines[0]]).created, "order is free"


def test_new_lines_need_their_wrapped_key(member: Member) -> None:
    member.add_slot()
    lines = member.slot_list().slots
    absent = msgspec.structs.replace(lines[0], slot=secrets.token_hex(16))
    assert refusal_of(member.put_list, [*lines, absent]).reason == "not_stored"
    assert refusal_of(member.put_list, [*lines, lines[0]]).code is ErrorCode.MALFORMED


def test_device_lines_name_a_device_of_the_vault(deployment: Deployment, member: Member) -> None:
    member.add_slot(kind="device", device=member.device)
    stranger = Member.first(deployment)
    assert refusal_of(member.add_slot, kind="device", device=stranger.device).reason == "device"
    assert refusal_of(member.add_slot, kind="device").code is ErrorCode.MALFORMED
    assert refusal_of(member.add_slot, kind="kit", device=member.device).code is ErrorCode.MALFORMED


@pytest.mark.parametrize("body", [b"", b"\xc1", msgspec.msgpack.encode({"vault": "x"})])
def test_a_list_that_does_not_parse(deployment: Deployment, member: Member, body: bytes) -> None:
    request = m.PutSlotList(expected_number=0, expected_hash=b"", signed=m.SignedSlotList(body=body, mac=b""))
    assert refusal_of(put_slot_list, deployment, member.access(), request).code is ErrorCode.MALFORMED


def test_a_list_of_another_vault(deployment: Deployment, member: Member) -> None:
    content = m.SlotList(vault="ab" * 16, number=1, previous=b"", slots=[])
    signed = m.SignedSlotList(body=msgspec.msgpack.encode(content), mac=b"")
    request = m.PutSlotList(expected_number=0, expected_hash=b"", signed=signed)
    assert refusal_of(put_slot_list, deployment, member.access(), request).code is ErrorCode.MALFORMED


# --- removing a slot


def _two_people(member: Member) -> tuple[str, str]:
    return member.add_slot(kind="passphrase"), member.add_slot(kind="kit")


def test_removing_a_slot_takes_the_owner_and_the_delay(member: Member, clock: Clock) -> None:
    old, new = _two_people(member)
    removal = member.removal_of(old)
    asked = member.ask("remove_slot", old, removal)
    assert asked.code is ErrorCode.NEEDS_CONFIRMATION
    assert member.ask("remove_slot", old, removal).request == asked.request, "one open request"
    clock.turn(days=3)
    assert {slot.slot for slot in member.keys().slots} == {old, new}, "nothing happens by itself"
    row = _confirm(member, asked.request)
    assert row.state == "confirmed"
    clock.turn(hours=71, minutes=59)
    assert {slot.slot for slot in member.keys().slots} == {old, new}
    lines = member.slot_list().slots
    refused = refusal_of(member.put_list, [lines[1]], removals=[removal])
    assert refused.code is ErrorCode.SLOT_REMOVAL, "not before the delay is over"
    clock.turn(minutes=1)
    keys = member.keys()
    assert {slot.slot for slot in keys.slots} == {new}
    assert keys.removals == [removal]
    assert refusal_of(member.put_list, [lines[1]]).code is ErrorCode.SLOT_REMOVAL, "needs the record in it"
    assert member.put_list([lines[1]], removals=[removal]).created
    assert refusal_of(member.put_list, [lines[1]], removals=[]).code is ErrorCode.SLOT_REMOVAL, (
        "kept for good"
    )
    assert refusal_of(member.put_list, lines, removals=[removal]).code is ErrorCode.MALFORMED
    wrapped = m.WrappedSlot(slot=old, wrapped=b"again")
    back = refusal_of(put_slot, member.deployment, member.access(), UUID(hex=old), wrapped)
    assert back.code is ErrorCode.SLOT_CONFLICT, "a removed slot's id is spent"
    assert [kind for kind in _kinds(member) if kind.startswith(("conf", "slot_rem"))] == [
        "confirmation_asked", "confirmation_given", "slot_removed",
    ]  # fmt: skip


def test_a_removal_can_be_undone_until_it_is_due(member: Member, clock: Clock) -> None:
    old, _ = _two_people(member)
    asked = member.ask("remove_slot", old, member.removal_of(old))
    row = _confirm(member, asked.request)
    clock.turn(hours=71)
    refuse(member.deployment, row.ref, by=Owner(member.account.pk))
    clock.turn(hours=2)
    assert old in {slot.slot for slot in member.keys().slots}
    with pytest.raises(NotPending):
        refuse(member.deployment, row.ref, by=Owner(member.account.pk))
    again = member.ask("remove_slot", old, member.removal_of(old))
    assert again.request != asked.request
    row = _confirm(member, again.request)
    clock.turn(hours=72)
    with pytest.raises(NotPending):
        refuse(member.deployment, row.ref, by=Owner(member.account.pk))


def test_requests_lapse(member: Member, clock: Clock) -> None:
    old, _ = _two_people(member)
    asked = member.ask("remove_slot", old, member.removal_of(old))
    clock.turn(days=14)
    with pytest.raises(NotPending):
        _confirm(member, asked.request)
    states = list_confirmations(member.deployment, member.access()).requests
    assert [request.state for request in states] == ["lapsed"]


def test_the_last_slot_of_a_person_stays(member: Member, clock: Clock) -> None:
    old, new = _two_people(member)
    _confirm(member, member.ask("remove_slot", old, member.removal_of(old)).request)
    clock.turn(hours=72)
    member.keys()
    refused = refusal_of(member.ask, "remove_slot", new, member.removal_of(new))
    assert refused.reason == "last_slot"


def test_two_requests_at_once_cannot_remove_both(member: Member, clock: Clock) -> None:
    old, new = _two_people(member)
    first = member.ask("remove_slot", old, member.removal_of(old))
    second = member.ask("remove_slot", new, member.removal_of(new))
    _confirm(member, first.request)
    assert refusal_of(_confirm, member, second.request).reason == "last_slot"
    clock.turn(hours=72)
    assert {slot.slot for slot in member.keys().slots} == {new}


def test_removals_must_be_of_the_slot(deployment: Deployment, member: Member) -> None:
    old, new = _two_people(member)
    assert refusal_of(member.ask, "remove_slot", old).code is ErrorCode.MALFORMED
    assert refusal_of(member.ask, "remove_slot", old, member.removal_of(new)).code is ErrorCode.MALFORMED
    broken = m.SignedRemoval(record=b"\xc1", mac=b"")
    assert refusal_of(member.ask, "remove_slot", old, broken).code is ErrorCode.MALFORMED
    unknown = secrets.token_hex(16)
    removal = member.removal_of(unknown)
    assert refusal_of(member.ask, "remove_slot", unknown, removal).code is ErrorCode.NOT_FOUND
    wrong = refusal_of(member.ask, "revoke_device", member.device, member.removal_of(old))
    assert wrong.code is ErrorCode.MALFORMED


# --- revoking a device


def test_a_body_held_back_until_after_the_revocation_changes_nothing(member: Member) -> None:
    """Callers are let in before their body is read; by the time it comes they may be out."""
    thief = member.beside()
    stored = thief.add_slot(kind="kit")
    deployment, let_in = member.deployment, thief.access()
    before = member.slot_list()
    signed = member.keys().signed
    assert signed is not None
    digest = hashlib.sha256(signed.body).digest()
    longer = m.SlotList(vault=member.vault, number=before.number + 1, previous=digest, slots=before.slots)
    held_back = [
        (put_slot, UUID(int=1), m.WrappedSlot(slot=UUID(int=1).hex, wrapped=b"a door of its own")),
        (
            put_slot_list,
            m.PutSlotList(
                expected_number=before.number,
                expected_hash=digest,
                signed=m.SignedSlotList(body=msgspec.msgpack.encode(longer), mac=bytes(32)),
            ),
        ),
        (register_kit, m.RegisterKit(slot=stored, credential_hash=bytes(32))),
        (
            ask_confirmation,
            m.AskConfirmation(action="remove_slot", subject=stored, removal=member.removal_of(stored)),
        ),
    ]
    _confirm(member, member.ask("revoke_device", thief.device).request)
    events = _kinds(member)
    for call, *rest in held_back:
        assert refusal_of(call, deployment, let_in, *rest).code is ErrorCode.NOT_GRANTED
    assert _kinds(member) == events


def test_revoking_acts_at_once_once_confirmed(member: Member) -> None:
    thief = member.beside()
    member.add_slot()
    slot = thief.add_slot(kind="device", device=thief.device)
    planted = thief.add_slot(kind="passphrase")
    asked = member.ask("revoke_device", thief.device)
    assert thief.access().device is not None, "asking alone does nothing"
    assert _confirm(member, asked.request).state == "done"
    assert refusal_of(thief.access).code is ErrorCode.NOT_GRANTED
    assert slot not in {wrapped.slot for wrapped in member.keys().slots}
    event = Event.objects.filter(vault__ref=member.vault, kind="device_revoked").get()
    assert event.detail == {"revoked": thief.device, "slots_added": f"{slot} {planted}"}
    shown = {device.device: device for device in list_devices(member.access()).devices}
    assert shown[thief.device].revoked_at is not None
    assert shown[member.device].this
    assert refusal_of(member.ask, "revoke_device", thief.device).code is ErrorCode.NOT_FOUND


def test_a_stranger_s_device_cannot_be_named(deployment: Deployment, member: Member) -> None:
    stranger = Member.first(deployment)
    assert refusal_of(member.ask, "revoke_device", stranger.device).code is ErrorCode.NOT_FOUND


# --- kits


def _kit(member: Member) -> tuple[str, bytes]:
    slot, credential = member.add_slot(kind="kit"), secrets.token_bytes(32)
    request = m.RegisterKit(slot=slot, credential_hash=hashlib.sha256(credential).digest())
    assert register_kit(member.deployment, member.access(), request).created is True
    assert register_kit(member.deployment, member.access(), request).created is False
    other = m.RegisterKit(slot=slot, credential_hash=secrets.token_bytes(32))
    assert refusal_of(register_kit, member.deployment, member.access(), other).code is ErrorCode.SLOT_CONFLICT
    return slot, credential


def _login(member: Member, credential: bytes) -> m.KitToken:
    return open_kit_session(member.deployment, m.KitLogin(vault=member.vault, credential=credential))


def test_a_kit_reads_and_does_nothing_else(deployment: Deployment, member: Member, clock: Clock) -> None:
    passphrase = member.add_slot()
    slot, credential = _kit(member)
    token = _login(member, credential).token
    place = UUID(hex=member.vault)
    access = open_vault(token, place, auth=Auth.READER, now=clock())
    kit = Member(deployment, member.account, token, "", member.vault)
    assert [wrapped.slot for wrapped in kit.keys().slots] == [slot], "the passphrase's slot is not for kits"
    assert passphrase in {line.slot for line in kit.slot_list().slots}
    assert refusal_of(open_vault, token, place, auth=Auth.DEVICE, now=clock()).code is ErrorCode.NOT_GRANTED
    restore = m.OpenSession(purpose="restore", client_version="test")
    opened = open_session(deployment, access, restore)
    assert heartbeat(deployment, access, UUID(hex=opened.session)).expires_at == opened.expires_at
    backup = m.OpenSession(purpose="backup", client_version="test")
    assert refusal_of(open_session, deployment, access, backup).code is ErrorCode.NOT_GRANTED
    assert "kit_used" in _kinds(member)
    clock.turn(days=1)
    late = refusal_of(open_vault, token, place, auth=Auth.READER, now=clock())
    assert late.code is ErrorCode.UNAUTHENTICATED


def test_guessing_is_slowed_down_and_told_once(member: Member, clock: Clock) -> None:
    _, credential = _kit(member)
    for _ in range(10):
        assert refusal_of(_login, member, secrets.token_bytes(32)).code is ErrorCode.NOT_GRANTED
    slowed = refusal_of(_login, member, secrets.token_bytes(32))
    assert slowed.code is ErrorCode.TOO_MANY
    assert slowed.retry_after == 600
    assert _kinds(member).count("kit_refused") == 1
    assert _login(member, credential).token, "guesses of others do not keep the owner out"
    clock.turn(seconds=601)
    assert refusal_of(_login, member, secrets.token_bytes(32)).code is ErrorCode.NOT_GRANTED


def test_an_unknown_vault_is_refused_like_a_wrong_kit(deployment: Deployment, member: Member) -> None:
    _kit(member)
    wrong = refusal_of(_login, member, secrets.token_bytes(32))
    request = m.KitLogin(vault=secrets.token_hex(16), credential=secrets.token_bytes(32))
    unknown = refusal_of(open_kit_session, deployment, request)
    assert (wrong.code, wrong.message) == (unknown.code, unknown.message)


def test_a_removed_kit_opens_nothing(member: Member, clock: Clock) -> None:
    member.add_slot()
    slot, credential = _kit(member)
    token = _login(member, credential).token
    _confirm(member, member.ask("remove_slot", slot, member.removal_of(slot)).request)
    clock.turn(hours=72)
    assert refusal_of(_login, member, credential).code is ErrorCode.NOT_GRANTED
    place = UUID(hex=member.vault)
    refused = refusal_of(open_vault, token, place, auth=Auth.READER, now=clock())
    assert refused.code in (ErrorCode.NOT_GRANTED, ErrorCode.UNAUTHENTICATED)


def test_a_credential_counts_only_once_its_slot_is_listed_as_a_kit(
    deployment: Deployment, member: Member
) -> None:
    slot, credential = member.add_slot(kind="passphrase"), secrets.token_bytes(32)
    request = m.RegisterKit(slot=slot, credential_hash=hashlib.sha256(credential).digest())
    register_kit(deployment, member.access(), request)
    assert refusal_of(_login, member, credential).code is ErrorCode.NOT_GRANTED
    absent = m.RegisterKit(slot=secrets.token_hex(16), credential_hash=secrets.token_bytes(32))
    assert refusal_of(register_kit, deployment, member.access(), absent).code is ErrorCode.NOT_FOUND


# --- sessions, runs, events


def test_sessions_end_hard_or_in_silence_or_by_closing(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    opened = member.open_session()
    session = UUID(hex=opened.session)
    for _ in range(7):
        clock.turn(hours=23, minutes=59)
        heartbeat(deployment, member.access(), session)
    clock.turn(minutes=7)
    assert refusal_of(heartbeat, deployment, member.access(), session).code is ErrorCode.SESSION_EXPIRED
    silent = UUID(hex=member.open_session().session)
    clock.turn(days=1)
    assert refusal_of(heartbeat, deployment, member.access(), silent).code is ErrorCode.SESSION_EXPIRED
    closed = UUID(hex=member.open_session().session)
    close_session(deployment, member.access(), closed)
    close_session(deployment, member.access(), closed)
    assert refusal_of(heartbeat, deployment, member.access(), closed).code is ErrorCode.SESSION_EXPIRED


def test_a_session_is_its_device_s_own(deployment: Deployment, member: Member) -> None:
    session = UUID(hex=member.open_session().session)
    other = member.beside()
    assert refusal_of(heartbeat, deployment, other.access(), session).code is ErrorCode.SESSION_EXPIRED
    close_session(deployment, other.access(), session)
    assert Session.objects.get(ref=session).closed_at is None


def _report(member: Member, **fields: object) -> m.RunReport:
    values = {
        "session": member.session or None, "set_id": member.set_id, "outcome": "done", "bytes_bound": 1 << 20,
        "coverage": m.Coverage(read=3), "seconds": 1.5, "client_version": "test", **fields,
    }  # fmt: skip
    return m.RunReport(**values)  # type: ignore[arg-type]


def test_a_run_is_reported_once(deployment: Deployment, member: Member) -> None:
    member.open_session()
    assert report_run(deployment, member.access(), _report(member)).created is True
    assert report_run(deployment, member.access(), _report(member)).created is False
    assert report_run(deployment, member.access(), _report(member, session=None)).created is True


@pytest.mark.parametrize("bound", [0, 1, (1 << 20) - 1, (1 << 20) + 1, 3 << 20])
def test_exact_sizes_of_runs_are_refused(deployment: Deployment, member: Member, bound: int) -> None:
    refusal = refusal_of(report_run, deployment, member.access(), _report(member, bytes_bound=bound))
    assert refusal.code is ErrorCode.MALFORMED


def test_events_are_numbered_without_gaps(member: Member) -> None:
    for _ in range(3):
        member.add_slot()
    seen, after = [], 0
    while True:
        page = list_events(member.access(), after=after, limit=2)
        seen += [event.number for event in page.events]
        if page.next is None:
            break
        after = page.next
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) == 2 + 6


def test_slots_of_other_vaults_are_not_shown(deployment: Deployment, member: Member) -> None:
    member.add_slot()
    stranger = Member.first(deployment)
    assert stranger.keys().slots == []
    assert Slot.objects.filter(vault__ref=stranger.vault).count() == 0
