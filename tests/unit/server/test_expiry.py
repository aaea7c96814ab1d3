"""What the statement keeps for days is gone after these days, and nothing else is."""

from __future__ import annotations

import hashlib
import secrets
from uuid import UUID

from muniment.server.accounts.models import EnrolmentCode
from muniment.server.deployment import Deployment
from muniment.server.privacy.retention.models import Sweep
from muniment.server.privacy.retention.sweep import sweep_once
from muniment.server.vaults.kits import open_kit_session, register_kit
from muniment.server.vaults.models import KitToken, Pack, Session, Snapshot
from muniment.server.vaults.reading import open_pack
from muniment.server.vaults.sessions import close_session
from muniment.wire import messages as m
from tests.support.domain import Clock, Member


def forget_expired(deployment: Deployment) -> None:
    """The sweep of the day, whatever day other tests have swept."""
    Sweep.objects.all().delete()
    sweep_once(deployment)


def test_sessions_tokens_and_codes_are_forgotten_in_time(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    pack = member.put()
    member.commit(member.draft([pack]))
    close_session(deployment, member.access(), UUID(hex=member.session))
    slot, credential = member.add_slot(kind="kit"), secrets.token_bytes(32)
    kit = m.RegisterKit(slot=slot, credential_hash=hashlib.sha256(credential).digest())
    register_kit(deployment, member.access(), kit)
    open_kit_session(deployment, m.KitLogin(vault=member.vault, credential=credential))
    sessions = Session.objects.filter(vault__ref=member.vault)
    tokens = KitToken.objects.filter(kit__slot__vault__ref=member.vault)
    codes = EnrolmentCode.objects.filter(account=member.account)
    assert (sessions.count(), tokens.count(), codes.count()) == (1, 1, 1)
    clock.turn(days=29, hours=23)
    forget_expired(deployment)
    assert (sessions.count(), tokens.count(), codes.count()) == (1, 1, 1)
    clock.turn(hours=2)
    forget_expired(deployment)
    assert (sessions.count(), tokens.count(), codes.count()) == (0, 1, 0)
    clock.turn(days=1)
    forget_expired(deployment)
    assert tokens.count() == 0
    assert Pack.objects.get(ref=pack).session_id is not None, "a number that points nowhere"
    assert Snapshot.objects.filter(vault__ref=member.vault).count() == 1
    opened = open_pack(deployment, member.access(), UUID(hex=pack))
    opened.reader.close()
    assert opened.size == 65536


def test_an_open_session_is_kept(deployment: Deployment, member: Member, clock: Clock) -> None:
    member.open_session()
    clock.turn(hours=12)
    forget_expired(deployment)
    assert Session.objects.filter(vault__ref=member.vault).count() == 1
