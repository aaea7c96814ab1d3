"""Sessions: a device's visit to a vault. Hard life of seven days, ends earlier in silence."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID, uuid4

from django.db.models import Max, QuerySet

from muniment.server.accounts.models import Device
from muniment.server.deployment import Deployment
from muniment.server.refusals import Refusal, not_granted
from muniment.server.transactions import writing
from muniment.server.vaults.access import Access, lock_vault
from muniment.server.vaults.events import record_event
from muniment.server.vaults.heads import newest_heads
from muniment.server.vaults.kinds import EventKind
from muniment.server.vaults.models import UNSETTLED_SQL, IndexPack, Pack, PackState, Session, Vault
from muniment.server.vaults.rates import DAY, check_rate
from muniment.server.vaults.refs import seconds
from muniment.wire import messages as m
from muniment.wire.errors import ErrorCode


def open_session(deployment: Deployment, access: Access, request: m.OpenSession) -> m.SessionOpened:
    """A new session and what is new since the caller's cursor."""
    config, now, vault = deployment.config, deployment.now(), access.vault
    if request.purpose == "backup" and access.device is None:
        raise not_granted("a recovery kit may only read")
    with writing():
        lock_vault(vault)
        _check_visits(deployment, access, now=now)
        session = Session.objects.create(
            ref=uuid4(),
            vault=vault,
            device=access.device,
            kit=access.kit,
            purpose=request.purpose,
            client_version=request.client_version,
            opened_at=now,
            alive_at=now,
            ends_at=now + timedelta(seconds=config.session_life),
            pinned_up_to=Pack.objects.aggregate(newest=Max("id"))["newest"] or 0,
        )
        if access.device is not None:
            Device.objects.filter(pk=access.device.pk).update(last_seen_at=now)
        if request.purpose == "restore":
            record_event(vault, EventKind.RESTORE_OPENED, now=now, device=access.device)
    fresh = Vault.objects.get(pk=vault.pk)
    cursor, index_packs = _index_packs_after(vault, request.cursor)
    return m.SessionOpened(
        session=session.ref.hex,
        expires_at=seconds(session.ends_at),
        heartbeat_seconds=max(1, int(config.heartbeat)),
        server_time=seconds(now),
        allowance=fresh.allowance,
        used=fresh.used,
        pending_cap=config.pending_cap,
        cursor=cursor,
        index_packs=index_packs,
        quarantined=quarantined_packs(vault),
        tombstones=[],
        heads=newest_heads(deployment, vault),
    )


def _check_visits(deployment: Deployment, access: Access, *, now: datetime) -> None:
    """Sessions are rows, and a restore's an event too: only so many a day."""
    lately = _own(access).filter(opened_at__gt=now - DAY).order_by("-opened_at")
    check_rate(lately.values_list("opened_at", flat=True), most=deployment.config.visits, now=now)


def quarantined_packs(vault: Vault) -> list[str]:
    found = Pack.objects.filter(vault=vault, state=PackState.QUARANTINED).extra(where=[UNSETTLED_SQL])
    return [ref.hex for ref in found.values_list("ref", flat=True)]


def _index_packs_after(vault: Vault, cursor: int) -> tuple[int, list[m.IndexPackInfo]]:
    infos = []
    for row in IndexPack.objects.select_related("pack").filter(vault=vault, id__gt=cursor).order_by("id"):
        cursor, covers = row.id, bytes(row.covers)
        if row.pack.state == PackState.LIVE:
            infos.append(
                m.IndexPackInfo(
                    pack=row.pack.ref.hex,
                    epoch=row.pack.epoch,
                    size=row.pack.size,
                    covers=[covers[at : at + 16].hex() for at in range(0, len(covers), 16)],
                )
            )
    return cursor, infos


def heartbeat(deployment: Deployment, access: Access, ref: UUID) -> m.SessionAlive:
    now = deployment.now()
    session = live_session(deployment, access, ref, now=now)
    with writing():
        Session.objects.filter(pk=session.pk).update(alive_at=now)
    return m.SessionAlive(expires_at=seconds(session.ends_at), server_time=seconds(now))


def close_session(deployment: Deployment, access: Access, ref: UUID) -> None:
    """End the session; nothing happens when it is over already."""
    now = deployment.now()
    with writing():
        _own(access).filter(ref=ref, closed_at=None).update(closed_at=now)


def live_session(deployment: Deployment, access: Access, ref: UUID, *, now: datetime) -> Session:
    """The caller's session, or SESSION_EXPIRED. Unknown, foreign and expired ones are refused alike."""
    session = _own(access).filter(ref=ref).first()
    if session is None or has_ended(deployment, session, now=now):
        raise session_over()
    return session


def session_over() -> Refusal:
    return Refusal(
        ErrorCode.SESSION_EXPIRED,
        "the session is over",
        advice="Open a new one; packs that were acknowledged stay.",
    )


def live_backup_session(deployment: Deployment, access: Access, ref: UUID, *, now: datetime) -> Session:
    session = live_session(deployment, access, ref, now=now)
    if session.purpose != Session.Purpose.BACKUP:
        raise not_granted("a restore session may only read")
    return session


def has_ended(deployment: Deployment, session: Session, *, now: datetime) -> bool:
    silence = timedelta(seconds=deployment.config.session_silence)
    return session.closed_at is not None or session.ends_at <= now or session.alive_at + silence <= now


def _own(access: Access) -> QuerySet[Session]:
    return Session.objects.filter(vault=access.vault, device=access.device, kit=access.kit)
