"""A promotion, and the attempt to send it. Import only after Django is set up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from muniment.server.accounts.enrolment import find_account
from muniment.server.mail import messages
from muniment.server.mail.messages import Message
from muniment.server.mail.send import send
from muniment.server.privacy.terms import MessageClass
from muniment.server.transactions import writing


@dataclass(frozen=True)
class Offer(Message):
    message_class: ClassVar[MessageClass] = MessageClass.PROMOTION
    subject: ClassVar[str] = "An offer"
    template: ClassVar[str] = "mail/mail/request_done.txt"
    kind: str = "an offer"
    path: str = "/"


messages.MESSAGES.remove(Offer)  # it is no message of this release


def promote(email: str, *, now: datetime) -> bool:
    """Whether it was queued."""
    with writing():
        return send(Offer(), to=find_account(email), now=now)
