"""Fetches requests about data from a mailbox of the operator's, over IMAP and TLS.

    take_in_new(deployment)

Each unread message is handled as `muniment admin intake` does it, and marked as read once that is committed.
A process that dies in between finds it unread again, and the request knows the message. What is no request is
marked as read and flagged, for a person to look at. Nothing is deleted there.
"""

from __future__ import annotations

import imaplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

from muniment.server.deployment import Deployment
from muniment.server.logs import SERVICE
from muniment.server.mail.postbox import Postbox, postbox
from muniment.server.privacy.gate.counterparts import standing_of_carrier
from muniment.server.privacy.requests.incoming import NotARequest, take_in_mail

_SECONDS = 30
_AT_ONCE = 100
_MOST_BYTES = 256 * 1024
"""Of a message; what somebody asks stands before that."""
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
        for uid in (_asked(box.uid("SEARCH", "UNSEEN"))[0] or b"").split()[:_AT_ONCE]:
            try:
                _take_in(box, uid.decode("ascii"), now=deployment.now())
            except (imaplib.IMAP4.error, OSError):
                raise
            except Exception as error:  # this one is tried again; it keeps no other waiting
                SERVICE.warning("a mail could not be taken in", exc_info=error)
            else:
                done += 1
    return done


def _take_in(box: imaplib.IMAP4, uid: str, *, now: datetime) -> None:
    # PEEK: reading alone marks nothing.
    answer = _asked(box.uid("FETCH", uid, f"(BODY.PEEK[]<0.{_MOST_BYTES}>)"))
    content = next((part[1] for part in answer if isinstance(part, tuple)), None)
    if content is None:
        return  # somebody deleted it meanwhile
    try:
        take_in_mail(content, now=now)
    except NotARequest:
        _asked(box.uid("STORE", uid, "+FLAGS", _LEFT_TO_PEOPLE))
    else:
        _asked(box.uid("STORE", uid, "+FLAGS", _READ))


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
