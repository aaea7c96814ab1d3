"""Closing a vault leaves nothing of it but counts, however often it is stopped; and only where no hold is."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from django.apps import apps

from muniment.model.packs import PACK_FLOOR
from muniment.server.accounts.models import Device
from muniment.server.deployment import Deployment
from muniment.server.store.port import ObjectStore
from muniment.server.transactions import writing
from muniment.server.vaults import closing
from muniment.server.vaults.access import open_vault
from muniment.server.vaults.closing import (
    Deleted,
    NoSuchVault,
    VaultHeld,
    clear_closed_vaults,
    close_vault,
)
from muniment.server.vaults.commit import commit_snapshot
from muniment.server.vaults.enrolment import create_vault
from muniment.server.vaults.kits import open_kit_session, register_kit
from muniment.server.vaults.models import ClosedVault, Pack, PackState, Vault
from muniment.server.vaults.receive import Receipt
from muniment.server.vaults.runs import report_run
from muniment.wire import messages as m
from muniment.wire.errors import ErrorCode
from muniment.wire.routes import Auth
from tests.support.domain import Member, refusal_of


class Stopped(BaseException):
    """The process is killed here."""


class Stopper:
    """Stops at every step once, told apart by what is left of the vault: each run gets one step further."""

    def __init__(self, deployment: Deployment, member: Member) -> None:
        self._deployment, self._member = deployment, member
        self._vault = Vault.objects.get(ref=member.vault).pk
        self.stopped: set[tuple[str, str]] = set()

    def step(self, moment: str) -> None:
        left = f"{rows_of(self._vault)} {objects_of(self._deployment, self._member)}"
        if (moment, left) not in self.stopped:
            self.stopped.add((moment, left))
            raise Stopped


class StoppingObjects:
    """An object store that the process may be killed beside, before and after each deletion."""

    def __init__(self, inner: ObjectStore, stopper: Stopper) -> None:
        self._inner, self._stopper = inner, stopper

    def delete_all(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._stopper.step("before an object")
            self._inner.delete_all([key])
            self._stopper.step("after an object")

    def remove_all(self, folder: str) -> int:
        self._stopper.step("before the folder")
        removed = self._inner.remove_all(folder)
        self._stopper.step("after the folder")
        return removed


def no_hold(vault: UUID) -> None:
    return None


def fill(member: Member) -> Deleted:
    """Something of every kind; returns what closing the vault must count."""
    first = member.put()
    member.commit(member.draft([first]))
    second = member.put()
    member.commit(member.draft([second]))
    third = member.put()
    Pack.objects.filter(ref=third).update(state=PackState.QUARANTINED)
    slot, credential = member.add_slot(kind="kit"), secrets.token_bytes(32)
    register_kit(
        member.deployment,
        member.access(),
        m.RegisterKit(slot=slot, credential_hash=hashlib.sha256(credential).digest()),
    )
    open_kit_session(member.deployment, m.KitLogin(vault=member.vault, credential=credential))
    other = member.add_slot()
    member.add_slot()
    member.ask("remove_slot", other, member.removal_of(other))
    report = m.RunReport(
        session=member.session, set_id=member.set_id, outcome="done", coverage=m.Coverage(),
        bytes_bound=1 << 20, seconds=1.0, client_version="test",
    )  # fmt: skip
    report_run(member.deployment, member.access(), report)
    vault = Vault.objects.get(ref=member.vault)
    return Deleted(
        packs=3, bytes=vault.used, snapshots=2, slots=3, slot_lists=3, kits=1, sessions=1, runs=1,
        confirmations=1, events=vault.last_event, grants=1,
    )  # fmt: skip


def rows_of(vault_pk: int) -> dict[str, int]:
    """How many rows each table has of the vault, whichever way they lead to it."""
    found = {}
    for model in apps.get_app_config("vaults").get_models():
        path = {"KitCredential": "slot__vault_id", "KitToken": "kit__slot__vault_id", "Vault": "pk"}
        if model is not ClosedVault:
            name = path.get(model.__name__, "vault_id")
            found[model.__name__] = model._default_manager.filter(**{name: vault_pk}).count()
    return found


def objects_of(deployment: Deployment, member: Member) -> list[str]:
    return [item.key for item in deployment.objects.list(member.vault + "/")]


@pytest.mark.clause("P70")
def test_nothing_of_a_closed_vault_is_left_but_counts(deployment: Deployment, member: Member) -> None:
    other = Member.first(deployment)
    kept = other.put()
    expected, vault = fill(member), Vault.objects.get(ref=member.vault)
    assert all(rows_of(vault.pk)[name] for name in rows_of(vault.pk) if name != "IndexPack")
    assert close_vault(deployment, vault.ref, holds=no_hold) == expected
    assert set(rows_of(vault.pk).values()) == {0}
    assert objects_of(deployment, member) == []
    assert not (deployment.config.objects / member.vault).exists()
    assert Pack.objects.filter(ref=kept).exists()
    assert len(objects_of(deployment, other)) == 1
    assert close_vault(deployment, vault.ref, holds=no_hold) == expected, "a repeat answers the same"


def test_a_closing_that_is_stopped_at_every_step_goes_on_and_counts_once(
    deployment: Deployment, member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, ref = fill(member), UUID(hex=member.vault)
    stopper, vault = Stopper(deployment, member), Vault.objects.get(ref=ref).pk

    @contextmanager
    def stopping() -> Iterator[None]:
        stopper.step("before a transaction")
        with writing():
            yield
            stopper.step("inside a transaction")
        stopper.step("after a transaction")

    monkeypatch.setattr(closing, "writing", stopping)
    monkeypatch.setattr(closing, "_AT_ONCE", 2)
    stopping_objects: Any = StoppingObjects(deployment.objects, stopper)
    killable = dataclasses.replace(deployment, objects=stopping_objects)
    counts = None
    while counts is None:
        try:
            counts = close_vault(killable, ref, holds=no_hold)
        except Stopped:
            assert len(stopper.stopped) < 200
    assert counts == expected
    assert len(stopper.stopped) > 60
    assert set(rows_of(vault).values()) == {0}
    assert objects_of(deployment, member) == []


def test_a_vault_on_hold_is_not_closed(deployment: Deployment, member: Member) -> None:
    pack, ref = member.put(), UUID(hex=member.vault)
    with pytest.raises(VaultHeld) as held:
        close_vault(deployment, ref, holds=lambda vault: "court order" if vault == ref else None)
    assert (held.value.vault, held.value.reason) == (ref, "court order")
    assert Pack.objects.filter(ref=pack).exists()
    member.put()


def test_a_hold_that_comes_while_a_vault_is_closed_stops_it(deployment: Deployment, member: Member) -> None:
    pack, ref = member.put(), UUID(hex=member.vault)

    def comes(vault: UUID) -> str | None:
        return "court order" if Vault.objects.get(ref=vault).closing_at is not None else None

    with pytest.raises(VaultHeld):
        close_vault(deployment, ref, holds=comes)
    assert Pack.objects.filter(ref=pack).exists(), "what was not deleted yet stays"
    assert refusal_of(member.put).code is ErrorCode.NOT_GRANTED
    assert close_vault(deployment, ref, holds=no_hold).packs == 1


def test_there_is_no_vault_to_close(deployment: Deployment) -> None:
    with pytest.raises(NoSuchVault):
        close_vault(deployment, UUID(int=7), holds=no_hold)


def test_devices_of_a_closed_vault_are_told_and_strangers_are_not(
    deployment: Deployment, member: Member
) -> None:
    stranger, ref, now = Member.first(deployment), UUID(hex=member.vault), deployment.now()
    slot, credential = member.add_slot(kind="kit"), secrets.token_bytes(32)
    kit = m.RegisterKit(slot=slot, credential_hash=hashlib.sha256(credential).digest())
    register_kit(deployment, member.access(), kit)
    login = m.KitLogin(vault=member.vault, credential=credential)
    token = open_kit_session(deployment, login).token
    Vault.objects.filter(ref=ref).update(closing_at=now)
    by_kit = functools.partial(open_vault, token, ref, auth=Auth.READER, now=now)
    for call in (member.access, member.keys, by_kit):
        refused = refusal_of(call)
        assert (refused.code, "was closed" in refused.message) == (ErrorCode.NOT_GRANTED, True)
    assert refusal_of(open_kit_session, deployment, login).code is ErrorCode.NOT_GRANTED
    close_vault(deployment, ref, holds=no_hold)
    refused = refusal_of(member.access)
    assert "was closed" in refused.message
    assert "muniment connect" in refused.advice
    foreign = refusal_of(open_vault, stranger.token, ref, auth=Auth.READER, now=now)
    unknown = refusal_of(open_vault, stranger.token, UUID(int=9), auth=Auth.READER, now=now)
    assert foreign.message == unknown.message


def test_what_is_under_way_when_a_vault_is_closed_comes_to_nothing(
    deployment: Deployment, member: Member
) -> None:
    member.open_session()
    draft = member.draft([member.put()])
    access = member.access()
    receipt = member.begin(content := secrets.token_bytes(PACK_FLOOR), "ab" * 16)
    assert isinstance(receipt, Receipt)
    receipt.append([content])
    close_vault(deployment, UUID(hex=member.vault), holds=no_hold)
    assert refusal_of(receipt.finish).code is ErrorCode.NOT_GRANTED
    receipt.abandon()
    assert refusal_of(commit_snapshot, deployment, access, draft).code is ErrorCode.SESSION_EXPIRED
    assert objects_of(deployment, member) == []
    deployment.objects.put(f"{member.vault}/heads/{'cd' * 32}", b"of a request that was killed")
    assert clear_closed_vaults(deployment) == 1
    assert objects_of(deployment, member) == []


def test_the_id_of_a_closed_vault_stays_taken_and_the_account_may_make_another(
    deployment: Deployment, member: Member
) -> None:
    close_vault(deployment, UUID(hex=member.vault), holds=no_hold)
    device = Device.objects.get(ref=member.device)
    again = refusal_of(create_vault, deployment, device, m.CreateVault(vault=member.vault))
    assert again.code is ErrorCode.VAULT_EXISTS
    made = create_vault(deployment, device, m.CreateVault(vault=secrets.token_hex(16)))
    assert made.used == 0
