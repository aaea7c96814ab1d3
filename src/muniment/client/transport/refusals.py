"""From the server's error replies back to the errors that callers decide by."""

from __future__ import annotations

from muniment.model.errors import (
    DamagedObject,
    DeviceCloned,
    MunimentError,
    NeedsOwnerConfirmation,
    NotGranted,
    Refused,
    ServerUnreachable,
    SessionExpired,
    VaultFull,
)
from muniment.wire.errors import RULES, ErrorCode
from muniment.wire.messages import ErrorReply


class NotOnServer(MunimentError):
    """The server does not know what was asked for."""


class CommitRefused(MunimentError):
    """A commit lost a compare-and-swap, or names packs that the server does not hold.

    `reason`: counter, missing, parent, packs_hash or slot_list (docs/design/protocol.md).
    """

    def __init__(self, message: str, *, missing: tuple[str, ...], reason: str) -> None:
        super().__init__(message)
        self.missing, self.reason = missing, reason


class SlotConflict(MunimentError):
    """The slot list changed meanwhile: read it again and repeat the change."""


class VaultTaken(MunimentError):
    """A vault with this id exists."""


_AGAIN = "Have the operator make a new code with `muniment admin enrol`, then connect again."


def is_retriable(status: int, code: str) -> bool:
    """Whether the same request may succeed later unchanged."""
    if code in RULES:
        return RULES[ErrorCode(code)].retry
    return status in (408, 429, 500, 502, 503, 504)


def error_of(reply: ErrorReply, *, status: int) -> MunimentError:
    """The error that `reply` stands for. What the server wrote is shown, never acted on."""
    text = _printable(reply.message) or f"the server answered {status}"
    advice = _printable(reply.advice)
    match reply.error:
        case ErrorCode.UNAUTHENTICATED | ErrorCode.NOT_GRANTED:
            return NotGranted(text, advice=advice or f"Was this device revoked by mistake? {_AGAIN}")
        case ErrorCode.CODE_SPENT:
            return NotGranted(text, advice=advice or _AGAIN)
        case ErrorCode.SLOT_REMOVAL | ErrorCode.PENDING_CAP:
            return Refused(text, advice=advice)
        case ErrorCode.VAULT_FULL:
            return VaultFull(short_by=reply.short_by or 0, advice=advice)
        case ErrorCode.NEEDS_CONFIRMATION:
            return NeedsOwnerConfirmation(_printable(reply.request or ""))
        case ErrorCode.NOT_FOUND:
            return NotOnServer(text, advice=advice)
        case ErrorCode.VAULT_EXISTS:
            return VaultTaken(text, advice=advice)
        case ErrorCode.SLOT_CONFLICT:
            return SlotConflict(text, advice=advice)
        case ErrorCode.SESSION_EXPIRED:
            return SessionExpired(text, advice=advice)
        case ErrorCode.COMMIT_CONFLICT:
            return CommitRefused(text, missing=tuple(reply.missing), reason=_printable(reply.reason or ""))
        case ErrorCode.DEVICE_CLONED:
            return DeviceCloned(text, advice=advice or f"Two machines act as one device. {_AGAIN}")
        case ErrorCode.PACK_CONFLICT:
            return DamagedObject("a pack", why=text)
        case ErrorCode.STORAGE_FULL:
            return ServerUnreachable(
                text,
                advice=advice
                or "Tell its operator. Run again once there is room: what is sealed is sent then.",
            )
        case ErrorCode.TOO_MANY | ErrorCode.UNAVAILABLE:
            return ServerUnreachable(text, advice=advice or "Run the same command again later; it resumes.")
    if status == 401:
        return NotGranted(text, advice=advice)
    return MunimentError(text, advice=advice)


def _printable(text: str) -> str:
    """The server's text without control characters: it may be hostile, and this may be a terminal."""
    return "".join(letter for letter in text[:500] if letter.isprintable())
