"""Codes, devices, vaults."""

from __future__ import annotations

import secrets
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from datetime import datetime
from uuid import UUID, uuid4

import pytest
from django.db import connections

from muniment.server.accounts.enrolment import (
    AccountExists,
    NoSuchAccount,
    create_account,
    find_account,
    make_code,
)
from muniment.server.accounts.models import Account, Device, EnrolmentCode
from muniment.server.deployment import Deployment
from muniment.server.transactions import writing
from muniment.server.vaults import enrolment
from muniment.server.vaults.access import authenticate_device, lock_vault, open_vault, token_hash
from muniment.server.vaults.allowances import set_allowance
from muniment.server.vaults.enrolment import create_vault, enrol_device
from muniment.server.vaults.events import record_event
from muniment.server.vaults.kinds import EventKind
from muniment.server.vaults.models import Event, Vault
from muniment.wire import messages as m
from muniment.wire.errors import ErrorCode
from muniment.wire.routes import Auth
from tests.support.domain import Clock, Member, refusal_of


def _account(deployment: Deployment) -> Account:
    with writing():
        return create_account(f"{secrets.token_hex(6)}@example.org", now=deployment.now())


def _code(
    deployment: Deployment, account: Account, *, makes_vault: bool = True, vault: UUID | None = None
) -> bytes:
    with writing():
        return make_code(account, makes_vault=makes_vault, vault_ref=vault, now=deployment.now(), life=3600)


def _request(secret: bytes, key: bytes | None = None) -> m.EnrolRequest:
    return m.EnrolRequest(secret=secret, device_name="laptop", public_key=key or secrets.token_bytes(32))


def test_a_code_makes_one_device(deployment: Deployment) -> None:
    secret = _code(deployment, _account(deployment))
    enrolled = enrol_device(deployment, _request(secret))
    assert enrolled.vaults == []
    assert authenticate_device(enrolled.token).ref.hex == enrolled.device
    assert refusal_of(enrol_device, deployment, _request(secret)).code is ErrorCode.CODE_SPENT


def test_a_repeat_before_first_use_gets_the_same_device_and_a_fresh_token(
    deployment: Deployment, clock: Clock
) -> None:
    secret, key = _code(deployment, _account(deployment)), secrets.token_bytes(32)
    first = enrol_device(deployment, _request(secret, key))
    clock.turn(minutes=14)
    again = enrol_device(deployment, _request(secret, key))
    assert again.device == first.device
    assert again.token != first.token
    assert refusal_of(authenticate_device, first.token).code is ErrorCode.UNAUTHENTICATED


def test_no_repeat_with_another_key_or_later_or_after_use(deployment: Deployment, clock: Clock) -> None:
    secret, key = _code(deployment, _account(deployment)), secrets.token_bytes(32)
    enrolled = enrol_device(deployment, _request(secret, key))
    assert refusal_of(enrol_device, deployment, _request(secret)).code is ErrorCode.CODE_SPENT
    clock.turn(minutes=16)
    assert refusal_of(enrol_device, deployment, _request(secret, key)).code is ErrorCode.CODE_SPENT
    assert authenticate_device(enrolled.token).ref.hex == enrolled.device
    used, key = _code(deployment, _account(deployment)), secrets.token_bytes(32)
    token = enrol_device(deployment, _request(used, key)).token
    create_vault(deployment, authenticate_device(token), m.CreateVault(vault=secrets.token_hex(16)))
    assert refusal_of(enrol_device, deployment, _request(used, key)).code is ErrorCode.CODE_SPENT


def test_a_guessed_code_does_not_wait_for_the_writer(deployment: Deployment) -> None:
    guess = _request(secrets.token_bytes(16))
    with ThreadPoolExecutor(1) as stranger:
        with writing():
            asked = stranger.submit(refusal_of, enrol_device, deployment, guess)
            done, _ = wait([asked], timeout=10)
        stranger.submit(connections.close_all).result()
    assert done == {asked}
    assert asked.result().code is ErrorCode.CODE_SPENT


def test_unknown_and_lapsed_codes_are_refused_alike(deployment: Deployment, clock: Clock) -> None:
    unknown = refusal_of(enrol_device, deployment, _request(secrets.token_bytes(16)))
    secret = _code(deployment, _account(deployment))
    clock.turn(hours=1)
    lapsed = refusal_of(enrol_device, deployment, _request(secret))
    assert (
        (unknown.code, unknown.message)
        == (lapsed.code, lapsed.message)
        == (ErrorCode.CODE_SPENT, lapsed.message)
    )


def test_no_secret_is_stored(deployment: Deployment) -> None:
    secret = _code(deployment, _account(deployment))
    token = enrol_device(deployment, _request(secret)).token
    device = Device.objects.get(token_sha256=token_hash(token))
    for row in (device, EnrolmentCode.objects.get(device=device)):
        for field in row._meta.concrete_fields:
            value = getattr(row, field.attname)
            assert value != secret
            assert value != token


