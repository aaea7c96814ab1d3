"""A buyer gets what is held about people only after they could take it along, delete it or object."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from muniment.server.accounts.models import Account
from muniment.server.deployment import Deployment
from muniment.server.mail.models import Mail
from muniment.server.privacy.gate.decide import Decision, Reason
from muniment.server.privacy.ledger.entries import entries_of
from muniment.server.privacy.ledger.kinds import Kind as Record
from muniment.server.privacy.requests.asking import ask
from muniment.server.privacy.requests.machine import advance_requests, open_request, verify_request
from muniment.server.privacy.requests.models import Channel, Kind
from muniment.server.privacy.statement import read_statement
from muniment.server.privacy.succession.handing_over import (
    NoSuchSuccession,
    TooEarly,
    declare,
    fields_to_hand_over,
    hand_over,
    hand_over_everybody,
    tell_everybody,
)
from muniment.server.privacy.succession.models import Succession, SuccessionNotice
from muniment.server.privacy.succession.overview import read_successions
from muniment.server.transactions import writing
from tests.support.domain import Clock, Member


class Buyer:
    """Takes what is sent."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    def send(self, values: Any) -> None:
        self.got.append(values)


@pytest.fixture(autouse=True)
def nobody_else() -> None:
    """The tests share a database, and everybody in it would be told."""
    SuccessionNotice.objects.all().delete()
    Succession.objects.all().delete()


def declared(deployment: Deployment, **changes: Any) -> UUID:
    with writing():
        return declare(
            "a company that buys us", now=deployment.now(),
            **{"country": "IE", "transfer_basis": "standard contractual clauses", **changes},
        )  # fmt: skip


def give(deployment: Deployment, ref: UUID, member: Member) -> tuple[Decision, Buyer]:
    buyer = Buyer()
    return hand_over(deployment, ref, member.account, buyer), buyer


@pytest.mark.clause("P40", aspect="off")
def test_nothing_is_handed_over_unless_it_was_declared_and_told(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    with pytest.raises(NoSuchSuccession):
        give(deployment, UUID(int=7), member)
    ref = declared(deployment)
    clock.turn(days=90)
    with pytest.raises(TooEarly, match="not told"):
        give(deployment, ref, member)


@pytest.mark.clause("P40", aspect="allowed")
def test_after_thirty_days_what_is_held_goes_over(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    ref = declared(deployment)
    assert tell_everybody(now=clock()) == Account.objects.count()
    assert tell_everybody(now=clock()) == 0
    mail = Mail.objects.filter(to=member.account.email).latest("id")
    assert "a company that buys us" in mail.text
    assert "22 December 2026" in mail.text
    clock.turn(days=30)
    decision, buyer = give(deployment, ref, member)
    assert decision.allow
    assert buyer.got[0]["accounts.Account.email"] == [member.account.email]
    kinds = [entry.leaf.kind for entry in entries_of(member.account)]
    assert {Record.SUCCESSION_ANNOUNCED, Record.SUCCESSION_DONE, Record.DISCLOSED} <= set(kinds)
    assert SuccessionNotice.objects.get(account=member.account).handed_over_at == clock()


def test_who_was_told_stays_told_when_a_later_mail_fails(
    deployment: Deployment, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(21):
        Member.first(deployment)
    declared(deployment)
    told: list[str] = []

    def dies(*words: Any, email: str, **named: Any) -> None:
        if len(told) == 20:
            raise OSError("the disk is full")
        told.append(email)

    monkeypatch.setattr("muniment.server.privacy.succession.handing_over.notify", dies)
    with pytest.raises(OSError, match="full"):
        tell_everybody(now=clock())
    assert SuccessionNotice.objects.count() == 20


@pytest.mark.clause("P40", aspect="beyond")
def test_not_a_second_too_early(deployment: Deployment, member: Member, clock: Clock) -> None:
    ref = declared(deployment)
    clock.turn(days=5)
    tell_everybody(now=clock())
    clock.turn(days=30, seconds=-1)
    with pytest.raises(TooEarly, match="not before"):
        give(deployment, ref, member)
    clock.turn(seconds=1)
    assert give(deployment, ref, member)[0].allow


@pytest.mark.clause("P40", aspect="beyond")
@pytest.mark.parametrize("kind", [Kind.OBJECT, Kind.RESTRICT])
def test_who_objects_stays_out(deployment: Deployment, member: Member, clock: Clock, kind: Kind) -> None:
    ref = declared(deployment)
    tell_everybody(now=clock())
    with writing():
        asked = open_request(
            kind, channel=Channel.PAGE, email=member.account.email, now=clock(), subject=member.account,
            details={"purpose": "succession"},
        )  # fmt: skip
        verify_request(asked, now=clock())
    advance_requests(deployment)
    clock.turn(days=31)
    decision, buyer = give(deployment, ref, member)
    assert decision.reason in (Reason.OBJECTED, Reason.RESTRICTED)
    assert buyer.got == []
    assert SuccessionNotice.objects.get(account=member.account).handed_over_at is None


@pytest.mark.clause("P40", aspect="beyond")
def test_nobody_gets_what_proves_who_somebody_is(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    fields = fields_to_hand_over(read_statement())
    assert "accounts.Account.email" in fields
    for secret in ("accounts.Account.password", "accounts.Device.token_sha256", "accounts.Device.public_key"):
        assert secret not in fields
    with pytest.raises(ValueError, match="a name and a country"), writing():
        declare(" ", country="IE", transfer_basis="", now=clock())


def test_the_file_has_a_line_for_each_person_and_none_twice(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    ref = declared(deployment)
    tell_everybody(now=clock())
    early = io.StringIO()
    assert hand_over_everybody(deployment, ref, early) == (0, Account.objects.count())
    assert early.getvalue() == ""
    clock.turn(days=30)
    file = io.StringIO()
    given, kept = hand_over_everybody(deployment, ref, file)
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    assert len(lines) == given
    assert given + kept == Account.objects.count()
    assert [member.account.email] in [line["accounts.Account.email"] for line in lines]
    assert hand_over_everybody(deployment, ref, io.StringIO()) == (0, kept)


def test_somebody_new_is_told_and_has_thirty_days_too(deployment: Deployment, clock: Clock) -> None:
    ref = declared(deployment)
    tell_everybody(now=clock())
    clock.turn(days=29)
    late = Member.first(deployment)
    assert tell_everybody(now=clock()) == 1
    clock.turn(days=2)
    with pytest.raises(TooEarly):
        give(deployment, ref, late)
    assert SuccessionNotice.objects.get(account=late.account).told_at + timedelta(days=30) > clock()


def test_staff_see_numbers_of_people_and_who_may_go_now(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    ref = declared(deployment)
    everybody = tell_everybody(now=clock())
    (seen,) = read_successions(now=clock())
    assert (seen.told, seen.handed_over, seen.due) == (everybody, 0, 0)
    before = seen.objected
    ask(deployment, member.account, Kind.OBJECT, details={"purpose": "succession"})
    clock.turn(days=30)
    (seen,) = read_successions(now=clock())
    assert seen.objected == before + 1
    assert seen.due == everybody - seen.objected
    given, kept = hand_over_everybody(deployment, ref, io.StringIO())
    (seen,) = read_successions(now=clock())
    assert (seen.handed_over, seen.due) == (given, 0)
    assert kept == seen.objected
