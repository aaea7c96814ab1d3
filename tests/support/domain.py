"""The server's use cases without HTTP: a deployment with a clock that tests turn, and devices at vaults.

Import only after Django is set up (tests/unit/server/conftest.py does that).
"""

from __future__ import annotations

import dataclasses
import hashlib
import secrets
import threading
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from muniment.model.packs import PACK_FLOOR
from muniment.server.accounts.enrolment import create_account, make_code
from muniment.server.accounts.models import Account
from muniment.server.config import ServerConfig
from muniment.server.deployment import Deployment
from muniment.server.refusals import Refusal
from muniment.server.store.local import LocalObjects
from muniment.server.transactions import writing
from muniment.server.vaults.access import Access, authenticate_device, open_vault
from muniment.server.vaults.commit import commit_snapshot
from muniment.server.vaults.confirmations import ask_confirmation
from muniment.server.vaults.enrolment import create_vault, enrol_device
from muniment.server.vaults.receive import PackOffer, Receipt, begin_receipt
from muniment.server.vaults.refs import parse_ref
from muniment.server.vaults.sessions import open_session
from muniment.server.vaults.slots import put_slot, put_slot_list, read_keys
from muniment.wire import messages as m
from muniment.wire.routes import Auth


@dataclass
class Clock:
    at: datetime = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def turn(self, **by: float) -> None:
        self.at += timedelta(**by)


def make_deployment(data: Path, clock: Clock, **changes: Any) -> Deployment:
    config = dataclasses.replace(ServerConfig(data=data), **changes)
    return Deployment(config, LocalObjects(config.objects), clock)


def thread_of(call: Callable[..., object], *arguments: object) -> threading.Thread:
    """A thread in which is open what is open here; of itself it would have no purpose."""
    return threading.Thread(target=copy_context().run, args=(call, *arguments))


def refusal_of(call: Any, *arguments: Any, **named: Any) -> Refusal:
    """The Refusal that the call raises; AssertionError when it raises none."""
    try:
        call(*arguments, **named)
    except Refusal as refusal:
        return refusal
    raise AssertionError("it was not refused")


