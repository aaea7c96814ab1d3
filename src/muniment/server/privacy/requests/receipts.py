"""The receipt of an erasure: a ledger entry with its proof, behind a link that only the person was sent."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.utils.crypto import constant_time_compare, salted_hmac

from muniment.server.privacy.ledger.entries import receipt_of
from muniment.server.privacy.requests.models import Erasure

_SALT = "muniment.erasure-receipt"


class NoReceipt(Exception):
    """No such receipt, or a link that was not ours."""


def receipt_path(ref: UUID) -> str:
    """Where the receipt of this request is; nothing about it is stored."""
    return f"/receipt/{ref.hex}/{_mark(ref)}"


def find_erasure(ref: UUID, mark: str) -> Erasure:
    """The erasure, done or under way. Raises NoReceipt."""
    row = Erasure.objects.select_related("request").filter(request__ref=ref).first()
    if row is None or not constant_time_compare(mark, _mark(ref)):
        raise NoReceipt
    return row


def receipt_document(erasure: Erasure) -> dict[str, Any]:
    """The receipt as JSON; `muniment-ledger-verify` checks it. Raises NoReceipt while it is not done."""
    if erasure.entry is None:
        raise NoReceipt
    return receipt_of(erasure.entry)


def _mark(ref: UUID) -> str:
    return salted_hmac(_SALT, ref.hex, algorithm="sha256").hexdigest()[:32]
