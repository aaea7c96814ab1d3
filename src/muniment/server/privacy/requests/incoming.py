"""Requests of people whom we do not know yet: from the public form, by mail, by post.

    ref = take_in(Kind.ERASE, channel=Channel.MAIL, email="…", now=now)    # a link goes to the address
    confirm_link(token, kind=Kind.ERASE, now=now)                          # whoever opened it reads its mail

Anybody can write any address into a form or onto a mail. So nothing is done before the link that was mailed
there is used; the clock of ten days runs all the same, from receipt. Nothing about links is stored: one dies
when its request is verified or closed, or its account has another address.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from email.errors import MessageError
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import EmailPolicy
from email.utils import parseaddr
from typing import Any, cast
from uuid import UUID

from django.utils.crypto import constant_time_compare, salted_hmac

from muniment.server.privacy.ports import Told, notify
from muniment.server.privacy.requests.clock import link_dies_at
from muniment.server.privacy.requests.machine import (
    WORDS,
    NamesNobody,
    NoSuchRequest,
    account_of,
    open_request,
    says_whose,
    verify_request,
)
from muniment.server.privacy.requests.models import Channel, Kind, Request, TakenIn
from muniment.server.transactions import writing

ASKED_FROM_OUTSIDE = (Kind.ACCESS, Kind.RECTIFY, Kind.ERASE, Kind.RESTRICT, Kind.PUBLIC_REMOVAL)
"""Objections name a purpose, and copies are handed over signed in: both are on `/requests`."""
NEEDS_WORDS = frozenset({Kind.RECTIFY, Kind.PUBLIC_REMOVAL})
"""Of the others nothing is kept that people wrote: their kind says it all."""
MOST_WORDS = 4000

BROKEN_MAIL = (
    MessageError, ValueError, LookupError, AttributeError, IndexError, TypeError, RecursionError
)  # fmt: skip
"""What the parser of the standard library raises for headers that are no headers; the last for parts within
parts within parts."""

_MOST_HEADER = 998
"""Characters, folded lines together. The parser of the standard library takes time by the square of it."""
_MOST_TEXT = 16 * MOST_WORDS
"""Of a body, before its tags are taken out."""

_SALT = "muniment.request-link"
_MAIL_SALT = "muniment.request-mail"
_LINKS_A_DAY = 3
"""To one address, for mails: anybody can write any sender onto one."""
_REMEMBERED = timedelta(days=90)
"""So long a mail that is handed over again is recognised."""
_TOLD_BY = (
    (Kind.PUBLIC_REMOVAL, re.compile(r"\b(blog|forum|testimonial|public|post(?:ed|ing)?)\b", re.I)),
    (Kind.ERASE, re.compile(r"\b(delet\w*|eras\w*|remov\w*|forget|cancel\w*|close my account)\b", re.I)),
    (Kind.RECTIFY, re.compile(r"\b(correct\w*|rectif\w*|chang\w*|modif\w*|updat\w*|wrong)\b", re.I)),
    (Kind.RESTRICT, re.compile(r"\b(restrict\w*|stop\w*|no longer|object\w*|unsubscribe|opt.out)\b", re.I)),
)  # fmt: skip


class LinkDead(Exception):
    """Not ours, used, or too old: the page says the same of all."""


class NotARequest(Exception):
    """A mail that nobody can be answered on: no sender, an automatic one, or no mail at all."""


class LinksEnough(Exception):
    """The address was sent as many links as go to one in a day. The mail is counted, not answered."""


class _BoundedHeaders(EmailPolicy):
    """Reads headers only that are as long as people's are. Those that nobody asks for may have any length."""

    def header_fetch_parse(self, name: str, value: str) -> Any:
        """Raises MessageError."""
        if len(value) > _MOST_HEADER:
            raise MessageError(name)
        return super().header_fetch_parse(name, value)


def read_mail(content: bytes, *, headers_only: bool = False) -> EmailMessage:
    """Reading a header that is too long raises MessageError."""
    parser = BytesParser(policy=_BoundedHeaders())
    return cast(EmailMessage, parser.parsebytes(content, headersonly=headers_only))


def take_in(
    kind: Kind,
    *,
    channel: Channel,
    email: str,
    now: datetime,
    details: Mapping[str, str] | None = None,
    received_at: datetime | None = None,
) -> UUID:
    """Open the request, and mail its link to the address, if there is one. Only inside `writing()`.

    An open one of the same kind and address that waits for its link is mailed again instead of doubled.
    ValueError: `received_at` (see `open_request`).
    """
    email = email.strip().lower()
    unverified = Request.objects.filter(email=email, kind=kind, closed_at=None, verified_at=None)
    waiting = unverified.select_related("subject").order_by("-received", "-id").first()
    if waiting is not None and not _link_lives(waiting, kind, now=now):
        waiting = None
    if email and waiting is not None and dict(waiting.details) == dict(details or {}):
        ref = waiting.ref
    else:
        ref = open_request(
            kind, channel=channel, email=email, now=now, subject=account_of(email), details=details,
            received_at=received_at,
        )  # fmt: skip
    mail_link(Request.objects.get(ref=ref), now=now)
    return ref


