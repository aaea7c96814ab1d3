"""A device that speaks the data plane's messages and nothing more: no keys, no sealing, no retries.

Packs are random bytes of permitted sizes; the server is blind, so to it they are as good as real ones.
"""

from __future__ import annotations

import hashlib
import http.client
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from muniment.model.codes import EnrolmentCode
from muniment.wire import messages as m
from muniment.wire.routes import PACK_HASH_HEADER

M = TypeVar("M", bound=m.Message)
KIB64 = 64 * 1024


class Refused(Exception):
    """An answer other than success, with the decoded ErrorReply."""

    def __init__(self, status: int, reply: m.ErrorReply, headers: Mapping[str, str]) -> None:
        super().__init__(f"{status} {reply.error}: {reply.message}")
        self.status, self.reply, self.headers = status, reply, headers

    @property
    def code(self) -> str:
        return self.reply.error


@dataclass
class RawPack:
    """Random bytes under a random pack id."""

    content: bytes = field(default_factory=lambda: secrets.token_bytes(KIB64), repr=False)
    pack: str = field(default_factory=lambda: secrets.token_hex(16))
    kind: int = 1
    epoch: int = 0

    @property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.content).digest()


def send(
    url: str,
    method: str,
    path: str,
    *,
    token: str | None = None,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, bytes, Mapping[str, str]]:
    """One request on a connection of its own: (status, body, headers)."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    sent = dict(headers or {})
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    try:
        connection.request(method, m.PREFIX + path, body=body, headers=sent)
        response = connection.getresponse()
        got = {name.lower(): value for name, value in response.getheaders()}
        return response.status, response.read(), got
    finally:
        connection.close()


def ask(
    url: str,
    method: str,
    path: str,
    reply: type[M],
    *,
    token: str | None = None,
    message: m.Message | None = None,
) -> M:
    """Send a message, decode the reply; Refused for anything but success."""
    body = None if message is None else msgspec.json.encode(message)
    status, content, headers = send(url, method, path, token=token, body=body)
    if status not in (200, 204):
        raise Refused(status, msgspec.json.decode(content, type=m.ErrorReply), headers)
    return msgspec.json.decode(content, type=reply)


@dataclass
class RawDevice:
    """An enrolled device at one vault. `installation` is its present life."""

    url: str
    device: str
    token: str
    vault: str = ""
    session: str = ""
    installation: str = field(default_factory=lambda: secrets.token_hex(16))
    set_id: str = field(default_factory=lambda: secrets.token_hex(16))
    counter: int = 0
    newest: str | None = None
    packs: set[str] = field(default_factory=set)

    @classmethod
    def enrol(cls, url: str, code: str, *, name: str = "a machine") -> RawDevice:
        """Trade the code; joins the vault it opens, or makes one when it opens none."""
        request = m.EnrolRequest(
            secret=EnrolmentCode.parse(code).secret, device_name=name, public_key=secrets.token_bytes(32)
        )
        enrolled = ask(url, "POST", "/enrol", m.Enrolled, message=request)
        device = cls(url, enrolled.device, enrolled.token)
        if enrolled.vaults:
            device.vault = enrolled.vaults[0].vault
        else:
            device.make_vault()
        return device

    def make_vault(self, vault: str | None = None) -> m.VaultInfo:
        self.vault = vault or secrets.token_hex(16)
        message = m.CreateVault(vault=self.vault)
        return ask(self.url, "POST", "/vaults", m.VaultInfo, token=self.token, message=message)

    def at_vault(self, method: str, path: str, reply: type[M], message: m.Message | None = None) -> M:
        return ask(self.url, method, f"/vaults/{self.vault}{path}", reply, token=self.token, message=message)

    def keys(self) -> m.VaultKeys:
        return self.at_vault("GET", "/keys", m.VaultKeys)

    def open_session(self, *, purpose: Any = "backup", cursor: int = 0) -> m.SessionOpened:
        request = m.OpenSession(purpose=purpose, client_version="test", cursor=cursor)
        opened = self.at_vault("POST", "/sessions", m.SessionOpened, request)
        self.session = opened.session
        return opened

    def put(self, pack: RawPack, *, session: str | None = None, **headers: str) -> m.PackStored:
        status, content, got = self.try_put(pack, session=session, **headers)
        if status != 200:
            raise Refused(status, msgspec.json.decode(content, type=m.ErrorReply), got)
        return msgspec.json.decode(content, type=m.PackStored)

    def try_put(
        self, pack: RawPack, *, session: str | None = None, **headers: str
    ) -> tuple[int, bytes, Mapping[str, str]]:
        return send(
            self.url,
            "PUT",
            self.pack_path(pack, session=session),
            token=self.token,
            body=pack.content,
            headers={PACK_HASH_HEADER: pack.sha256.hex(), **headers},
        )

    def pack_path(self, pack: RawPack, *, session: str | None = None) -> str:
        return (
            f"/vaults/{self.vault}/packs/{pack.pack}?session={session or self.session}"
            f"&kind={pack.kind}&epoch={pack.epoch}"
        )

    def get(self, pack: str, *, byte_range: str | None = None) -> tuple[int, bytes, Mapping[str, str]]:
        headers = {} if byte_range is None else {"Range": byte_range}
        return send(self.url, "GET", f"/vaults/{self.vault}/packs/{pack}", token=self.token, headers=headers)

    def draft(
        self,
        add: Iterable[str],
        *,
        remove: Iterable[str] = (),
        parent: str | None = None,
        head: bytes | None = None,
        **fields: Any,
    ) -> m.Commit:
        """A commit of the packs of `parent` (this device's newest by default) plus `add` minus `remove`."""
        added, removed = set(add), set(remove)
        base = parent if parent is not None else self.newest
        full = ((self.packs if base is not None else set()) - removed) | added
        values: dict[str, Any] = {
            "session": self.session,
            "installation": self.installation,
            "counter": self.counter + 1,
            "set_id": self.set_id,
            "parent": base,
            "head": head if head is not None else secrets.token_bytes(1024),
            "add": sorted(added),
            "remove": sorted(removed),
            "packs_hash": hashlib.sha256(b"".join(map(bytes.fromhex, sorted(full)))).digest(),
            "partial": False,
            "slot_list_number": 0,
            **fields,
        }
        return m.Commit(**values)

    def commit(self, draft: m.Commit) -> m.Committed:
        committed = self.at_vault("POST", "/commit", m.Committed, draft)
        if committed.created:
            base = self.packs if draft.parent is not None else set()
            self.packs = (base - set(draft.remove)) | set(draft.add)
            self.counter, self.newest = draft.counter, committed.snapshot
        return committed

    def back_up(self, *packs: RawPack) -> m.Committed:
        """Send the packs and commit them on top of the newest snapshot."""
        if not self.session:
            self.open_session()
        for pack in packs:
            self.put(pack)
        return self.commit(self.draft(pack.pack for pack in packs))
