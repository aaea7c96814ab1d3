"""Orders of authorities: they take two people, give what they name, and are told of."""

from __future__ import annotations

import io
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, connections, transaction

from muniment.server.accounts.enrolment import create_account
from muniment.server.accounts.models import Account
from muniment.server.deployment import Deployment
from muniment.server.mail.models import Mail
from muniment.server.privacy.disclosures import orders
from muniment.server.privacy.disclosures.models import Cause, OrderCase
from muniment.server.privacy.disclosures.models import State as CaseState
from muniment.server.privacy.disclosures.orders import (
    Forgotten,
    NoSuchOrder,
    NotApproved,
    Order,
    OutOfScope,
    approve,
    closed_orders,
    deliver,
    end_gags,
    export,
    fetch,
    fields_within_reach,
    open_orders,
    refuse,
    take_in,
    titles_within_reach,
    undelivered_orders,
)
from muniment.server.privacy.disclosures.transparency import read_transparency
from muniment.server.privacy.export import export_archive, read_archive
from muniment.server.privacy.external import EXTERNAL
from muniment.server.privacy.ledger.entries import entries_of
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.purposes import Purpose, purpose
from muniment.server.privacy.registry import OUTGOING, Personal, data_map
from muniment.server.privacy.requests.asking import ask
from muniment.server.privacy.requests.machine import advance_requests
from muniment.server.privacy.requests.models import Erasure
from muniment.server.privacy.requests.models import Kind as Asked
from muniment.server.privacy.retention.sweep import sweep_once
from muniment.server.privacy.statement import read_statement
from muniment.server.privacy.succession.handing_over import fields_to_hand_over
from muniment.server.transactions import writing
from tests.support.domain import Clock, Member
from tests.support.ledger import entries_of_kind
from tests.support.pages import Person, text

EMAIL, DEVICE, PASSWORD = "accounts.Account.email", "accounts.Device.name", "accounts.Account.password"
FIELDS = frozenset({EMAIL, DEVICE})


def order(member: Member, clock: Clock, **changes: Any) -> Order:
    made = Order(
        cause=Cause.ORDER, issuer="a district court", country="IE", legal_basis="Criminal Justice Act, s. 15",
        email=member.account.email, scope=FIELDS, deadline=clock() + timedelta(days=10),
    )  # fmt: skip
    return replace(made, **changes)


def opened(member: Member, clock: Clock, **changes: Any) -> UUID:
    by = staff(clock)
    with writing():
        return take_in(order(member, clock, **changes), by=by, now=clock())


def staff(clock: Clock) -> Account:
    with writing():
        return create_account(f"{uuid4().hex}@example.org", now=clock())


def approved(member: Member, clock: Clock, **changes: Any) -> UUID:
    ref = opened(member, clock, **changes)
    for one in (staff(clock), staff(clock)):
        with writing():
            approve(ref, one, now=clock())
    return ref


def given(deployment: Deployment, ref: UUID) -> Any:
    """Exported, and fetched."""
    export(deployment, ref, by=None)
    return json.loads(fetch(ref, now=deployment.now()))


@pytest.mark.clause("P33", aspect="off")
def test_one_person_cannot_approve_alone(deployment: Deployment, member: Member, clock: Clock) -> None:
    ref, one = opened(member, clock), staff(clock)
    for _ in range(3):
        with writing():
            assert approve(ref, one, now=clock()) == 1
    with pytest.raises(NotApproved):
        export(deployment, ref, by=None)
    with pytest.raises(IntegrityError), transaction.atomic():
        OrderCase.objects.filter(ref=ref).update(second_approver=one)


@pytest.mark.clause("P33", aspect="allowed")
@pytest.mark.clause("P34", aspect="allowed")
def test_two_approve_and_the_scope_is_what_goes(deployment: Deployment, member: Member, clock: Clock) -> None:
    before = read_transparency()
    ref = approved(member, clock)
    document = given(deployment, ref)
    assert set(document["fields"]) == FIELDS
    assert document["fields"][EMAIL] == [member.account.email]
    assert "sealed" in document["cannot_be_given"]
    after = read_transparency()
    assert (after.received - before.received, after.exported - before.exported) == (1, 1)
    mail = Mail.objects.filter(to=member.account.email).latest("id")
    assert mail.subject == "We had to hand over data about you"
    kinds = {entry.leaf.kind for entry in entries_of(member.account)}
    assert {Kind.ORDER_TOLD, Kind.DISCLOSED} <= kinds
    with pytest.raises(NoSuchOrder):
        export(deployment, ref, by=None)


