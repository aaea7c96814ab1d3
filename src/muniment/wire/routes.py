"""Every request of the data plane, once: the server mounts this table, OpenAPI is made from it.

Paths are relative to `messages.PREFIX`. Requests carry `Authorization: Bearer <token>` unless `auth` is NONE.
A body of type `bytes` is an octet stream with `Content-Length`; all else is JSON.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from muniment.wire import messages as m
from muniment.wire.errors import ErrorCode

PACK_HASH_HEADER = "Muniment-SHA256"
"""SHA-256 of the pack's bytes in hexadecimal, both on PUT and in the answer to GET."""


class Auth(Enum):
    """Whose token a request takes."""

    NONE = "none"
    DEVICE = "device"
    READER = "reader"
    """A device's token or the read-only token of a kit session."""


class Kind(Enum):
    """Type of a query parameter or header."""

    ID = "id"
    SNAPSHOT = "snapshot"
    NUMBER = "number"
    DIGEST = "digest"


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    kind: Kind
    required: bool = True
    maximum: int = 2**53
    about: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """One request: `request` and `reply` are message types, `bytes`, or None for nothing."""

    name: str
    method: str
    path: str
    summary: str
    auth: Auth
    reply: type | None
    request: type | None = None
    status: int = 200
    query: tuple[Parameter, ...] = ()
    headers: tuple[Parameter, ...] = ()
    errors: tuple[ErrorCode, ...] = field(default=())


_V = "/vaults/{vault}"
_AFTER = Parameter("after", Kind.NUMBER, required=False, about="number of the last one already known")
_LIMIT = Parameter("limit", Kind.NUMBER, required=False, maximum=1000, about="most to answer with")
_E = ErrorCode

