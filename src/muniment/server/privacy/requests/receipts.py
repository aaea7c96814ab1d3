"""The receipt of an erasure: a ledger entry with its proof, behind a link that only the person was sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.utils.crypto import constant_time_compare, salted_hmac

from muniment.server.privacy.ledger.entries import receipt_of
from muniment.server.privacy.requests.models import Erasure, Kind, Request

_SALT = "muniment.erasure-receipt"


class NoReceipt(Exception):
    """No such receipt, or a link that was not ours."""


def receipt_path(ref: UUID) -> str:
    """Where the receipt of this request is; nothing about it is stored."""
    return f"/receipt/{ref}/{_mark(ref)}"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a request to be erased. `erasure` is None before it runs."""

    request: Request
    erasure: Erasure | None

    @property
    def document(self) -> dict[str, Any] | None:
        """As `muniment-ledger-verify` reads it; None while the erasure is not done."""
        entry = None if self.erasure is None else self.erasure.entry
        return None if entry is None else receipt_of(entry)


def find_receipt(ref: UUID, mark: str) -> Receipt:
    """Raises NoReceipt."""
    row = Request.objects.filter(ref=ref, kind=Kind.ERASE).first()
    if row is None or not constant_time_compare(mark, _mark(ref)):
        raise NoReceipt
    return Receipt(row, Erasure.objects.filter(request=row).first())


def _mark(ref: UUID) -> str:
    return salted_hmac(_SALT, ref.hex, algorithm="sha256").hexdigest()[:32]
