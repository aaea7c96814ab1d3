"""What happens at a vault and could be somebody else's doing: its owner is written about it, in the same
transaction, once."""

from __future__ import annotations

import hashlib
import secrets
from uuid import UUID

import pytest

from muniment.server.deployment import Deployment
from muniment.server.mail.models import Mail
from muniment.server.refusals import Refusal
from muniment.server.transactions import writing
from muniment.server.vaults.confirmations import Operator, Owner, confirm, refuse, settle_confirmations
from muniment.server.vaults.events import record_event
from muniment.server.vaults.kinds import EventKind
from muniment.server.vaults.kits import open_kit_session, register_kit
from muniment.server.vaults.mails import TOLD
from muniment.server.vaults.models import Event, Vault
from muniment.server.vaults.revoking import revoke_own_device
from muniment.wire import messages as m
from tests.support.domain import Clock, Member


def told(member: Member) -> list[str]:
    """The names of the messages, oldest first."""
    rows = Mail.objects.filter(account=member.account)
    return list(rows.order_by("id").values_list("message", flat=True))


def newest(member: Member) -> Mail:
    return Mail.objects.filter(account=member.account).latest("id")


def vault_of(member: Member) -> Vault:
    return Vault.objects.get(ref=member.vault)


def asked(refusal: Refusal) -> UUID:
    return UUID(hex=str(refusal.request))


def with_keys(member: Member) -> str:
    """A passphrase and a kit, as the first device lists them; returns the kit's slot."""
    member.add_slot()
    return member.add_slot(kind="kit")


@pytest.mark.clause("P20", aspect="allowed")
def test_every_device_is_told_once(member: Member) -> None:
    assert told(member) == ["DeviceConnected"]
    member.beside()
    assert told(member) == ["DeviceConnected"] * 2
    mail = newest(member)
    assert (mail.message_class, mail.to, mail.unsubscribe) == ("service", member.account.email, "")


def test_the_keys_that_a_vault_begins_with_are_no_news_and_later_ones_are(member: Member) -> None:
    member.add_slot()
    assert told(member) == ["DeviceConnected"]
    member.add_slot(kind="kit")
    assert "a recovery kit" in newest(member).text
    member.add_slot()
    assert "a passphrase" in newest(member).text
    member.add_slot(kind="device", device=member.beside().device)
    assert told(member) == ["DeviceConnected", "KeyAdded", "KeyAdded", "DeviceConnected"]


def test_a_kit_that_is_used_is_told_once_an_hour(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    slot, credential = with_keys(member), secrets.token_bytes(32)
    digest = hashlib.sha256(credential).digest()
    register_kit(deployment, member.access(), m.RegisterKit(slot=slot, credential_hash=digest))
    for _ in range(3):
        open_kit_session(deployment, m.KitLogin(vault=member.vault, credential=credential))
    assert told(member).count("KitUsed") == 1
    clock.turn(hours=1)
    open_kit_session(deployment, m.KitLogin(vault=member.vault, credential=credential))
    assert told(member).count("KitUsed") == 2
    assert Event.objects.filter(vault__ref=member.vault, kind=EventKind.KIT_USED).count() == 4


def test_a_removal_is_told_when_asked_for_when_confirmed_and_when_done(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    slot = with_keys(member)
    before = len(told(member))
    request = asked(member.ask("remove_slot", slot, member.removal_of(slot)))
    member.ask("remove_slot", slot, member.removal_of(slot))
    assert "to remove a key" in newest(member).text
    confirm(deployment, request, by=Owner(member.account.pk))
    clock.turn(hours=72)
    settle_confirmations(deployment, vault_of(member))
    settle_confirmations(deployment, vault_of(member))
    assert told(member)[before:] == ["ConfirmationAsked", "KeyGoing", "KeyRemoved"]


def test_who_asks_again_and_again_does_not_fill_a_mailbox(deployment: Deployment, member: Member) -> None:
    slot = with_keys(member)
    for _ in range(3):
        request = asked(member.ask("remove_slot", slot, member.removal_of(slot)))
        refuse(deployment, request, by=Owner(member.account.pk))
    assert told(member).count("ConfirmationAsked") == 1


def test_what_the_operator_decides_is_told_with_the_reason(deployment: Deployment, member: Member) -> None:
    phone = member.beside()
    before = len(told(member))
    request = asked(member.ask("revoke_device", phone.device))
    confirm(deployment, request, by=Operator("The owner's telephone was stolen."))
    assert told(member)[before:] == ["ConfirmationAsked", "OperatorDecided", "DeviceDisconnected"]
    decided = Mail.objects.get(account=member.account, message="OperatorDecided")
    assert "Why: The owner's telephone was stolen." in decided.text
    assert "confirmed it in your place" in decided.text


def test_a_device_that_its_owner_ends_is_told_once_for_all_vaults(
    deployment: Deployment, member: Member, clock: Clock
) -> None:
    phone = member.beside()
    before = len(told(member))
    revoke_own_device(member.account.pk, UUID(hex=phone.device), now=clock())
    assert told(member)[before:] == ["DeviceDisconnected"]


def test_nothing_of_a_vault_is_in_a_mail(deployment: Deployment, member: Member) -> None:
    slot = with_keys(member)
    phone = member.beside()
    member.ask("remove_slot", slot, member.removal_of(slot))
    confirm(deployment, asked(member.ask("revoke_device", phone.device)), by=Operator("asked by telephone"))
    for mail in Mail.objects.filter(account=member.account):
        for secret in (member.vault, member.device, phone.device, slot, "a machine"):
            assert secret not in mail.text + mail.subject, mail.message


def test_a_mail_goes_only_with_what_it_tells(member: Member, clock: Clock) -> None:
    class Stopped(Exception):
        pass

    def stop() -> None:
        with writing():
            record_event(vault_of(member), EventKind.KIT_USED, now=clock(), slot="00")
            raise Stopped

    before = told(member)
    with pytest.raises(Stopped):
        stop()
    assert told(member) == before


def test_what_is_nobody_s_alarm_is_not_mailed(member: Member, clock: Clock) -> None:
    before = told(member)
    with writing():
        for kind in set(EventKind) - set(TOLD):
            record_event(vault_of(member), kind, now=clock())
    assert told(member) == before
