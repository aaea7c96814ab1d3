"""Mails that come back (RFC 3464): to the address of each nothing goes that its owner can do without.

    message_id(email, queued_at=row.queued_at, domain="…")     goes out with every mail
    take_in_bounce(content, now=now)                           True: a report about a mail of ours
    comes_back_since(email, now=now)                           what its owner is shown, signed in

Anybody can write a report about any address. So the address is taken from no field of it, but from the
Message-ID of the mail that came back: it holds the hour and a keyed hash of the address, under a keyed mark.
Only who has a mail of ours can show its Message-ID, and with it make nothing unreachable but the address that
the mail went to.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.message import MIMEPart

from muniment.server.mail.models import Unreachable
from muniment.server.privacy.requests.incoming import BROKEN_MAIL, read_mail
from muniment.server.sealing import key_for
from muniment.server.transactions import writing

_USE = "bounces"
_HOUR_BYTES, _CHANCE_BYTES, _ADDRESS_BYTES, _MARK_BYTES = 4, 4, 16, 12
_HOUR = 3600
_COUNTS_FOR = timedelta(days=14)
"""After a mail was queued: servers try for a week at most, and then say so."""
_REMEMBERED = timedelta(days=90)
"""Then optional mail is tried again."""
_OURS = re.compile(r"<m\.([a-z2-7]{58})@[^<>@\s]+>")
_FOR_GOOD = re.compile(r"5\.\d{1,3}\.\d{1,3}\b")


def message_id(email: str, *, queued_at: datetime, domain: str) -> str:
    """Another one each time."""
    hour = int(queued_at.timestamp()) // _HOUR
    said = hour.to_bytes(_HOUR_BYTES, "big") + secrets.token_bytes(_CHANCE_BYTES) + _hash(email)
    token = base64.b32encode(said + _mark(said)).decode().rstrip("=").lower()
    return f"<m.{token}@{domain}>"


def take_in_bounce(content: bytes, *, now: datetime) -> bool:
    """Whether this is a report about a mail of ours; if it came back for good, that is remembered."""
    try:
        mail = read_mail(content)
        if mail.get_content_type() != "multipart/report":
            return False
        parts = list(mail.iter_parts())
        returned = next(filter(None, map(_returned, parts)), None)
        failed = any(map(_failed, parts))
    except BROKEN_MAIL:
        return False
    if returned is None:
        return False
    queued_at, address = returned
    if failed and now - queued_at <= _COUNTS_FOR:
        with writing():
            Unreachable.objects.filter(at__lt=now - _REMEMBERED).delete()
            Unreachable.objects.get_or_create(address=address, defaults={"at": now})
    return True


def comes_back_since(email: str, *, now: datetime) -> datetime | None:
    """Since when mails to the address come back; None where none is known to."""
    rows = Unreachable.objects.filter(address=_hash(email), at__gte=now - _REMEMBERED)
    return rows.values_list("at", flat=True).first()


def arrives_again(email: str) -> None:
    """Somebody used a link that was mailed there. Only inside `writing()`."""
    Unreachable.objects.filter(address=_hash(email)).delete()


def _failed(part: MIMEPart) -> bool:
    """Whether it says of a recipient that nothing more is tried (RFC 3464, 2.3.3 and 2.3.4)."""
    if part.get_content_type() != "message/delivery-status":
        return False
    return any(
        str(of_one.get("Action", "")).strip().lower() == "failed"
        and _FOR_GOOD.match(str(of_one.get("Status", "")).strip()) is not None
        for of_one in part.iter_parts()
    )


def _returned(part: MIMEPart) -> tuple[datetime, bytes] | None:
    """When the mail that came back was queued, and the hash of its address; None where it is not ours."""
    for headers in _headers(part):
        found = _OURS.fullmatch(str(headers.get("Message-ID", "")).strip())
        opened = _opened(found[1]) if found else None
        if opened is not None:
            return opened
    return None


def _headers(part: MIMEPart) -> Iterator[MIMEPart]:
    """Of the mail that came back: whole, cut off somewhere, or its headers alone."""
    if part.get_content_type() == "message/rfc822":
        yield from part.iter_parts()
    elif part.get_content_type() == "text/rfc822-headers":
        content = part.get_payload(decode=True)
        if isinstance(content, bytes):
            yield read_mail(content, headers_only=True)


def _opened(token: str) -> tuple[datetime, bytes] | None:
    try:
        content = base64.b32decode(token.upper() + "=" * (-len(token) % 8))
    except binascii.Error:
        return None
    said, mark = content[:-_MARK_BYTES], content[-_MARK_BYTES:]
    if not hmac.compare_digest(mark, _mark(said)):
        return None
    hour = int.from_bytes(said[:_HOUR_BYTES], "big")
    return datetime.fromtimestamp(hour * _HOUR, UTC), said[-_ADDRESS_BYTES:]


def _hash(email: str) -> bytes:
    return _keyed("address", email.lower().encode())[:_ADDRESS_BYTES]


def _mark(said: bytes) -> bytes:
    return _keyed("mark", said)[:_MARK_BYTES]


def _keyed(what: str, content: bytes) -> bytes:
    return hmac.digest(key_for(f"{_USE}/{what}"), content, hashlib.sha256)
