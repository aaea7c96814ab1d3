"""Accounts and the one-time codes that bring devices in. Called inside `writing()`."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from muniment.server.accounts.models import Account, Device, EnrolmentCode
from muniment.server.refusals import Refusal
from muniment.wire.errors import ErrorCode

REPEAT_WINDOW = timedelta(minutes=15)
"""A device whose answer got lost may repeat its enrolment for so long, while it has not been seen."""


MOST_WAITING = 100
"""Codes of one account that nobody has used yet."""


class AccountExists(Exception):
    """The address has an account already."""


class NoSuchAccount(Exception):
    """No account under this address."""


def create_account(email: str, *, now: datetime) -> Account:
    if Account.objects.with_address(email).exists():
        raise AccountExists
    return Account.objects.create_account(email, ref=uuid4(), created_at=now)


def find_account(email: str) -> Account:
    account = Account.objects.with_address(email).first()
    if account is None:
        raise NoSuchAccount
    return account


def make_code(
    account: Account, *, makes_vault: bool, vault_ref: UUID | None, now: datetime, life: float
) -> bytes:
    """A new one-time code; returns its secret, 16 bytes, of which only the hash is kept.

    Raises Refusal TOO_MANY where too many wait to be used.
    """
    if EnrolmentCode.objects.filter(account=account, device=None, expires_at__gt=now).count() >= MOST_WAITING:
        raise Refusal(
            ErrorCode.TOO_MANY,
            f"{MOST_WAITING} codes of this account wait to be used",
            advice="Use one of them, or wait until they lapse.",
        )
    secret = secrets.token_bytes(16)
    EnrolmentCode.objects.create(
        secret_sha256=hashlib.sha256(secret).digest(),
        account=account,
        makes_vault=makes_vault,
        vault_ref=vault_ref,
        made_at=now,
        expires_at=now + timedelta(seconds=life),
    )
    return secret


def check_known(secret: bytes) -> None:
    """CODE_SPENT for a secret that no code has. Reads only: strangers who guess hold up nobody's writing."""
    if not EnrolmentCode.objects.filter(secret_sha256=hashlib.sha256(secret).digest()).exists():
        raise _spent()


def redeem_code(
    secret: bytes, *, device_name: str, public_key: bytes, token_sha256: bytes, now: datetime
) -> tuple[EnrolmentCode, Device, bool]:
    """(code, device, whether the device is new). Raises CODE_SPENT for used, lapsed and unknown codes alike.

    A repeat by the same device, before it was first seen, gets the same device and a fresh token: the first
    answer was lost, and its token was never used.
    """
    code = (
        EnrolmentCode.objects.select_for_update(of=("self",))
        .select_related("account", "device")
        .filter(secret_sha256=hashlib.sha256(secret).digest())
        .first()
    )
    if code is None or not code.account.is_active:
        raise _spent()
    if code.device is not None:
        device = code.device
        fresh = device.last_seen_at is None and now - device.enrolled_at <= REPEAT_WINDOW
        if not fresh or device.revoked_at is not None or bytes(device.public_key) != public_key:
            raise _spent()
        device.token_sha256 = token_sha256
        device.save(update_fields=["token_sha256"])
        return code, device, False
    if code.expires_at <= now:
        raise _spent()
    code.device = Device.objects.create(
        ref=uuid4(),
        account=code.account,
        name=device_name,
        public_key=public_key,
        token_sha256=token_sha256,
        makes_vault=code.makes_vault,
        enrolled_at=now,
    )
    code.save(update_fields=["device"])
    return code, code.device, True


def _spent() -> Refusal:
    return Refusal(
        ErrorCode.CODE_SPENT,
        "the enrolment code is unknown, used or has lapsed",
        advice="Ask the operator for a new one: `muniment admin enrol`.",
    )