def test_one_vault_per_account_unless_the_code_says_so(deployment: Deployment) -> None:
    member = Member.first(deployment)
    sibling = member.beside()
    device = authenticate_device(sibling.token)
    request = m.CreateVault(vault=secrets.token_hex(16))
    assert refusal_of(create_vault, deployment, device, request).code is ErrorCode.VAULT_EXISTS
    further = enrol_device(deployment, _request(_code(deployment, member.account, makes_vault=True)))
    assert further.vaults == []
    device = authenticate_device(further.token)
    made = create_vault(deployment, device, request)
    assert made.vault == request.vault
    assert create_vault(deployment, device, request).vault == request.vault, "a repeat"
    third = m.CreateVault(vault=secrets.token_hex(16))
    assert refusal_of(create_vault, deployment, device, third).code is ErrorCode.VAULT_EXISTS, "once"


def test_a_vault_id_is_taken_once(deployment: Deployment, member: Member) -> None:
    stranger = enrol_device(deployment, _request(_code(deployment, _account(deployment))))
    device = authenticate_device(stranger.token)
    taken = refusal_of(create_vault, deployment, device, m.CreateVault(vault=member.vault))
    assert taken.code is ErrorCode.VAULT_EXISTS


def test_a_further_device_joins_all_or_the_named_vault(deployment: Deployment, member: Member) -> None:
    further = enrol_device(deployment, _request(_code(deployment, member.account, makes_vault=True)))
    second = secrets.token_hex(16)
    create_vault(deployment, authenticate_device(further.token), m.CreateVault(vault=second))
    both = enrol_device(deployment, _request(_code(deployment, member.account, makes_vault=False)))
    assert [info.vault for info in both.vaults] == [member.vault, second]
    one = enrol_device(
        deployment, _request(_code(deployment, member.account, makes_vault=False, vault=UUID(hex=second)))
    )
    assert [info.vault for info in one.vaults] == [second]


def test_access_is_by_grant_and_strangers_learn_nothing(deployment: Deployment, member: Member) -> None:
    stranger = Member.first(deployment)
    now = deployment.now()
    foreign = refusal_of(open_vault, stranger.token, UUID(hex=member.vault), auth=Auth.READER, now=now)
    unknown = refusal_of(open_vault, stranger.token, UUID(int=7), auth=Auth.READER, now=now)
    assert (foreign.code, foreign.message) == (unknown.code, unknown.message)
    assert foreign.code is ErrorCode.NOT_GRANTED
    for token in (None, "", "mdt_wrong", "mkt_wrong", "é"):
        refused = refusal_of(open_vault, token, UUID(hex=member.vault), auth=Auth.READER, now=now)
        assert refused.code is ErrorCode.UNAUTHENTICATED


def test_a_closed_account_opens_nothing(deployment: Deployment, member: Member) -> None:
    Account.objects.filter(pk=member.account.pk).update(is_active=False)
    assert refusal_of(member.access).code is ErrorCode.NOT_GRANTED
    assert refusal_of(authenticate_device, member.token).code is ErrorCode.NOT_GRANTED


def test_enrolling_beside_an_event_of_another_vault_waits_for_it_and_ends(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event takes the ledger's last row: whoever holds that must want no vault any more."""
    account = _account(deployment)
    first, second = (
        Vault.objects.create(
            ref=uuid4(), owner=account, name=name, created_at=deployment.now(), allowance=10**9
        )
        for name in ("first", "second")
    )
    secret = _code(deployment, account, makes_vault=False)
    real, one_granted, second_locked = enrolment._grant, threading.Event(), threading.Event()

    def granting(deployment: Deployment, vault: Vault, device: Device, *, now: datetime) -> None:
        if vault == second:
            second_locked.wait(1)
        real(deployment, vault, device, now=now)
        if vault == first:
            one_granted.set()

    def tell_of_the_second() -> None:
        try:
            one_granted.wait(5)
            with writing():
                lock_vault(second)
                second_locked.set()
                record_event(second, EventKind.KIT_USED, now=deployment.now(), slot="a slot")
        finally:
            connections.close_all()

    def enrol() -> m.Enrolled:
        try:
            return enrol_device(deployment, _request(secret))
        finally:
            connections.close_all()

    monkeypatch.setattr(enrolment, "_grant", granting)
    with ThreadPoolExecutor(2) as pool:
        # In both is open what is open here.
        enrolled = pool.submit(copy_context().run, enrol)
        told = pool.submit(copy_context().run, tell_of_the_second)
        assert len(enrolled.result(timeout=30).vaults) == 2
        told.result(timeout=30)


def test_an_address_has_one_account_whatever_its_case(deployment: Deployment) -> None:
    name = secrets.token_hex(6)
    with writing():
        made = create_account(f"{name}@Example.ORG", now=deployment.now())
    assert find_account(f"{name.upper()}@example.org") == made
    assert Account.objects.with_address(f"{name}@example.ORG").get() == made
    assert not Account.objects.with_address("").exists()
    with pytest.raises(AccountExists), writing():
        create_account(f"{name}@EXAMPLE.org", now=deployment.now())
    with pytest.raises(NoSuchAccount):
        find_account("nobody@example.org")


def test_allowances_are_the_account_s(deployment: Deployment) -> None:
    account = _account(deployment)
    set_allowance(deployment, account, 12345)
    enrolled = enrol_device(deployment, _request(_code(deployment, account)))
    made = create_vault(
        deployment, authenticate_device(enrolled.token), m.CreateVault(vault=secrets.token_hex(16))
    )
    assert made.allowance == 12345
    set_allowance(deployment, account, 99)
    vault = Vault.objects.get(ref=made.vault)
    assert vault.allowance == 99
    assert Event.objects.filter(vault=vault).last().detail == {"allowance": "99"}