@dataclass
class Member:
    """A device at a vault, calling use cases directly."""

    deployment: Deployment
    account: Account
    token: str
    device: str
    vault: str
    session: str = ""
    installation: str = field(default_factory=lambda: secrets.token_hex(16))
    set_id: str = field(default_factory=lambda: secrets.token_hex(16))
    counter: int = 0
    newest: str | None = None
    packs: set[str] = field(default_factory=set)

    @classmethod
    def first(cls, deployment: Deployment, *, email: str | None = None) -> Member:
        """A new account's first device, with a vault of its own."""
        with writing():
            account = create_account(email or f"{secrets.token_hex(6)}@example.org", now=deployment.now())
        return cls._enrolled(deployment, account, makes_vault=True)

    def beside(self) -> Member:
        """Another device of the same account, at the same vault."""
        return self._enrolled(self.deployment, self.account, makes_vault=False)

    @classmethod
    def _enrolled(cls, deployment: Deployment, account: Account, *, makes_vault: bool) -> Member:
        with writing():
            secret = make_code(
                account, makes_vault=makes_vault, vault_ref=None, now=deployment.now(), life=3600
            )
        enrolled = enrol_device(
            deployment,
            m.EnrolRequest(secret=secret, device_name="a machine", public_key=secrets.token_bytes(32)),
        )
        if makes_vault:
            vault = secrets.token_hex(16)
            create_vault(deployment, authenticate_device(enrolled.token), m.CreateVault(vault=vault))
        else:
            vault = enrolled.vaults[0].vault
        return cls(deployment, account, enrolled.token, enrolled.device, vault)

    def access(self, auth: Auth = Auth.DEVICE) -> Access:
        return open_vault(self.token, parse_ref(self.vault), auth=auth, now=self.deployment.now())

    def open_session(self, **fields: Any) -> m.SessionOpened:
        request = m.OpenSession(**{"purpose": "backup", "client_version": "test", **fields})
        opened = open_session(self.deployment, self.access(), request)
        self.session = opened.session
        return opened

    def begin(self, content: bytes, pack: str, **fields: Any) -> Receipt | m.PackStored:
        values: dict[str, Any] = {
            "pack": parse_ref(pack), "session": parse_ref(self.session), "kind": 1, "epoch": 0,
            "size": len(content), "sha256": hashlib.sha256(content).digest(), **fields,
        }  # fmt: skip
        return begin_receipt(self.deployment, self.access(), PackOffer(**values))

    def put(self, content: bytes | None = None, pack: str | None = None, **fields: Any) -> str:
        """Send a pack; returns its id."""
        content = secrets.token_bytes(PACK_FLOOR) if content is None else content
        pack = pack or secrets.token_hex(16)
        if not self.session:
            self.open_session()
        receipt = self.begin(content, pack, **fields)
        if isinstance(receipt, Receipt):
            try:
                receipt.append([content])
                receipt.finish()
            except BaseException:
                receipt.abandon()
                raise
        return pack

    def draft(self, add: list[str], *, remove: tuple[str, ...] = (), **fields: Any) -> m.Commit:
        base = fields.get("parent", self.newest)
        full = ((self.packs if base is not None else set()) - set(remove)) | set(add)
        values: dict[str, Any] = {
            "session": self.session, "installation": self.installation, "counter": self.counter + 1,
            "set_id": self.set_id, "parent": base, "head": secrets.token_bytes(1024), "add": add,
            "remove": list(remove), "packs_hash": packs_hash(full), "partial": False, "slot_list_number": 0,
            **fields,
        }  # fmt: skip
        return m.Commit(**values)

    def commit(self, draft: m.Commit) -> m.Committed:
        committed = commit_snapshot(self.deployment, self.access(), draft)
        if committed.created:
            base = self.packs if draft.parent is not None else set()
            self.packs = (base - set(draft.remove)) | set(draft.add)
            self.counter, self.newest = draft.counter, committed.snapshot
        return committed

    def add_slot(self, *, kind: Any = "passphrase", device: str | None = None) -> str:
        """Store a wrapped key and list it; returns the slot's id."""
        slot, wrapped = secrets.token_hex(16), secrets.token_bytes(200)
        put_slot(self.deployment, self.access(), parse_ref(slot), m.WrappedSlot(slot=slot, wrapped=wrapped))
        line = m.SlotInfo(
            slot=slot, kind=kind, label="", device=device, added_by="x", added_at=0.0,
            digest=hashlib.sha256(wrapped).digest(),
        )  # fmt: skip
        self.put_list([*self.slot_list().slots, line])
        return slot

    def slot_list(self) -> m.SlotList:
        signed = self.keys().signed
        if signed is None:
            return m.SlotList(vault=self.vault, number=0, previous=b"", slots=[])
        return msgspec.msgpack.decode(signed.body, type=m.SlotList)

    def put_list(self, slots: list[m.SlotInfo], *, removals: list[m.SignedRemoval] | None = None) -> m.Stored:
        signed = self.keys().signed
        before = self.slot_list()
        expected_hash = b"" if signed is None else hashlib.sha256(signed.body).digest()
        content = m.SlotList(
            vault=self.vault, number=before.number + 1, previous=expected_hash, slots=slots,
            removals=before.removals if removals is None else removals,
        )  # fmt: skip
        body = msgspec.msgpack.encode(content)
        request = m.PutSlotList(
            expected_number=before.number, expected_hash=expected_hash,
            signed=m.SignedSlotList(body=body, mac=secrets.token_bytes(32)),
        )  # fmt: skip
        return put_slot_list(self.deployment, self.access(), request)

    def keys(self) -> m.VaultKeys:
        return read_keys(self.deployment, self.access(Auth.READER))

    def removal_of(self, slot: str) -> m.SignedRemoval:
        record = m.RemovalRecord(
            vault=self.vault, slot=slot, list_number=self.slot_list().number, made_at=0.0
        )
        return m.SignedRemoval(record=msgspec.msgpack.encode(record), mac=secrets.token_bytes(32))

    def ask(self, action: Any, subject: str, removal: m.SignedRemoval | None = None) -> Refusal:
        return ask_confirmation(
            self.deployment,
            self.access(),
            m.AskConfirmation(action=action, subject=subject, removal=removal),
        )


def packs_hash(packs: set[str]) -> bytes:
    return hashlib.sha256(b"".join(map(bytes.fromhex, sorted(packs)))).digest()
