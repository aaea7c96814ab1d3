"""What the website shows an owner, and who decides in whose name."""

from __future__ import annotations

import secrets
from datetime import timedelta
from uuid import UUID

import pytest

from muniment.server.accounts.models import Device
from muniment.server.deployment import Deployment
from muniment.server.vaults.confirmations import (
    NotPending,
    Operator,
    Owner,
    ReasonMissing,
    confirm,
    list_confirmations,
    pending_of,
    refuse,
)
from muniment.server.vaults.events import events_of
from muniment.server.vaults.kinds import EventKind
from muniment.wire.errors import ErrorCode
from tests.support.domain import Clock, Member, make_deployment, refusal_of


def _asked(member: Member, thief: Member) -> UUID:
    request = member.ask("revoke_device", thief.device).request
    assert request is not None
    return UUID(hex=request)


def test_an_owner_sees_what_waits_in_all_vaults_and_nobody_else_s(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    stranger = Member.first(deployment)
    _asked(stranger, stranger.beside())
    phone = member.beside()
    slot = member.add_slot()
    member.add_slot(kind="kit")
    revoking = _asked(member, phone)
    member.ask("remove_slot", slot, member.removal_of(slot))
    first, second = pending_of(deployment, member.account.pk)
    assert (first.request, first.action, first.subject.hex) == (revoking, "revoke_device", phone.device)
    assert (first.vault.hex, first.subject_name, first.asked_by) == (member.vault, "a machine", "a machine")
    assert (first.state, first.effective_at) == ("pending", None)
    assert first.lapses_at == clock() + timedelta(days=14)
    assert (second.action, second.subject.hex, second.subject_name) == ("remove_slot", slot, "passphrase")
    confirm(deployment, second.request, by=Owner(member.account.pk))
    _, confirmed = pending_of(deployment, member.account.pk)
    assert (confirmed.state, confirmed.decided_by) == ("confirmed", "owner")
    assert confirmed.effective_at == clock() + timedelta(hours=72)
    clock.turn(hours=72)
    assert [row.request for row in pending_of(deployment, member.account.pk)] == [revoking]
    clock.turn(days=14)
    assert pending_of(deployment, member.account.pk) == []


def test_an_owner_decides_about_their_own_vaults_only(deployment: Deployment, member: Member) -> None:
    stranger = Member.first(deployment)
    request = _asked(member, member.beside())
    for decide in (confirm, refuse):
        with pytest.raises(NotPending):
            decide(deployment, request, by=Owner(stranger.account.pk))
    assert refuse(deployment, request, by=Owner(member.account.pk)).state == "undone"
    with pytest.raises(NotPending):
        confirm(deployment, request, by=Owner(member.account.pk))


def test_an_operator_needs_a_reason_and_the_owner_reads_it(deployment: Deployment, member: Member) -> None:
    for reason in ("", "  \n"):
        with pytest.raises(ReasonMissing):
            Operator(reason)
    with pytest.raises(ValueError):
        Operator("x" * 501)
    slot = member.add_slot()
    member.add_slot()
    member.ask("remove_slot", slot, member.removal_of(slot))
    (waiting,) = pending_of(deployment, member.account.pk)
    confirm(deployment, waiting.request, by=Operator("asked by telephone, called back"))
    (waiting,) = pending_of(deployment, member.account.pk)
    assert (waiting.decided_by, waiting.reason) == ("operator", "asked by telephone, called back")
    refuse(deployment, waiting.request, by=Operator("it was not the owner who called"))
    told = [
        (event.kind, event.detail["by"], event.detail["reason"])
        for event in events_of(member.account.pk, since=None, limit=2)
    ]
    assert told == [
        (EventKind.CONFIRMATION_UNDONE, "operator", "it was not the owner who called"),
        (EventKind.CONFIRMATION_GIVEN, "operator", "asked by telephone, called back"),
    ]
    assert [row.state for row in list_confirmations(deployment, member.access()).requests] == ["undone"]


def test_events_of_an_account_are_newest_first_and_bounded(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    Member.first(deployment)
    Device.objects.filter(ref=member.device).update(name="the laptop")
    begun = clock()
    clock.turn(hours=1)
    member.commit(member.draft([member.put()]))
    events = events_of(member.account.pk, since=None, limit=100)
    assert [event.kind for event in events] == ["snapshot_committed", "device_enrolled", "vault_created"]
    assert [event.number for event in events] == [3, 2, 1]
    assert {event.vault.hex for event in events} == {member.vault}
    assert events[0].device == "the laptop"
    assert events_of(member.account.pk, since=begun + timedelta(minutes=1), limit=9) == events[:1]
    assert events_of(member.account.pk, since=None, limit=2) == events[:2]


def test_a_device_asks_only_so_much_at_once(deployment: Deployment, clock: Clock) -> None:
    patient = make_deployment(deployment.config.data, clock, open_requests=2)
    member = Member.first(patient)
    others = [member.beside() for _ in range(3)]
    asked = [_asked(member, other) for other in others[:2]]
    refused = refusal_of(member.ask, "revoke_device", others[2].device)
    assert (refused.code, refused.retry_after) == (ErrorCode.TOO_MANY, 3600)
    assert "Confirm or refuse what waits" in refused.advice
    assert _asked(member, others[0]) == asked[0], "a repeat is no further request"
    assert _asked(others[1], others[2]) not in asked, "another device still may"
    refuse(patient, asked[1], by=Owner(member.account.pk))
    assert secrets.compare_digest(_asked(member, others[2]).hex, _asked(others[1], others[2]).hex)
