"""Telling everybody of a version of the statement that is to come, and bringing it into force in time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from muniment.server.deployment import Deployment
from muniment.server.mail.messages import Message
from muniment.server.mail.send import send
from muniment.server.privacy.terms import MessageClass
from muniment.server.privacy.versions.in_force import NOTICE, Version
from muniment.server.privacy.versions.posting import give_notices, turn_versions


@dataclass(frozen=True)
class StatementChanges(Message):
    """`effective` is a date in words: in force on that day at the earliest."""

    message_class: ClassVar[MessageClass] = MessageClass.SERVICE
    subject: ClassVar[str] = "The privacy statement is going to change"
    template: ClassVar[str] = "mail/mail/statement_changes.txt"
    number: int
    effective: str
    changes: tuple[str, ...]
    path: str = "/privacy/history"


def advance_versions(deployment: Deployment) -> int:
    """Give notices that are owed, then turn versions whose time it is. Returns how many."""
    now = deployment.now()

    def tell(account: Any, version: Version) -> None:
        holds_at = max(version.effective_at, now + NOTICE)
        effective = f"{holds_at.day} {holds_at:%B %Y}"
        send(StatementChanges(version.number, effective, version.changes), to=account, now=now)

    return give_notices(tell, now=now) + turn_versions(now=now)
