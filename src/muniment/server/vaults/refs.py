"""Between ids as the wire writes them (hexadecimal) and as rows keep them (UUID)."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from muniment.model.ids import DeviceId, PackId, SessionId, SetId, SlotId, VaultId

AnyId = DeviceId | PackId | SessionId | SetId | SlotId | VaultId


def ref_of(identifier: AnyId) -> UUID:
    return UUID(bytes=identifier.raw)


def parse_ref(text: str) -> UUID:
    """A wire id whose pattern was checked when the message was decoded."""
    return UUID(hex=text)


def seconds(at: datetime) -> float:
    return at.timestamp()


def seconds_or_none(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()
