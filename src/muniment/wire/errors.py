"""The one table from errors to HTTP statuses, read in both directions.

The server looks up the class it raised; the client makes the class again from the code in the reply.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ErrorCode(StrEnum):
    """What went wrong, as a word that never changes."""

    MALFORMED = "malformed"
    UNSUPPORTED = "unsupported_protocol"
    UNAUTHENTICATED = "unauthenticated"
    NOT_GRANTED = "not_granted"
    CODE_SPENT = "code_spent"
    NOT_FOUND = "not_found"
    VAULT_EXISTS = "vault_exists"
    VAULT_FULL = "vault_full"
    PENDING_CAP = "pending_cap"
    PACK_CONFLICT = "pack_conflict"
    PACK_SIZE = "pack_size"
    HASH_MISMATCH = "hash_mismatch"
    SESSION_EXPIRED = "session_expired"
    COMMIT_CONFLICT = "commit_conflict"
    DEVICE_CLONED = "device_cloned"
    SLOT_CONFLICT = "slot_conflict"
    SLOT_REMOVAL = "slot_removal"
    NEEDS_CONFIRMATION = "needs_confirmation"
    TOO_MANY = "too_many_requests"
    STORAGE_FULL = "storage_full"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """Status to answer with, and whether the same request may succeed later unchanged."""

    status: int
    retry: bool = False


RULES: dict[ErrorCode, ErrorRule] = {
    ErrorCode.MALFORMED: ErrorRule(400),
    ErrorCode.UNSUPPORTED: ErrorRule(400),
    ErrorCode.UNAUTHENTICATED: ErrorRule(401),
    ErrorCode.NOT_GRANTED: ErrorRule(403),
    ErrorCode.CODE_SPENT: ErrorRule(403),
    ErrorCode.SLOT_REMOVAL: ErrorRule(403),
    ErrorCode.NOT_FOUND: ErrorRule(404),
    ErrorCode.VAULT_EXISTS: ErrorRule(409),
    ErrorCode.PACK_CONFLICT: ErrorRule(409),
    ErrorCode.COMMIT_CONFLICT: ErrorRule(409),
    ErrorCode.DEVICE_CLONED: ErrorRule(409),
    ErrorCode.SLOT_CONFLICT: ErrorRule(409),
    ErrorCode.SESSION_EXPIRED: ErrorRule(410),
    ErrorCode.PACK_SIZE: ErrorRule(422),
    ErrorCode.HASH_MISMATCH: ErrorRule(422, retry=True),
    ErrorCode.NEEDS_CONFIRMATION: ErrorRule(202),
    ErrorCode.TOO_MANY: ErrorRule(429, retry=True),
    ErrorCode.INTERNAL: ErrorRule(500, retry=True),
    ErrorCode.UNAVAILABLE: ErrorRule(503, retry=True),
    ErrorCode.VAULT_FULL: ErrorRule(507),
    ErrorCode.PENDING_CAP: ErrorRule(507),
    ErrorCode.STORAGE_FULL: ErrorRule(507, retry=True),
}
