"""What people are told about their requests: the notifier that the privacy package calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from muniment.server.mail.messages import Message
from muniment.server.mail.send import send
from muniment.server.privacy.ports import Told
from muniment.server.privacy.terms import MessageClass


@dataclass(frozen=True)
class _RequestMessage(Message):
    message_class: ClassVar[MessageClass] = MessageClass.SERVICE
    kind: str = ""
    reason: str = ""
    due: str = ""
    runs: str = ""
    path: str = "/requests"


@dataclass(frozen=True)
class VerifyRequest(_RequestMessage):
    subject: ClassVar[str] = "Was it you who asked?"
    template: ClassVar[str] = "mail/mail/request_verify.txt"


@dataclass(frozen=True)
class RequestReceived(_RequestMessage):
    subject: ClassVar[str] = "We have your request"
    template: ClassVar[str] = "mail/mail/request_received.txt"


@dataclass(frozen=True)
class RequestRefused(_RequestMessage):
    subject: ClassVar[str] = "We cannot do what you asked, and why"
    template: ClassVar[str] = "mail/mail/request_refused.txt"


@dataclass(frozen=True)
class RequestDone(_RequestMessage):
    subject: ClassVar[str] = "What you asked is done"
    template: ClassVar[str] = "mail/mail/request_done.txt"


@dataclass(frozen=True)
class RequestTakenBack(_RequestMessage):
    subject: ClassVar[str] = "Your request was taken back"
    template: ClassVar[str] = "mail/mail/request_taken_back.txt"


@dataclass(frozen=True)
class ErasureDone(_RequestMessage):
    subject: ClassVar[str] = "Everything is deleted: your receipt"
    template: ClassVar[str] = "mail/mail/erasure_done.txt"


@dataclass(frozen=True)
class DataDisclosed(_RequestMessage):
    subject: ClassVar[str] = "We had to hand over data about you"
    template: ClassVar[str] = "mail/mail/data_disclosed.txt"


@dataclass(frozen=True)
class SuccessionComing(_RequestMessage):
    """`kind` is who takes over, `due` from when on."""

    subject: ClassVar[str] = "Somebody is going to take over this service"
    template: ClassVar[str] = "mail/mail/succession_coming.txt"


@dataclass(frozen=True)
class DataBreached(Message):
    """What GDPR, article 34, wants people to be told."""

    message_class: ClassVar[MessageClass] = MessageClass.SERVICE
    subject: ClassVar[str] = "Data about you got out"
    template: ClassVar[str] = "mail/mail/data_breached.txt"
    noticed: str
    happened: str
    data: tuple[str, ...]
    consequences: str
    measures: str
    path: str

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> DataBreached:
        said = {name: about[name] for name in ("happened", "data", "consequences", "measures", "path")}
        return cls(noticed=_moment(about["noticed_at"]), **said)


_MESSAGES = {
    Told.SUCCESSION: SuccessionComing,
    Told.DISCLOSED: DataDisclosed,
    Told.VERIFY: VerifyRequest,
    Told.RECEIVED: RequestReceived,
    Told.REFUSED: RequestRefused,
    Told.DONE: RequestDone,
    Told.TAKEN_BACK: RequestTakenBack,
    Told.ERASED: ErasureDone,
}


class RequestMail:
    def notify(self, what: Told, *, email: str, about: Mapping[str, Any], now: datetime) -> None:
        if what is Told.BREACHED:
            send(DataBreached.of(about), to=email, now=now)
            return
        runs_at = about.get("runs_at")
        message = _MESSAGES[what](
            kind=about.get("kind", ""),
            reason=about.get("reason", ""),
            due=_day(about.get("due_at")),
            runs=_moment(runs_at if runs_at and runs_at > now else None),  # else there is no time to think
            path=about.get("path", "/requests"),
        )
        send(message, to=email, now=now)


def _day(at: datetime | None) -> str:
    return "" if at is None else f"{at:%-d %B %Y}"


def _moment(at: datetime | None) -> str:
    return "" if at is None else f"{at:%-d %B %Y, %H:%M} UTC"
