"""Sends messages. So far into `DATA/mailbox`, one file each."""

from __future__ import annotations

import os
import secrets
from dataclasses import asdict
from datetime import datetime
from email.message import EmailMessage
from typing import Protocol

from django.template.loader import render_to_string

from muniment.server.mail.messages import Message
from muniment.server.web.context import deployment


class HasAddress(Protocol):
    """An account."""

    email: str


def send(message: Message, *, to: HasAddress | str, now: datetime) -> None:
    """Called in the transaction of what it tells about."""
    email = to if isinstance(to, str) else to.email
    mail = EmailMessage()
    mail["To"], mail["Subject"], mail["Date"] = email, message.subject, now
    mail["X-Muniment-Class"] = message.message_class.value
    context = {**asdict(message), "site": deployment().url, "to": email}
    mail.set_content(render_to_string(message.template, context))
    folder = deployment().config.data / "mailbox"
    folder.mkdir(mode=0o700, exist_ok=True)
    name = folder / f"{now:%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}.eml"
    temporary = name.with_suffix(".part")
    temporary.write_bytes(bytes(mail))
    os.replace(temporary, name)