def mail_link(row: Request, *, now: datetime) -> None:
    """To the address on it, if there is one: whoever opens it reads mail there. Only inside `writing()`."""
    about = {"kind": Kind(row.kind).label, "due_at": row.due_at, "path": f"/privacy/request/{link_of(row)}"}
    notify(Told.VERIFY, email=row.email, about=about, now=now)


def take_in_mail(content: bytes, *, now: datetime) -> UUID:
    """A mail as it came in (RFC 5322). What it asks is guessed; who opens the link says what it is.

    The same mail again (by its Message-ID and sender) is the same request. Raises NotARequest, LinksEnough.
    """
    try:
        mail = read_mail(content)
        email = _sender(mail)
        known_by = _storable(str(mail.get("Message-ID", ""))).strip() or hashlib.sha256(content).hexdigest()
        words = _storable(f"{mail['Subject'] or ''}\n\n{_text(mail)}").strip()[:MOST_WORDS]
    except BROKEN_MAIL as error:
        raise NotARequest from error
    kind = guess_kind(words)
    mark = salted_hmac(_MAIL_SALT, f"{known_by}\0{email}", algorithm="sha256").digest()
    with writing():
        TakenIn.objects.filter(at__lt=now - _REMEMBERED).delete()
        before = TakenIn.objects.select_related("request").filter(mail=mark).first()
        if before is None:
            ref = _take_in_new(kind, email=email, words=words, now=now)
            request = None if ref is None else Request.objects.get(ref=ref)
            TakenIn.objects.create(mail=mark, request=request, at=now)
        else:
            ref = None if before.request is None else before.request.ref
    if ref is None:
        raise LinksEnough
    return ref


def _take_in_new(kind: Kind, *, email: str, words: str, now: datetime) -> UUID | None:
    """None where the address was sent links enough."""
    sent = TakenIn.objects.filter(request__email=email, at__gt=now - timedelta(days=1)).count()
    if sent >= _LINKS_A_DAY:
        return None
    return take_in(kind, channel=Channel.MAIL, email=email, now=now, details=details_of(kind, words))


def details_of(kind: Kind, words: str) -> dict[str, str]:
    """What is kept of the words of a request."""
    return {WORDS: words} if kind in NEEDS_WORDS and words else {}


def guess_kind(words: str) -> Kind:
    """What a mail probably asks: to see what is held, where nothing else is found."""
    return next((kind for kind, told in _TOLD_BY if told.search(words)), Kind.ACCESS)


def link_of(row: Request) -> str:
    """The token of the link that shows that somebody reads mail at the request's address."""
    return f"{row.ref.hex}-{_mark(row)}"


def open_link(token: str, *, now: datetime, kind: Kind | None = None) -> Request:
    """The request that waits for this link; `kind` if the person says that it is another. Raises LinkDead."""
    name, _, mark = token.partition("-")
    try:
        row = (
            Request.objects.select_related("subject")
            .filter(ref=UUID(hex=name), closed_at=None, verified_at=None)
            .first()
        )
    except ValueError as error:
        raise LinkDead from error
    if row is None or not constant_time_compare(mark, _mark(row)):
        raise LinkDead
    if not all(_link_lives(row, one, now=now) for one in {Kind(row.kind), kind or Kind(row.kind)}):
        raise LinkDead
    return row


def _link_lives(row: Request, kind: Kind, *, now: datetime) -> bool:
    return says_whose(row) and now < link_dies_at(kind, received_at=row.received_at)


def confirm_link(token: str, *, kind: Kind, now: datetime) -> Request:
    """It was they who asked, and `kind` is what they want. Raises LinkDead, also the second time."""
    with writing():
        row = open_link(token, now=now, kind=kind)
        try:
            return verify_request(row.ref, now=now, kind=kind)
        except (NoSuchRequest, NamesNobody) as error:  # since the link was looked at
            raise LinkDead from error


def _mark(row: Request) -> str:
    return salted_hmac(_SALT, f"{row.ref.hex}\0{row.email}", algorithm="sha256").hexdigest()[:32]


def _sender(mail: EmailMessage) -> str:
    """Whom to answer. Programs that answer by themselves are not answered: RFC 3834."""
    automatic = str(mail.get("Auto-Submitted", "no")).strip().lower() not in ("", "no")
    if automatic or str(mail.get("Return-Path", "")).strip() == "<>":
        raise NotARequest
    _, address = parseaddr(str(mail.get("From", "")))
    local, at, domain = address.rpartition("@")
    if not (local and at and domain) or len(address) > 254:
        raise NotARequest
    if re.search(r"[\s<>,;\x00-\x1f]", address) or address != _storable(address):
        raise NotARequest
    return address


def _text(mail: EmailMessage) -> str:
    body = mail.get_body(("plain", "html"))
    if body is None:
        return ""
    said = str(body.get_content())[:_MOST_TEXT]
    return re.sub(r"<[^<>]*>", " ", said) if body.get_content_subtype() == "html" else said


def _storable(text: str) -> str:
    """PostgreSQL keeps neither a NUL nor half of a pair of surrogates, which UTF-7 can hold."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()
