"""Sends what is queued, through the operator's mail server; without one, mails stay in the mailbox.

    deliver_due(deployment)

A mail that the server took is deleted at once. One that it refused is tried again, less and less often, for
three days. A server that is away, or lets nobody send, fails the job, which shows that and is tried again;
what was to be sent stays due. Mail has no pixel, loads nothing, and its links are the ones its text shows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from email.utils import format_datetime
from html import escape
from smtplib import SMTPDataError, SMTPNotSupportedError, SMTPRecipientsRefused

from django.core.mail import EmailMultiAlternatives
from django.core.mail.backends.smtp import EmailBackend
from django.db.models import Case, When

from muniment.server.deployment import Deployment
from muniment.server.logs import SERVICE
from muniment.server.mail.bounces import message_id
from muniment.server.mail.carrier import check_carrier
from muniment.server.mail.mail_server import BadMailUrl, mail_server
from muniment.server.mail.models import Mail
from muniment.server.mail.suppression import may_send_marketing
from muniment.server.privacy.statement import read_statement
from muniment.server.privacy.terms import MessageClass
from muniment.server.transactions import writing

_AT_ONCE = 100
_GIVEN_UP_AFTER = timedelta(days=3)
_KEPT_IN_MAILBOX = timedelta(days=7)
_ABOUT_THE_MAIL = (SMTPRecipientsRefused, SMTPDataError, SMTPNotSupportedError, ValueError)
"""An address or a text that the server does not take, or that cannot be written as a mail at all."""
_LINK = re.compile(r"https?://\S+")


def deliver_due(deployment: Deployment) -> int:
    """Send what is due; returns how many the server took. Without a mail server, drops what is a week old.

    Raises OSError, BadMailUrl: the mail server cannot be used, or could not be for one of the mails.
    """
    config = deployment.config
    if not config.smtp_url:
        with writing():
            old = deployment.now() - _KEPT_IN_MAILBOX
            Mail.objects.filter(queued_at__lt=old).delete()
        return 0
    due = _next_due(now=deployment.now())
    if not due:
        return 0
    try:
        backend = mail_server(config.smtp_url)
        check_carrier(backend, data=config.data, now=deployment.now())
        return _deliver_all(due, backend, sender=config.mail_from, now=deployment.now)
    except (OSError, BadMailUrl):
        _give_up(due, now=deployment.now())
        raise


def mail_is_due(deployment: Deployment) -> bool:
    return bool(deployment.config.smtp_url) and Mail.objects.filter(next_at__lte=deployment.now()).exists()


def _next_due(*, now: datetime) -> list[Mail]:
    """A letter to many keeps nobody waiting for the link that they sign in with."""
    is_service = Case(When(message_class=MessageClass.SERVICE.value, then=0), default=1)
    rows = Mail.objects.select_related("account").filter(next_at__lte=now)
    return list(rows.order_by(is_service, "id")[:_AT_ONCE])


def letter(row: Mail, *, sender: str) -> EmailMultiAlternatives:
    """The mail as it goes out: text, and the same as plain HTML."""
    domain = sender.rpartition("@")[2].rstrip("> ") or "localhost"
    headers = {
        "Date": format_datetime(row.queued_at),
        "Message-ID": message_id(row.to, queued_at=row.queued_at, domain=domain),
        "Auto-Submitted": "auto-generated",
    }
    if row.unsubscribe:
        headers["List-Unsubscribe"] = f"<{row.unsubscribe}>"
        headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    mail = EmailMultiAlternatives(row.subject, row.text, sender, [row.to], headers=headers)
    mail.attach_alternative(as_html(row.text), "text/html")
    return mail


def as_html(text: str) -> str:
    """The same words; addresses can be clicked, nothing is loaded, and where one comes from is not told."""
    parts, at = [], 0
    for found in _LINK.finditer(text):
        parts.append(escape(text[at : found.start()]))
        parts.append(f'<a href="{escape(found[0])}" rel="noreferrer">{escape(found[0])}</a>')
        at = found.end()
    parts.append(escape(text[at:]))
    body = "".join(f"<p>{part}</p>" for part in "".join(parts).replace("\n\n", "\0").split("\0"))
    head = '<!doctype html><html lang="en"><meta charset="utf-8">'
    return f"{head}<body>{body.replace(chr(10), '<br>')}</body></html>"


@contextmanager
def _open(backend: EmailBackend) -> Iterator[None]:
    backend.open()
    try:
        yield
    finally:
        backend.close()


def _deliver_all(due: list[Mail], backend: EmailBackend, *, sender: str, now: Callable[[], datetime]) -> int:
    """A connection that breaks at one mail is made anew for the next ones. Raises OSError at the end then."""
    sent, broke_at = 0, []
    failure: OSError | None = None
    with _open(backend):
        for row in due:
            try:
                sent += _deliver(row, backend, sender=sender, now=now())
            except OSError as error:  # every SMTP error is one
                failure = error
                broke_at.append(row)
                backend.close()
                backend.open()
    if failure is None:
        return sent
    if sent:  # then it is about these mails, which wait longer and longer
        _put_off(broke_at, now=now())
    raise failure


def _deliver(row: Mail, backend: EmailBackend, *, sender: str, now: datetime) -> int:
    """Raises OSError for what is not about this mail."""
    if not _is_wanted(row, now=now):
        with writing():
            row.delete()
        return 0
    try:
        taken = backend.send_messages([letter(row, sender=sender)])
    except _ABOUT_THE_MAIL as error:
        SERVICE.warning("the mail server refused a mail", exc_info=error)
        taken = 0
    if not taken:
        _put_off([row], now=now)
        return 0
    with writing():
        row.delete()
    return 1


def _is_wanted(row: Mail, *, now: datetime) -> bool:
    """Asked again now: what was wanted when it was queued may have been withdrawn since."""
    declared = read_statement().messages[MessageClass(row.message_class)]
    if not declared.opt_in:
        return True
    return may_send_marketing(row.to, row.account, purpose=declared.purpose, now=now)


def _put_off(rows: list[Mail], *, now: datetime) -> None:
    _give_up(rows, now=now)
    with writing():
        for row in rows:
            pause = min(timedelta(minutes=2**row.tries), timedelta(hours=6))
            Mail.objects.filter(pk=row.pk).update(tries=row.tries + 1, next_at=now + pause)


def _give_up(rows: list[Mail], *, now: datetime) -> None:
    """Delete those that are too old to be tried again."""
    with writing():
        old = Mail.objects.filter(pk__in=[row.pk for row in rows], queued_at__lte=now - _GIVEN_UP_AFTER)
        given_up, _ = old.delete()
    if given_up:
        SERVICE.warning("mails were given up after three days", extra={"count": given_up})
