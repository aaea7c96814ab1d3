"""What only the owner may set going. A device asks; the owner, signed in afresh, confirms; delays apply.

    pending → confirmed → done            remove_slot: done after the delay, undoable until then
    pending → done                        revoke_device: acts at once
    pending → lapsed | undone             nobody confirmed in time; the owner refused
    confirmed → undone

No function here that confirms can be reached with a device's or kit's token.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID, uuid4

import msgspec

from muniment.server.accounts.models import Device
from muniment.server.deployment import Deployment
from muniment.server.refusals import Refusal, malformed, not_found
from muniment.server.transactions import writing
from muniment.server.vaults.access import Access, check_still_welcome
from muniment.server.vaults.events import EventKind, record_event
from muniment.server.vaults.models import Confirmation, Grant, Slot, Vault
from muniment.server.vaults.refs import parse_ref, seconds, seconds_or_none
from muniment.wire import messages as m
from muniment.wire.errors import ErrorCode

Action, State = Confirmation.Action, Confirmation.State
_OPEN = (State.PENDING, State.CONFIRMED)


class NotPending(Exception):
    """The request is unknown, or no longer waits."""


def ask_confirmation(deployment: Deployment, access: Access, request: m.AskConfirmation) -> Refusal:
    """Record the request, once while it is open. Returns the answer: the owner must confirm."""
    subject, now = parse_ref(request.subject), deployment.now()
    removal = _check_removal(access.vault, request)
    with writing():
        check_still_welcome(access)
        row = Confirmation.objects.filter(
            vault=access.vault, action=request.action, subject_ref=subject, state__in=_OPEN
        ).first()
        if row is None:
            _check_subject(access.vault, request.action, subject)
            row = Confirmation.objects.create(
                ref=uuid4(),
                vault=access.vault,
                action=request.action,
                subject_ref=subject,
                removal=removal,
                asked_by=access.writer,
                asked_at=now,
            )
            record_event(
                access.vault,
                EventKind.CONFIRMATION_ASKED,
                now=now,
                device=access.device,
                action=request.action,
                subject=request.subject,
                request=row.ref.hex,
            )
    return Refusal(
        ErrorCode.NEEDS_CONFIRMATION,
        "the owner must confirm this",
        request=row.ref.hex,
        advice="Confirm it in the portal, or have the operator run `muniment admin confirm`.",
    )


def _check_removal(vault: Vault, request: m.AskConfirmation) -> bytes | None:
    """The encoded removal record, which must be of this vault and slot (its MAC is for key holders)."""
    if request.action != "remove_slot":
        if request.removal is not None:
            raise malformed("only remove_slot carries a removal record")
        return None
    if request.removal is None:
        raise malformed("remove_slot needs the removal record")
    try:
        record = msgspec.msgpack.decode(request.removal.record, type=m.RemovalRecord)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise malformed("the removal record does not parse") from error
    if (record.vault, record.slot) != (vault.ref.hex, request.subject):
        raise malformed("the removal record is of another slot")
    return msgspec.msgpack.encode(request.removal)


def _check_subject(vault: Vault, action: str, subject: UUID) -> None:
    if action == Action.REVOKE_DEVICE:
        if not Grant.objects.filter(vault=vault, device__ref=subject, device__revoked_at=None).exists():
            raise not_found("device")
        return
    slot = Slot.objects.filter(vault=vault, ref=subject, withheld_at=None).exclude(kind="").first()
    if slot is None:
        raise not_found("slot")
    going = Confirmation.objects.filter(vault=vault, action=Action.REMOVE_SLOT, state=State.CONFIRMED)
    others = Slot.objects.filter(vault=vault, withheld_at=None).exclude(kind="").exclude(pk=slot.pk)
    others = others.exclude(ref__in=going.values("subject_ref"))
    if not others.filter(kind__in=("passphrase", "kit")).exists():
        raise Refusal(
            ErrorCode.SLOT_REMOVAL, "without this slot no person could open the vault", reason="last_slot"
        )


def list_confirmations(deployment: Deployment, access: Access) -> m.ConfirmationList:
    settle_confirmations(deployment, access.vault)
    rows = Confirmation.objects.select_related("asked_by").filter(vault=access.vault).order_by("id")
    return m.ConfirmationList(requests=[describe(row) for row in rows])


def describe(row: Confirmation) -> m.Confirmation:
    return m.Confirmation(
        request=row.ref.hex,
        action=row.action,
        subject=row.subject_ref.hex,
        state=row.state,  # type: ignore[arg-type]
        asked_at=seconds(row.asked_at),
        asked_by=row.asked_by.ref.hex,
        effective_at=seconds_or_none(row.effective_at),
    )


def pending_requests() -> list[Confirmation]:
    """Of all vaults, for the operator who stands in for the owner."""
    found = Confirmation.objects.select_related("asked_by", "vault__owner").filter(state__in=_OPEN)
    return list(found.order_by("id"))


def confirm(deployment: Deployment, ref: UUID) -> Confirmation:
    """The owner says yes. Raises NotPending; Refusal where the subject is gone or the last of its kind."""
    now = deployment.now()
    with writing():
        row = (
            Confirmation.objects.select_for_update(of=("self",))
            .select_related("vault", "asked_by")
            .filter(ref=ref, state=State.PENDING)
            .first()
        )
        if row is None or _has_lapsed(deployment, row, now=now):
            raise NotPending
        _check_subject(row.vault, row.action, row.subject_ref)
        record_event(row.vault, EventKind.CONFIRMATION_GIVEN, now=now, action=row.action, request=row.ref.hex)
        if row.action == Action.REVOKE_DEVICE:
            row.state, row.effective_at = State.DONE, now
            _revoke_device(row.vault, row.subject_ref, now=now)
        else:
            row.state = State.CONFIRMED
            row.effective_at = now + timedelta(seconds=deployment.config.removal_delay)
        row.save(update_fields=["state", "effective_at"])
    settle_confirmations(deployment, row.vault)
    row.refresh_from_db()
    return row


def undo(deployment: Deployment, ref: UUID) -> Confirmation:
    """The owner says no, or changes their mind before the delay is over. Raises NotPending."""
    now = deployment.now()
    with writing():
        row = (
            Confirmation.objects.select_for_update(of=("self",))
            .select_related("vault", "asked_by")
            .filter(ref=ref, state__in=_OPEN)
            .first()
        )
        if row is None or (row.effective_at is not None and row.effective_at <= now):
            raise NotPending
        row.state = State.UNDONE
        row.save(update_fields=["state"])
        record_event(
            row.vault, EventKind.CONFIRMATION_UNDONE, now=now, action=row.action, request=row.ref.hex
        )
    return row


def settle_confirmations(deployment: Deployment, vault: Vault) -> None:
    """Bring about what is due. Called before anything that depends on it, so that no clock has to tick."""
    now = deployment.now()
    lapse = now - timedelta(seconds=deployment.config.confirmation_life)
    open_rows = Confirmation.objects.filter(vault=vault, state__in=_OPEN)
    due = open_rows.filter(state=State.CONFIRMED, effective_at__lte=now)
    late = open_rows.filter(state=State.PENDING, asked_at__lte=lapse)
    if not due.exists() and not late.exists():
        return
    with writing():
        for row in late.select_for_update():
            row.state = State.LAPSED
            row.save(update_fields=["state"])
            record_event(vault, EventKind.CONFIRMATION_LAPSED, now=now, request=row.ref.hex)
        for row in due.select_for_update():
            row.state = State.DONE
            row.save(update_fields=["state"])
            Slot.objects.filter(vault=vault, ref=row.subject_ref).update(withheld_at=now, removal=row.removal)
            record_event(
                vault, EventKind.SLOT_REMOVED, now=now, slot=row.subject_ref.hex, request=row.ref.hex
            )


def _has_lapsed(deployment: Deployment, row: Confirmation, *, now: datetime) -> bool:
    return row.asked_at + timedelta(seconds=deployment.config.confirmation_life) <= now


def _revoke_device(vault: Vault, ref: UUID, *, now: datetime) -> None:
    """Token and slot delivery stop with this transaction. The event lists the slots that the device added."""
    device = Device.objects.get(ref=ref)
    Device.objects.filter(pk=device.pk, revoked_at=None).update(revoked_at=now)
    added = Slot.objects.filter(vault=vault, added_by=device, withheld_at=None).order_by("id")
    record_event(
        vault,
        EventKind.DEVICE_REVOKED,
        now=now,
        revoked=ref.hex,
        slots_added=" ".join(slot.hex for slot in added.values_list("ref", flat=True)),
    )
