"""Every request of the data plane as a typed call. docs/design/protocol.md says what each means.

All calls may be repeated by the server's contract, so all are retried on connection faults and on statuses
that say "later". They raise the errors of `refusals.error_of`, ServerUnreachable once patience is at its end,
and UntrustedServer at once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TypeVar
from urllib.parse import urlencode

import msgspec

from muniment.client.transport.connections import Body, ConnectionFault, Connections, Reply
from muniment.client.transport.refusals import error_of, is_retriable
from muniment.client.transport.retry import Patience
from muniment.model.errors import DamagedObject, MunimentError, ServerUnreachable
from muniment.model.ids import PackId, SessionId, SlotId, SnapshotId, VaultId
from muniment.model.packs import SealedPack
from muniment.wire import messages as wire

JSON_MOST = 64 * 1024 * 1024
"""No reply but a pack's bytes is larger; bounds what a hostile server can make us hold."""

CLOCK_TOLERANCE = 86_400.0

M = TypeVar("M", bound=wire.Message)


class Server:
    """One server, spoken to as one device (or, with a kit's token, as a reader)."""

    def __init__(
        self, connections: Connections, *, patience: Patience, version: str, token: str = ""
    ) -> None:
        self._connections, self._patience = connections, patience
        self._token = token
        self._agent = f"muniment/{version}"

    def __repr__(self) -> str:
        return f"Server({self.address})"

    @property
    def address(self) -> str:
        return str(self._connections.address)

    def with_token(self, token: str) -> Server:
        """The same server, spoken to with another token."""
        copy = Server(self._connections, patience=self._patience, version="", token=token)
        copy._agent = self._agent
        return copy

    def close(self) -> None:
        self._connections.close()

    # --- before and beside vaults

    def info(self) -> wire.ServerInfo:
        return self._ask("GET", "/server", wire.ServerInfo)

    def enrol(self, request: wire.EnrolRequest) -> wire.Enrolled:
        return self._ask("POST", "/enrol", wire.Enrolled, request)

    def create_vault(self, request: wire.CreateVault) -> wire.VaultInfo:
        return self._ask("POST", "/vaults", wire.VaultInfo, request)

    def kit_session(self, request: wire.KitLogin) -> wire.KitToken:
        return self._ask("POST", "/kit-session", wire.KitToken, request)

    # --- keys

    def keys(self, vault: VaultId) -> wire.VaultKeys:
        return self._ask("GET", f"/vaults/{vault}/keys", wire.VaultKeys)

    def put_slot(self, vault: VaultId, slot: SlotId, wrapped: bytes) -> None:
        message = wire.WrappedSlot(slot=slot.hex, wrapped=wrapped)
        self._tell("PUT", f"/vaults/{vault}/slots/{slot}", message)

    def put_slot_list(self, vault: VaultId, request: wire.PutSlotList) -> None:
        self._tell("PUT", f"/vaults/{vault}/slot-list", request)

    def register_kit(self, vault: VaultId, request: wire.RegisterKit) -> None:
        self._tell("PUT", f"/vaults/{vault}/kit", request)

    # --- sessions, packs, commits

    def open_session(self, vault: VaultId, request: wire.OpenSession) -> wire.SessionOpened:
        return self._ask("POST", f"/vaults/{vault}/sessions", wire.SessionOpened, request)

    def heartbeat(self, vault: VaultId, session: SessionId) -> None:
        self._tell("POST", f"/vaults/{vault}/sessions/{session}/heartbeat")

    def close_session(self, vault: VaultId, session: SessionId) -> None:
        """Said once: it is a courtesy, and the work is done."""
        self._exchange("DELETE", f"/vaults/{vault}/sessions/{session}", once=True)

    def known_packs(self, vault: VaultId, request: wire.KnownPacksRequest) -> wire.KnownPacks:
        return self._ask("POST", f"/vaults/{vault}/packs/known", wire.KnownPacks, request)

    def put_pack(
        self, vault: VaultId, session: SessionId, pack: SealedPack, content: Body
    ) -> wire.PackStored:
        query = urlencode({"session": session.hex, "kind": int(pack.kind), "epoch": pack.epoch})
        reply = self._exchange(
            "PUT",
            f"/vaults/{vault}/packs/{pack.pack_id}?{query}",
            content,
            headers={"Content-Type": "application/octet-stream", "Muniment-SHA256": pack.sha256.hex()},
        )
        return _decoded(reply, wire.PackStored)

    def read_pack(self, vault: VaultId, pack: PackId, *, offset: int, length: int) -> bytes:
        """Exactly `length` bytes of a pack; DamagedObject where the server does not give them."""
        if length == 0:
            return b""
        reply = self._exchange(
            "GET",
            f"/vaults/{vault}/packs/{pack}",
            headers={"Range": f"bytes={offset}-{offset + length - 1}"},
            most=max(length, 1 << 20),
        )
        content = reply.content
        if reply.status == 200 and len(content) != length:
            content = content[offset : offset + length]
        if len(content) != length:
            raise DamagedObject(
                f"pack {pack}", why=f"the server gave {len(content)} bytes instead of {length}"
            )
        return content

    def commit(self, vault: VaultId, request: wire.Commit) -> wire.Committed:
        return self._ask("POST", f"/vaults/{vault}/commit", wire.Committed, request)

    def report_run(self, vault: VaultId, request: wire.RunReport) -> None:
        self._tell("POST", f"/vaults/{vault}/runs", request)

    # --- what the vault holds

    def snapshots(
        self, vault: VaultId, *, after: str | None = None, limit: int = 500
    ) -> Iterator[wire.HeadRecord]:
        """All records, in the server's order, page by page."""
        while True:
            query = urlencode({"limit": limit} | ({"after": after} if after else {}))
            page = self._ask("GET", f"/vaults/{vault}/snapshots?{query}", wire.SnapshotPage)
            yield from page.snapshots
            if page.next is None or page.next == after:
                return
            after = page.next

    def snapshot_packs(self, vault: VaultId, snapshot: SnapshotId) -> list[wire.PackInfo]:
        """The whole reference set, asked for page by page."""
        packs: list[wire.PackInfo] = []
        path, query, after = f"/vaults/{vault}/snapshots/{snapshot}/packs", "", ""
        while True:
            page = self._ask("GET", path + query, wire.SnapshotPacks)
            packs += page.packs
            if page.next is None or page.next <= after:
                return packs
            after = page.next
            query = f"?after={after}"

    # --- devices, confirmations, events

    def devices(self, vault: VaultId) -> wire.DeviceList:
        return self._ask("GET", f"/vaults/{vault}/devices", wire.DeviceList)

    def ask_confirmation(self, vault: VaultId, request: wire.AskConfirmation) -> None:
        """Record a request; the answer is always NeedsOwnerConfirmation, which names it."""
        self._tell("POST", f"/vaults/{vault}/confirmations", request)

    def confirmations(self, vault: VaultId) -> wire.ConfirmationList:
        return self._ask("GET", f"/vaults/{vault}/confirmations", wire.ConfirmationList)

    def events(self, vault: VaultId, *, after: int = 0) -> Iterator[wire.EventInfo]:
        following: int | None = after
        while following is not None:
            page = self._ask(
                "GET", f"/vaults/{vault}/events?{urlencode({'after': following})}", wire.EventPage
            )
            yield from page.events
            following = page.next if page.events else None

    # --- one exchange

    def _ask(self, method: str, path: str, answer: type[M], message: wire.Message | None = None) -> M:
        return _decoded(self._exchange(method, path, _encoded(message)), answer)

    def _tell(self, method: str, path: str, message: wire.Message | None = None) -> None:
        self._exchange(method, path, _encoded(message))

    def _exchange(
        self,
        method: str,
        path: str,
        body: Body = b"",
        *,
        headers: dict[str, str] | None = None,
        most: int = JSON_MOST,
        once: bool = False,
    ) -> Reply:
        sent = {"User-Agent": self._agent, "Accept": "application/json"}
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        if body:
            sent["Content-Type"] = "application/json"
        sent |= headers or {}
        attempts = self._patience.begin()
        while True:
            try:
                reply = self._connections.exchange(
                    method, wire.PREFIX + path, headers=sent, body=body, most=most
                )
            except ConnectionFault as fault:
                if fault.stale:
                    continue  # an idle connection that the server had closed: nothing is wrong
                if once or not attempts.pause(retry_after=None, why=str(fault)):
                    raise self._unreachable(str(fault)) from fault
                continue
            if reply.status < 300 and reply.status != 202:
                return reply
            refusal = _refusal(reply)
            if not is_retriable(reply.status, refusal.error):
                raise error_of(refusal, status=reply.status)
            if once or not attempts.pause(retry_after=_retry_after(reply), why=refusal.message):
                raise _final(refusal, reply.status, self.address)

    def _unreachable(self, why: str) -> ServerUnreachable:
        return ServerUnreachable(
            f"the server at {self.address} cannot be reached: {why}",
            advice="See that it runs, check network and address, then run this again; it resumes.",
        )


