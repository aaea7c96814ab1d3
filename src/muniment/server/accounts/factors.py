"""How an account can sign in beside its password."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from allauth.core.internal.cryptokit import compare_user_code
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as totp
from allauth.mfa.utils import decrypt

from muniment.server.accounts.models import Account
from muniment.server.transactions import writing


@dataclass(frozen=True, slots=True)
class Passkey:
    id: int
    name: str
    added_at: datetime
    used_at: datetime | None


@dataclass(frozen=True, slots=True)
class Factors:
    passkeys: tuple[Passkey, ...]
    app_since: datetime | None
    codes_left: int | None
    """None: there are no recovery codes."""


def factors_of(account: Account) -> Factors:
    rows = list(Authenticator.objects.filter(user=account).order_by("created_at"))
    app = next((row for row in rows if row.type == Authenticator.Type.TOTP), None)
    codes = next((row for row in rows if row.type == Authenticator.Type.RECOVERY_CODES), None)
    return Factors(
        tuple(
            Passkey(row.pk, row.wrap().name, row.created_at, row.last_used_at)
            for row in rows
            if row.type == Authenticator.Type.WEBAUTHN
        ),
        None if app is None else app.created_at,
        None if codes is None else len(codes.wrap().get_unused_codes()),
    )


def use_once(authenticator: Authenticator, code: str) -> bool:
    """Whether a right code is newer than all that were used of its app. Of other factors: yes.

    Codes are right for a minute and a half; allauth remembers a used one for half a minute, in one process.
    """
    if authenticator.type != Authenticator.Type.TOTP:
        return True
    secret = decrypt(authenticator.data["secret"])
    step = next(
        (
            step
            for step in totp.yield_hotp_counters_from_time()
            if compare_user_code(actual=code, expected=totp.format_hotp_value(totp.hotp_value(secret, step)))
        ),
        -1,
    )
    with writing():
        row = Authenticator.objects.select_for_update().get(pk=authenticator.pk)
        if step <= row.data.get("used", -1):
            return False
        row.data["used"] = step
        row.save(update_fields=["data"])
    return True
