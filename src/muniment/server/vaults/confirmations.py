"""What only the owner may set going. A device asks; the owner, signed in afresh, confirms; delays apply.

    pending → confirmed → done            remove_slot: done after the delay, undoable until then
    pending → done                        revoke_device: acts at once
    pending → lapsed | undone             nobody confirmed in time; the owner refused
    confirmed → undone

No function here that confirms can be reached with a device's or kit's token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import msgspec

from muniment.server.accounts.models import Device
from muniment.server.deployment import Deployment
from muniment.server.refusals import Refusal, malformed, not_found
from muniment.server.transactions import writing
from muniment.server.vaults.access import Access, check_still_welcome, lock_vault
from muniment.server.vaults.events import record_event
from muniment.server.vaults.kinds import EventKind
from muniment.server.vaults.models import Confirmation, Grant, Slot, Vault
from muniment.server.vaults.refs import parse_ref, seconds, seconds_or_none
from muniment.server.vaults.revoking import revoke_at
from muniment.wire import messages as m
from muniment.wire.errors import ErrorCode

Action, State = Confirmation.Action, Confirmation.State
_OPEN = (State.PENDING, State.CONFIRMED)


class NotPending(Exception):
    """The request is unknown, not the owner's, or no longer waits."""


class ReasonMissing(Exception):
    """An operator decides in the owner's place only with a reason, which the owner reads."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of the vault, who has just signed in afresh (with the second factor, if there is one)."""

    account_id: int


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator in the owner's place. Raises ReasonMissing without a reason, ValueError over a long one."""

    reason: str

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise ReasonMissing
        if len(self.reason) > 500:
            raise ValueError("a reason has at most 500 characters")


Decider = Owner | Operator


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """A request as its owner sees it on a page. `effective_at` is set once it is confirmed: until then it can
    be undone. `decided_by` and `reason` say who confirmed it."""

    request: UUID
    vault: UUID
    vault_name: str
    action: Confirmation.Action
    subject: UUID
    subject_name: str
    state: Confirmation.State
    asked_at: datetime
    asked_by: str
    lapses_at: datetime
    effective_at: datetime | None
    decided_by: str
    reason: str


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
            _check_patience(deployment, access)
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