def test_of_two_of_staff_at_once_one_exports_and_the_document_is_there_for_both(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    ref, before = approved(member, clock), read_transparency().exported
    both_are_here, seen = threading.Barrier(2), threading.local()

    def now() -> datetime:
        if not hasattr(seen, "once"):
            seen.once = True
            both_are_here.wait(30)
        return clock()

    def export_it() -> str:
        try:
            with purpose(*Purpose):
                export(replace(deployment, now=now), ref, by=None)
                return "exported"
        except NoSuchOrder:
            return "no such order"
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        said = [one.result() for one in [pool.submit(export_it) for _ in range(2)]]
    assert sorted(said) == ["exported", "no such order"]
    assert read_transparency().exported == before + 1
    assert Mail.objects.filter(to=member.account.email, subject__startswith="We had to").count() == 1
    kinds = [entry.leaf.kind for entry in entries_of(member.account)]
    assert [kinds.count(kind) for kind in (Kind.DISCLOSED, Kind.DISCLOSURE_STOPPED)] == [1, 0]
    assert fetch(ref, now=clock()) == fetch(ref, now=clock())


@pytest.mark.parametrize("step", ["_record", "_tell"])
def test_an_export_that_is_stopped_did_not_happen(
    deployment: Deployment, member: Member, clock: Clock, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The document, the case, the ledger and the person's mail are one transaction."""
    ref, before = approved(member, clock), len(entries_of(member.account))

    def dies(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(orders, step, dies)
        export(deployment, ref, by=None)
    case = OrderCase.objects.get(ref=ref)
    assert (case.state, case.document, case.told_at) == (CaseState.OPEN, "", None)
    assert len(entries_of(member.account)) == before
    assert given(deployment, ref)["fields"][EMAIL] == [member.account.email]


def test_a_document_is_there_until_it_arrived(deployment: Deployment, member: Member, clock: Clock) -> None:
    ref = approved(member, clock)
    with pytest.raises(NoSuchOrder):
        fetch(ref, now=clock())
    export(deployment, ref, by=None)
    assert fetch(ref, now=clock()) == fetch(ref, now=clock())
    assert ref in {one.order.ref for one in undelivered_orders()}
    deliver(ref, by=None, now=clock())
    assert ref not in {one.order.ref for one in undelivered_orders()}
    assert OrderCase.objects.get(ref=ref).document == ""
    with pytest.raises(NoSuchOrder):
        fetch(ref, now=clock())
    with pytest.raises(NoSuchOrder):
        deliver(ref, by=None, now=clock())
    entries = entries_of_kind(Kind.ORDER_FETCHED, Kind.ORDER_DELIVERED)
    mine = [entry.leaf.kind for entry in entries if entry.said["case"] == ref.hex]
    assert mine == [Kind.ORDER_FETCHED, Kind.ORDER_FETCHED, Kind.ORDER_DELIVERED]


def test_a_document_that_nobody_takes_goes_after_thirty_days(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    ref = approved(member, clock)
    export(deployment, ref, by=None)
    clock.turn(days=29)
    sweep_once(deployment)
    assert fetch(ref, now=clock())
    clock.turn(days=1)
    swept = sweep_once(deployment)
    assert swept["privacy_disclosures.OrderCase.document"] >= 1
    with pytest.raises(Forgotten):
        fetch(ref, now=clock())
    deliver(ref, by=None, now=clock())
    assert entries_of_kind(Kind.ORDER_DELIVERED)[-1].said["document"] == "forgotten"


def test_a_document_goes_with_the_person(deployment: Deployment, member: Member, clock: Clock) -> None:
    ref = approved(member, clock)
    export(deployment, ref, by=None)
    ask(deployment, member.account, Asked.ERASE)
    clock.turn(days=3)
    advance_requests(deployment)
    assert not Account.objects.filter(pk=member.account.pk).exists()
    assert OrderCase.objects.get(ref=ref).document == ""
    with pytest.raises(Forgotten):
        fetch(ref, now=clock())


def test_a_scope_is_chosen_by_titles_that_tell_columns_apart() -> None:
    by_table = titles_within_reach()
    assert by_table["Accounts"][EMAIL] == "E-mail address"
    assert sorted(name for columns in by_table.values() for name in columns) == sorted(fields_within_reach())
    for table, columns in by_table.items():
        assert len(set(columns.values())) == len(columns), table


def test_what_was_chosen_stays_open_where_the_form_comes_back(deployment: Deployment) -> None:
    one = Person(deployment).join().become_staff()
    page = text(one.browser.post("/console/orders", {"scope": [EMAIL, "accounts.Account.country", DEVICE]}))
    opened_tables = re.findall(r'<details class="field-checks" open><summary>(.*?)</summary>', page)
    assert opened_tables == ["Accounts", "Devices"]
    assert page.count(" checked>") == 3


def test_what_was_written_down_for_one_authority_is_in_no_order(member: Member) -> None:
    copies = {
        column.registered
        for column in data_map(EXTERNAL)
        if isinstance(column.declaration, Personal) and column.declaration.keep == OUTGOING
    }
    assert "privacy_disclosures.OrderCase.document" in copies
    assert copies.isdisjoint(fields_within_reach())
    assert copies.isdisjoint(fields_to_hand_over(read_statement()))


@pytest.mark.clause("P33", aspect="beyond")
@pytest.mark.clause("P34", aspect="beyond")
def test_nothing_beyond_the_scope_and_never_a_secret(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    ref = approved(member, clock, scope=frozenset({EMAIL}))
    with pytest.raises(OutOfScope):
        export(deployment, ref, by=None, fields=FIELDS)
    assert PASSWORD not in fields_within_reach()
    for unreachable in (PASSWORD, "accounts.Device.token_sha256", "no.such.column"):
        with pytest.raises(OutOfScope), writing():
            take_in(order(member, clock, scope=frozenset({unreachable})), by=None, now=clock())


@pytest.mark.clause("P34", aspect="off")
def test_an_order_that_lacks_something_is_not_taken_in(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    for changes in ({"issuer": " "}, {"legal_basis": ""}, {"scope": frozenset()}, {"deadline": clock()}):
        with pytest.raises(ValueError, match="an order has"), writing():
            take_in(order(member, clock, **changes), by=None, now=clock())
    with pytest.raises(NoSuchOrder), writing():
        take_in(order(member, clock, email="nobody@example.org"), by=None, now=clock())


@pytest.mark.clause("P35", aspect="off")
@pytest.mark.clause("P36", aspect="off")
@pytest.mark.parametrize("cause", [Cause.PROTECT, Cause.FRAUD])
def test_own_judgement_needs_a_written_reason(
    deployment: Deployment, member: Member, clock: Clock, cause: Cause
) -> None:
    with pytest.raises(ValueError, match="written reason"), writing():
        take_in(order(member, clock, cause=cause), by=None, now=clock())
    ref = opened(member, clock, cause=cause, reason="threats against a named person")
    with pytest.raises(IntegrityError), transaction.atomic():
        OrderCase.objects.filter(ref=ref).update(reason="")


@pytest.mark.clause("P35", aspect="allowed")
@pytest.mark.clause("P36", aspect="allowed")
@pytest.mark.parametrize("cause", [Cause.PROTECT, Cause.FRAUD])
def test_own_judgement_goes_through_the_same_case(
    deployment: Deployment, member: Member, clock: Clock, cause: Cause
) -> None:
    ref = approved(
        member, clock, cause=cause, reason="threats against a named person", scope=frozenset({EMAIL})
    )
    assert set(given(deployment, ref)["fields"]) == {EMAIL}


@pytest.mark.clause("P35", aspect="beyond")
@pytest.mark.clause("P36", aspect="beyond")
@pytest.mark.parametrize("cause", [Cause.PROTECT, Cause.FRAUD])
def test_an_approval_lasts_ninety_days(
    deployment: Deployment, member: Member, clock: Clock, cause: Cause
) -> None:
    ref = approved(member, clock, cause=cause, reason="threats", deadline=clock() + timedelta(days=200))
    clock.turn(days=90)
    with pytest.raises(NotApproved):
        export(deployment, ref, by=None)


def test_what_lapsed_is_approved_anew_by_two(deployment: Deployment, member: Member, clock: Clock) -> None:
    ref = approved(member, clock, deadline=clock() + timedelta(days=200))
    clock.turn(days=90)
    first, second = (Person(deployment).join().become_staff() for _ in range(2))
    assert "lapsed: not exported within ninety days" in text(first.get("/console/orders"))
    first.post(f"/console/orders/{ref}/export")
    assert "two people have to approve it anew" in text(first.get("/console/orders"))
    for _ in range(2):
        first.post(f"/console/orders/{ref}/approve")
    assert "You approved it. Somebody else has to, too." in text(first.get("/console/orders"))
    assert not OrderCase.objects.get(ref=ref).has_lapsed(clock())
    with pytest.raises(NotApproved):
        export(deployment, ref, by=None)
    second.post(f"/console/orders/{ref}/approve")
    assert set(given(deployment, ref)["fields"]) == FIELDS


def test_a_person_who_objects_is_still_within_a_court_s_reach_and_not_within_ours(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    ask(deployment, member.account, Asked.RESTRICT)
    assert given(deployment, approved(member, clock))["fields"][EMAIL] == [member.account.email]


@pytest.mark.clause("A2")
@pytest.mark.clause("P33", aspect="beyond")
def test_a_copy_of_everything_has_an_order_only_once_the_person_was_told(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    ref = approved(member, clock, gagged_until=clock() + timedelta(days=30))

    def copied() -> int:
        copy = b"".join(export_archive(member.account.pk, read_statement(), now=clock()))
        return len(read_archive(io.BytesIO(copy))[OrderCase._meta.label])

    assert copied() == 0
    export(deployment, ref, by=None)
    assert copied() == 0
    clock.turn(days=31)
    end_gags(deployment)
    assert copied() == 1


def test_a_gag_delays_the_telling_and_nothing_else(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    ref = approved(member, clock, gagged_until=clock() + timedelta(days=30))
    before = len(entries_of(member.account))
    export(deployment, ref, by=None)
    assert len(entries_of(member.account)) == before
    clock.turn(days=29)
    end_gags(deployment)
    assert OrderCase.objects.get(ref=ref).told_at is None
    clock.turn(days=1)
    assert end_gags(deployment) >= 1
    assert entries_of(member.account)[0].said["fields"] == sorted(FIELDS)
    assert Mail.objects.filter(to=member.account.email, message="DataDisclosed").count() == 1
    assert end_gags(deployment) == 0


def test_the_receipt_of_an_erasure_tells_of_no_order_in_a_gag(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    gagged = approved(member, clock, gagged_until=clock() + timedelta(days=400))
    told = approved(member, clock)
    for ref in (gagged, told):
        export(deployment, ref, by=None)
    asked = ask(deployment, member.account, Asked.ERASE)
    clock.turn(days=3)
    advance_requests(deployment)
    assert {row.reason for row in OrderCase.objects.filter(ref__in=(gagged, told))} == {
        "forgotten with the person"
    }
    assert Erasure.objects.get(request__ref=asked).deleted["privacy_disclosures.OrderCase (emptied)"] == 1


def test_refusing_takes_a_reason(deployment: Deployment, member: Member, clock: Clock) -> None:
    ref = opened(member, clock)
    assert ref in {one.order.ref for one in open_orders()}
    with pytest.raises(ValueError, match="reason"), writing():
        refuse(ref, reason=" ", by=None, now=clock())
    with writing():
        refuse(ref, reason="The court has no jurisdiction.", by=None, now=clock())
    with pytest.raises(NoSuchOrder):
        export(deployment, ref, by=None)


@pytest.mark.parametrize("leaves", [(0,), (1,), (0, 1)])
def test_whoever_approved_can_leave_the_staff_and_the_order_stays_approved(
    deployment: Deployment, member: Member, clock: Clock, leaves: tuple[int, ...]
) -> None:
    ref, approvers = opened(member, clock), [staff(clock), staff(clock)]
    for one in approvers:
        with writing():
            approve(ref, one, now=clock())
    for number in leaves:
        ask(deployment, approvers[number], Asked.ERASE)
    clock.turn(days=3)
    advance_requests(deployment)
    gone = {approvers[number].pk for number in leaves}
    assert not Account.objects.filter(pk__in=gone).exists()
    for one in approvers:
        if one.pk not in gone:
            with writing():
                assert approve(ref, one, now=clock()) == 2, "the same person twice counts once"
    assert set(given(deployment, ref)["fields"]) == FIELDS


def test_staff_see_who_did_what_about_an_order_and_the_person_does_not(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    hands = [staff(clock) for _ in range(4)]
    with writing():
        ref = take_in(order(member, clock), by=hands[0], now=clock())
    for one in hands[1:3]:
        with writing():
            approve(ref, one, now=clock())
    export(deployment, ref, by=hands[3])
    wanted = list(
        zip(("Taken in", "Approved", "Approved", "Exported"), [one.email for one in hands], strict=True)
    )
    (seen,) = [one for one in undelivered_orders() if one.order.ref == ref]
    assert list(seen.did) == wanted
    deliver(ref, by=hands[0], now=clock())
    (seen,) = [one for one in closed_orders(now=clock()) if one.order.ref == ref]
    assert list(seen.did) == [*wanted, ("Delivered", hands[0].email)]
    told = entries_of(member.account)[0]
    assert told.said["decided_by"] == "two people, each a member of staff"
    copy = b"".join(export_archive(member.account.pk, read_statement(), now=clock()))
    (case,) = read_archive(io.BytesIO(copy))[OrderCase._meta.label]
    assert {case[name] for name in ("taken_in_by", "first_approver", "closed_by")} == {"a member of staff"}
    assert not any(one.email in told.payload for one in hands)