def clock_warning(server_time: float, *, now: float) -> str | None:
    """What to say when the clocks of server and machine differ by more than a day; None when all is well."""
    difference = now - server_time
    if abs(difference) <= CLOCK_TOLERANCE:
        return None
    direction = "ahead of" if difference > 0 else "behind"
    days = abs(difference) / 86_400
    return (
        f"this machine's clock is {days:.1f} days {direction} the server's: snapshots will carry wrong "
        "times, and changes may be missed. Set the clock."
    )


def _encoded(message: wire.Message | None) -> bytes:
    return b"" if message is None else msgspec.json.encode(message)


def _decoded(reply: Reply, answer: type[M]) -> M:
    try:
        return msgspec.json.decode(reply.content, type=answer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MunimentError(
            f"the server's answer is not understood ({error})",
            advice="Server and client may be of different versions; update the older one.",
        ) from None


def _refusal(reply: Reply) -> wire.ErrorReply:
    try:
        return msgspec.json.decode(reply.content, type=wire.ErrorReply)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return wire.ErrorReply(error="", message=f"the server answered {reply.status}")


def _final(refusal: wire.ErrorReply, status: int, address: str) -> MunimentError:
    error = error_of(refusal, status=status)
    if isinstance(error, ServerUnreachable):
        return error
    return ServerUnreachable(
        f"the server at {address} keeps answering {status}: {error.message}",
        advice="Run the same command again later; it resumes.",
    )


def _retry_after(reply: Reply) -> float | None:
    """Seconds the server asks to wait: a number, or an HTTP date."""
    text = reply.headers.get("Retry-After")
    if text is None:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    # Loaded here: hardly any server sends a date.
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
