"""Fetches requests about data from a mailbox of the operator's, over IMAP and TLS.

    take_in_new(deployment)

Each unread message is handled as `muniment admin intake` does it, and marked as read once that is committed.
A process that dies in between finds it unread again, and the request knows the message. Reports about mails
of ours are for `bounces`. Nothing is deleted there. Marked as read and flagged, for a person to look at, is
what nobody is answered on: what is no request, one more mail of an address that was sent links enough today,
what could not be taken in three times.
"""

from __future__ import annotations

import imaplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any

from django.utils.crypto import salted_hmac

from muniment.server.deployment import Deployment
from muniment.server.logs import SERVICE
from muniment.server.mail.bounces import take_in_bounce
from muniment.server.mail.models import Stuck
from muniment.server.mail.postbox import Postbox, postbox
from muniment.server.privacy.gate.counterparts import standing_of_carrier
from muniment.server.privacy.requests.incoming import LinksEnough, NotARequest, take_in_mail
from muniment.server.transactions import writing

_SECONDS = 30
_AT_ONCE = 100
_MOST_BYTES = 256 * 1024
"""Of a message; what somebody asks stands before that."""
_SALT = "muniment.stuck-mail"
_TRIES = 3
_REMEMBERED = timedelta(days=7)
"""So long a message is known that could not be taken in, and that somebody took away meanwhile."""
_READ, _LEFT_TO_PEOPLE = r"(\Seen)", r"(\Seen \Flagged)"


class PostboxFailed(OSError):
    """The mail server said no, or nothing."""


def take_in_new(deployment: Deployment) -> int:
    """Take in what is unread; returns how many messages that were. Raises BadPostbox, PostboxFailed.

    Nobody is asked for mail whom the operator or the table of recipients does not name.
    """
    config = deployment.config
    if not config.imap_url:
        return 0
    where = postbox(config.imap_url)
    standing, _ = standing_of_carrier(where.host, where.port, data=config.data, now=deployment.now())
    if not standing.is_allowed:
        raise PostboxFailed(f"{where.host}:{where.port} is {standing.value}")
    done = 0
    with _open(where) as box:
        unread = _asked(box.uid("SEARCH", "UNSEEN", "UNFLAGGED"))[0] or b""
        for uid in unread.split()[:_AT_ONCE]:
            done += _take_in(box, uid.decode("ascii"), now=deployment.now())
    return done


def _take_in(box: imaplib.IMAP4, uid: str, *, now: datetime) -> int:
    """1, unless it is to be tried again: one that fails keeps no other waiting."""
    # PEEK: reading alone marks nothing.
    answer = _asked(box.uid("FETCH", uid, f"(BODY.PEEK[]<0.{_MOST_BYTES}>)"))
    content = next((part[1] for part in answer if isinstance(part, tuple)), None)
    if content is None:
        return 0  # somebody deleted it meanwhile
    try:
        marks = _handle(content, now=now)
    except Exception as error:
        SERVICE.warning("a mail could not be taken in", exc_info=error)
        if not _is_hopeless(content, now=now):
            return 0
        marks = _LEFT_TO_PEOPLE
    _asked(box.uid("STORE", uid, "+FLAGS", marks))
    return 1


def _handle(content: bytes, *, now: datetime) -> str:
    """How it is to be marked."""
    if take_in_bounce(content, now=now):
        return _READ
    try:
        take_in_mail(content, now=now)
    except NotARequest:
        return _LEFT_TO_PEOPLE
    except LinksEnough:
        SERVICE.warning("a mail was not answered: its sender's address was sent links enough for a day")
        return _LEFT_TO_PEOPLE
    return _READ


def _is_hopeless(content: bytes, *, now: datetime) -> bool:
    """Counts one more failure. Where the database fails nothing is counted, and no message is to blame."""
    with writing():
        Stuck.objects.filter(at__lt=now - _REMEMBERED).delete()
        mark = salted_hmac(_SALT, content, algorithm="sha256").digest()
        row, _ = Stuck.objects.get_or_create(mail=mark, defaults={"tries": 0, "at": now})
        row.tries, row.at = row.tries + 1, now
        row.save()
        return row.tries >= _TRIES


@contextmanager
def _open(where: Postbox) -> Iterator[imaplib.IMAP4]:
    try:
        box = imaplib.IMAP4_SSL(
            where.host, where.port, ssl_context=ssl.create_default_context(), timeout=_SECONDS
        )
        try:
            box.login(_quoted(where.user), where.password)
            _asked(box.select(_quoted(where.folder)))
            yield box
        finally:
            with suppress(imaplib.IMAP4.error, OSError):
                box.logout()
    except imaplib.IMAP4.error as error:
        raise PostboxFailed(str(error)) from error


def _asked(answer: tuple[str, list[Any]]) -> list[Any]:
    status, data = answer
    if status != "OK":
        raise PostboxFailed(f"the mail server answered {status}")
    return data


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
