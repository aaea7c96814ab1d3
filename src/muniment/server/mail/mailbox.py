"""Mails that wait, as somebody reads them who has no mail server."""

from __future__ import annotations

from muniment.server.mail.models import Mail

_SHOWN = 50


def newest_mails(*, to: str = "") -> list[Mail]:
    """Newest first; all, or those to one address."""
    rows = Mail.objects.order_by("-id")
    return list((rows.filter(to__iexact=to) if to else rows)[:_SHOWN])