def _check_patience(deployment: Deployment, access: Access) -> None:
    """A device may ask only so much that nobody has decided yet."""
    asked = Confirmation.objects.filter(vault=access.vault, asked_by=access.writer, state=State.PENDING)
    if asked.count() >= deployment.config.open_requests:
        raise Refusal(
            ErrorCode.TOO_MANY,
            "this device has asked the owner for as much as it may",
            advice="Confirm or refuse what waits, in the portal or by `muniment admin confirm`; then ask "
            "again.",
            retry_after=3600,
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


def pending_of(deployment: Deployment, account_id: int) -> list[OpenRequest]:
    """What waits for the account's owner, and what was confirmed and can still be undone; oldest first."""
    rows = Confirmation.objects.select_related("asked_by", "vault").filter(
        vault__owner_id=account_id, state__in=_OPEN
    )
    for vault in {row.vault for row in rows}:
        settle_confirmations(deployment, vault)
    life = timedelta(seconds=deployment.config.confirmation_life)
    return [
        OpenRequest(
            request=row.ref,
            vault=row.vault.ref,
            vault_name=row.vault.name,
            action=Action(row.action),
            subject=row.subject_ref,
            subject_name=_subject_name(row),
            state=State(row.state),
            asked_at=row.asked_at,
            asked_by=row.asked_by.name,
            lapses_at=row.asked_at + life,
            effective_at=row.effective_at,
            decided_by=row.decided_by,
            reason=row.reason,
        )
        for row in rows.all().order_by("id")
    ]


def _subject_name(row: Confirmation) -> str:
    """The name of the device, or the kind of the slot: what a person knows it by."""
    if row.action == Action.REVOKE_DEVICE:
        device = Device.objects.filter(ref=row.subject_ref).first()
        return "" if device is None else device.name
    slot = Slot.objects.filter(vault=row.vault, ref=row.subject_ref).first()
    return "" if slot is None else slot.kind


def confirm(deployment: Deployment, ref: UUID, *, by: Decider) -> Confirmation:
    """The owner says yes. Raises NotPending; Refusal where the subject is gone or the last of its kind."""
    now = deployment.now()
    with writing():
        row = _locked(ref, by, states=(State.PENDING,))
        if _has_lapsed(deployment, row, now=now):
            raise NotPending
        _check_subject(row.vault, row.action, row.subject_ref)
        _note_decision(row, by)
        record_event(
            row.vault,
            EventKind.CONFIRMATION_GIVEN,
            now=now,
            action=row.action,
            request=row.ref.hex,
            device=None,
            **_told(by),
        )
        if row.action == Action.REVOKE_DEVICE:
            row.state, row.effective_at = State.DONE, now
            revoke_at(row.vault, row.subject_ref, now=now)
        else:
            row.state = State.CONFIRMED
            row.effective_at = now + timedelta(seconds=deployment.config.removal_delay)
        row.save(update_fields=["state", "effective_at"])
    settle_confirmations(deployment, row.vault)
    row.refresh_from_db()
    return row


def refuse(deployment: Deployment, ref: UUID, *, by: Decider) -> Confirmation:
    """The owner says no, or changes their mind before the delay is over. Raises NotPending."""
    now = deployment.now()
    with writing():
        row = _locked(ref, by, states=_OPEN)
        if row.effective_at is not None and row.effective_at <= now:
            raise NotPending
        row.state = State.UNDONE
        row.save(update_fields=["state"])
        _note_decision(row, by)
        record_event(
            row.vault,
            EventKind.CONFIRMATION_UNDONE,
            now=now,
            action=row.action,
            request=row.ref.hex,
            device=None,
            **_told(by),
        )
    return row


def _locked(ref: UUID, by: Decider, *, states: Sequence[Confirmation.State]) -> Confirmation:
    """The request, under its vault's row. NotPending too where it is of somebody else's vault."""
    rows = Confirmation.objects.select_related("vault", "asked_by").filter(ref=ref)
    if isinstance(by, Owner):
        rows = rows.filter(vault__owner_id=by.account_id)
    found = rows.first()
    if found is None:
        raise NotPending
    lock_vault(found.vault)
    row = rows.filter(state__in=states).first()
    if row is None:
        raise NotPending
    return row


def _note_decision(row: Confirmation, by: Decider) -> None:
    told = _told(by)
    row.decided_by, row.reason = told["by"], told.get("reason", "")
    row.save(update_fields=["decided_by", "reason"])


def _told(by: Decider) -> dict[str, str]:
    """What the owner reads of who decided."""
    if isinstance(by, Owner):
        return {"by": Confirmation.Decider.OWNER.value}
    return {"by": Confirmation.Decider.OPERATOR.value, "reason": by.reason}


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
        if not Vault.objects.select_for_update().filter(pk=vault.pk, closing_at=None).exists():
            return
        for row in late.all():
            row.state = State.LAPSED
            row.save(update_fields=["state"])
            record_event(vault, EventKind.CONFIRMATION_LAPSED, now=now, request=row.ref.hex)
        for row in due.all():
            row.state = State.DONE
            row.save(update_fields=["state"])
            Slot.objects.filter(vault=vault, ref=row.subject_ref).update(withheld_at=now, removal=row.removal)
            record_event(
                vault, EventKind.SLOT_REMOVED, now=now, slot=row.subject_ref.hex, request=row.ref.hex
            )


def _has_lapsed(deployment: Deployment, row: Confirmation, *, now: datetime) -> bool:
    return row.asked_at + timedelta(seconds=deployment.config.confirmation_life) <= now