ROUTES: tuple[Route, ...] = (
    Route("server", "GET", "/server", "What this server is", Auth.NONE, m.ServerInfo),
    Route("openapi", "GET", "/openapi.json", "This description", Auth.NONE, dict),
    Route(
        "enrol",
        "POST",
        "/enrol",
        "Trade a one-time code for a device's token",
        Auth.NONE,
        m.Enrolled,
        request=m.EnrolRequest,
        errors=(_E.CODE_SPENT, _E.TOO_MANY),
    ),
    Route(
        "create_vault",
        "POST",
        "/vaults",
        "Make a vault under an id of the device's choosing",
        Auth.DEVICE,
        m.VaultInfo,
        request=m.CreateVault,
        errors=(_E.VAULT_EXISTS,),
    ),
    Route("keys", "GET", _V + "/keys", "Slot list, wrapped keys and newest heads", Auth.READER, m.VaultKeys),
    Route(
        "put_slot",
        "PUT",
        _V + "/slots/{slot}",
        "Store a wrapped key; never replaces one",
        Auth.DEVICE,
        m.Stored,
        request=m.WrappedSlot,
        errors=(_E.SLOT_CONFLICT, _E.STORAGE_FULL),
    ),
    Route(
        "put_slot_list",
        "PUT",
        _V + "/slot-list",
        "Compare-and-swap the slot list",
        Auth.DEVICE,
        m.Stored,
        request=m.PutSlotList,
        errors=(_E.SLOT_CONFLICT, _E.SLOT_REMOVAL, _E.STORAGE_FULL),
    ),
    Route(
        "register_kit",
        "PUT",
        _V + "/kit",
        "Register the credential of a recovery kit",
        Auth.DEVICE,
        m.Stored,
        request=m.RegisterKit,
        errors=(_E.SLOT_CONFLICT, _E.NOT_FOUND),
    ),
    Route(
        "kit_session",
        "POST",
        "/kit-session",
        "Trade a kit's credential for a read-only token",
        Auth.NONE,
        m.KitToken,
        request=m.KitLogin,
        errors=(_E.NOT_GRANTED, _E.TOO_MANY),
    ),
    Route(
        "open_session",
        "POST",
        _V + "/sessions",
        "Open a session and learn what is new",
        Auth.READER,
        m.SessionOpened,
        request=m.OpenSession,
    ),
    Route(
        "heartbeat",
        "POST",
        _V + "/sessions/{session}/heartbeat",
        "Keep a session alive",
        Auth.READER,
        m.SessionAlive,
        errors=(_E.SESSION_EXPIRED,),
    ),
    Route(
        "close_session", "DELETE", _V + "/sessions/{session}", "End a session", Auth.READER, None, status=204
    ),
    Route(
        "known_packs",
        "POST",
        _V + "/packs/known",
        "Which of these packs are durably held",
        Auth.DEVICE,
        m.KnownPacks,
        request=m.KnownPacksRequest,
        errors=(_E.SESSION_EXPIRED,),
    ),
    Route(
        "put_pack",
        "PUT",
        _V + "/packs/{pack}",
        "Store a sealed pack",
        Auth.DEVICE,
        m.PackStored,
        request=bytes,
        query=(
            Parameter("session", Kind.ID),
            Parameter("kind", Kind.NUMBER, maximum=255, about="1 data, 2 page, 3 mixed, 4 index"),
            Parameter("epoch", Kind.NUMBER, maximum=2**31 - 1),
        ),
        headers=(Parameter(PACK_HASH_HEADER, Kind.DIGEST),),
        errors=(
            _E.SESSION_EXPIRED,
            _E.PACK_CONFLICT,
            _E.PACK_SIZE,
            _E.HASH_MISMATCH,
            _E.VAULT_FULL,
            _E.PENDING_CAP,
            _E.STORAGE_FULL,
            _E.TOO_MANY,
        ),
    ),
    Route(
        "get_pack",
        "GET",
        _V + "/packs/{pack}",
        "Read a pack, or one range of it (`Range: bytes=a-b`: 206)",
        Auth.READER,
        bytes,
        errors=(_E.NOT_FOUND,),
    ),
    Route(
        "commit",
        "POST",
        _V + "/commit",
        "Make a snapshot exist",
        Auth.DEVICE,
        m.Committed,
        request=m.Commit,
        errors=(_E.SESSION_EXPIRED, _E.COMMIT_CONFLICT, _E.DEVICE_CLONED, _E.STORAGE_FULL),
    ),
    Route(
        "report_run",
        "POST",
        _V + "/runs",
        "Say how a run went",
        Auth.DEVICE,
        m.Stored,
        request=m.RunReport,
    ),
    Route(
        "snapshots",
        "GET",
        _V + "/snapshots",
        "Heads in the order they were received",
        Auth.READER,
        m.SnapshotPage,
        query=(Parameter("after", Kind.SNAPSHOT, required=False, about="`next` of the page before"), _LIMIT),
        errors=(_E.NOT_FOUND,),
    ),
    Route(
        "snapshot_packs",
        "GET",
        _V + "/snapshots/{snapshot}/packs",
        "The reference set of a snapshot, by pack id",
        Auth.READER,
        m.SnapshotPacks,
        query=(Parameter("after", Kind.ID, required=False, about="`next` of the page before"),),
        errors=(_E.NOT_FOUND,),
    ),
    Route("devices", "GET", _V + "/devices", "Devices with a grant on the vault", Auth.DEVICE, m.DeviceList),
    Route(
        "ask_confirmation",
        "POST",
        _V + "/confirmations",
        "Ask the owner; always answers needs_confirmation with the request's id",
        Auth.DEVICE,
        m.ErrorReply,
        request=m.AskConfirmation,
        status=202,
        errors=(_E.NOT_FOUND, _E.SLOT_REMOVAL),
    ),
    Route(
        "confirmations",
        "GET",
        _V + "/confirmations",
        "Requests and what became of them",
        Auth.DEVICE,
        m.ConfirmationList,
    ),
    Route(
        "events",
        "GET",
        _V + "/events",
        "What happened to the vault",
        Auth.DEVICE,
        m.EventPage,
        query=(_AFTER, _LIMIT),
    ),
)
"""In documentation order. All may also answer malformed, unauthenticated, not_granted, unavailable."""
