"""What people ask on a page, where we know who they are: verified at once, run at once where it can."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Protocol
from uuid import UUID

from muniment.server.deployment import Deployment
from muniment.server.privacy.export import export_archive
from muniment.server.privacy.ledger.entries import Subject
from muniment.server.privacy.purposes import Purpose, purpose
from muniment.server.privacy.requests.machine import (
    fulfil_request,
    open_request,
    requests_of,
    run_request,
    take_back,
    verify_request,
)
from muniment.server.privacy.requests.models import Channel, Kind, Request
from muniment.server.privacy.statement import read_statement
from muniment.server.transactions import writing


class Asker(Subject, Protocol):
    """An account."""

    email: str


def ask(
    deployment: Deployment, asker: Asker, kind: Kind, *, details: Mapping[str, str] | None = None
) -> UUID:
    """Take the request in as verified and run it if that needs nobody. An open one of the same kind and
    details is answered with its own ref: asking twice is asking once.
    """
    for row in requests_of(asker):
        is_open = row.closed_at is None and row.verified_at is not None
        if is_open and row.kind == kind and row.details == dict(details or {}):
            return row.ref
    now = deployment.now()
    with writing():
        ref = open_request(
            kind, channel=Channel.PAGE, email=asker.email, now=now, subject=asker, details=details
        )
        verify_request(ref, now=now)
    if kind in (Kind.RESTRICT, Kind.OBJECT, Kind.RECTIFY):
        run_request(deployment, ref)
    return ref


def take_export(deployment: Deployment, asker: Asker) -> Iterator[bytes]:
    """The archive of everything held about the account, as it is sent; that it was asked for is recorded."""
    now = deployment.now()
    with writing():
        ref = open_request(Kind.EXPORT, channel=Channel.PAGE, email=asker.email, now=now, subject=asker)
        verify_request(ref, now=now)
        fulfil_request(ref, now=now)
    return export_archive(asker.pk, read_statement(), now=now)


def change_mind(deployment: Deployment, asker: Asker, ref: UUID) -> None:
    """Raises NoSuchRequest; TooLate once an erasure runs."""
    with writing():
        take_back(ref, subject=asker, now=deployment.now())


@purpose(Purpose.REQUESTS)
def erasure_time(asker: Asker) -> datetime | None:
    """When the account and all that is its own will be deleted; None where nobody asked."""
    row = waiting_erasure(asker)
    return None if row is None else row.runs_at


def waiting_erasure(asker: Asker) -> Request | None:
    """The erasure of the account that will run; one that nobody verified is none yet."""
    open_rows = [row for row in requests_of(asker) if row.closed_at is None and row.verified_at is not None]
    rows = [row for row in open_rows if row.kind == Kind.ERASE]
    return rows[0] if rows else None
