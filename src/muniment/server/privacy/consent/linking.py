"""The key by which a visit could be linked to an account: there is none before somebody agreed to that."""

from __future__ import annotations

import hmac
import secrets
from datetime import datetime

from muniment.server.privacy.consent.choices import Subject, is_granted
from muniment.server.privacy.consent.models import LinkKey
from muniment.server.privacy.purposes import Purpose, purpose
from muniment.server.privacy.requests.objecting import stands_against
from muniment.server.transactions import writing

PURPOSE = "personalise"
_KEY_SIZE = 32


def link_of(subject: Subject, *, gpc: bool, now: datetime) -> str | None:
    """Under what a visit may be kept with others of the same account; None where that was not agreed to, or
    was stopped since.

    The key is made after the grant and deleted with its withdrawal: what was linked before is never linked to
    what comes after another grant.
    """
    if subject.account is None or not is_granted(subject, PURPOSE, gpc=gpc, now=now):
        return None
    if stands_against(subject.account.pk, PURPOSE):
        return None
    with writing(), purpose(Purpose.PERSONALISE):
        key, _ = LinkKey.objects.get_or_create(
            subject_id=subject.account.pk, defaults={"key": secrets.token_bytes(_KEY_SIZE)}
        )
        secret = bytes(key.key)
    return hmac.digest(secret, b"visit", "sha256").hex()
