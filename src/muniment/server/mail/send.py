"""The one way to write to people: queued in the transaction of what a message tells about, and sent after.

    send(PasswordChanged(), to=account, now=now)

So nothing is told that did not happen, and what happened is told even if the process dies in between.
Marketing goes only to accounts that said yes to its class, and is asked again when it is sent.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.template import Context
from django.template.loader import get_template

from muniment.server.mail.messages import Message
from muniment.server.mail.models import Mail
from muniment.server.mail.suppression import may_send_marketing, unsubscribe_token
from muniment.server.privacy.ledger.entries import record
from muniment.server.privacy.ledger.kinds import Kind
from muniment.server.privacy.purposes import Purpose, purpose
from muniment.server.privacy.statement import read_statement
from muniment.server.privacy.terms import MessageClass
from muniment.server.web.context import site_url

_CLAUSES = {MessageClass.SERVICE: "P47"}
_OTHERS = "P20"


@purpose(Purpose.SERVICE_MAIL)
def send(message: Message, *, to: AbstractBaseUser | str, now: datetime, caused_by: Any = None) -> bool:
    """Queue the message; False where it is marketing that nobody asked for. Only inside `writing()`.

    `to` is an account, or an address: then the mail belongs to the account that has the address, if one does.
    `caused_by`: an account, where somebody else caused it; unsent, it goes with theirs, too.
    """
    account: Any = _account_of(to) if isinstance(to, str) else to
    email = to if isinstance(to, str) else account.email
    declared = read_statement().messages[message.message_class]
    if declared.opt_in and not may_send_marketing(email, account, purpose=declared.purpose, now=now):
        return False
    site = site_url()
    unsubscribe = f"{site}/unsubscribe/{unsubscribe_token(email)}" if declared.opt_in else ""
    context = {**asdict(message), "site": site, "to": email, "unsubscribe": unsubscribe}  # type: ignore[call-overload]
    Mail.objects.create(
        account=account, caused_by=caused_by, to=email,
        message=type(message).__name__, message_class=declared.name.value,
        subject=message.headline, text=_with_foot(_plain(message.template, context), unsubscribe),
        unsubscribe=unsubscribe, queued_at=now, next_at=now,
    )  # fmt: skip
    record(
        Kind.MAIL_QUEUED, clause=_CLAUSES.get(message.message_class, _OTHERS), now=now, subject=account,
        payload={"class": declared.name.value, "message": type(message).__name__},
    )  # fmt: skip
    return True


def _plain(template: str, context: dict[str, Any]) -> str:
    """Text, in which an apostrophe is one; the HTML that is made of it escapes."""
    source: Any = get_template(template)
    return str(source.template.render(Context(context, autoescape=False)))


def _with_foot(text: str, unsubscribe: str) -> str:
    return (
        f"{text.rstrip()}\n\n--\nYou asked for this. Not any more: {unsubscribe}\n" if unsubscribe else text
    )


def _account_of(email: str) -> Any:
    return get_user_model()._default_manager.with_address(email).first()
