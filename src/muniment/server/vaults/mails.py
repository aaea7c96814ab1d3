"""What the owner of a vault is written about at once: whatever could be somebody else at their backups.

Nothing of a vault is in these mails, and no name that a device gave itself: it could be an address to click.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from muniment.server.mail.messages import Message
from muniment.server.privacy.terms import MessageClass
from muniment.server.vaults.kinds import EventKind

Detail = Mapping[str, str]
_KEYS = {"passphrase": "a passphrase", "kit": "a recovery kit"}
_ASKED = {"remove_slot": "to remove a key", "revoke_device": "to disconnect a device"}
_DECIDED = {EventKind.CONFIRMATION_GIVEN: "confirmed", EventKind.CONFIRMATION_UNDONE: "refused"}


@dataclass(frozen=True)
class _VaultMail(Message):
    message_class: ClassVar[MessageClass] = MessageClass.SERVICE
    at: str


@dataclass(frozen=True)
class DeviceConnected(_VaultMail):
    subject: ClassVar[str] = "A device was connected to your backups"
    template: ClassVar[str] = "vaults/mail/device_connected.txt"


@dataclass(frozen=True)
class DeviceDisconnected(_VaultMail):
    subject: ClassVar[str] = "A device was disconnected from your backups"
    template: ClassVar[str] = "vaults/mail/device_disconnected.txt"


@dataclass(frozen=True)
class KitUsed(_VaultMail):
    subject: ClassVar[str] = "A recovery kit was used"
    template: ClassVar[str] = "vaults/mail/kit_used.txt"


@dataclass(frozen=True)
class KeyAdded(_VaultMail):
    """`what` is the kind of key, in words."""

    subject: ClassVar[str] = "A key was added to your backups"
    template: ClassVar[str] = "vaults/mail/key_added.txt"
    what: str


@dataclass(frozen=True)
class KeyGoing(_VaultMail):
    subject: ClassVar[str] = "A key of your backups is going to be removed"
    template: ClassVar[str] = "vaults/mail/key_going.txt"


@dataclass(frozen=True)
class KeyRemoved(_VaultMail):
    subject: ClassVar[str] = "A key of your backups was removed"
    template: ClassVar[str] = "vaults/mail/key_removed.txt"


@dataclass(frozen=True)
class ConfirmationAsked(_VaultMail):
    """`what` is what the device asks for, in words."""

    subject: ClassVar[str] = "A device asks for your word"
    template: ClassVar[str] = "vaults/mail/confirmation_asked.txt"
    what: str


@dataclass(frozen=True)
class OperatorDecided(_VaultMail):
    """`decided` is what the operator did, in a word; `what` is what a device had asked for."""

    subject: ClassVar[str] = "We decided something in your place"
    template: ClassVar[str] = "vaults/mail/operator_decided.txt"
    what: str
    decided: str
    reason: str


@dataclass(frozen=True, slots=True)
class Told:
    """How an event is told: `same` names the part of its detail (none: its device) that says whether it is
    told already."""

    message: Callable[[str, Detail], Message | None]
    same: str = ""


def _key_added(at: str, detail: Detail) -> Message | None:
    """A device's own key comes with the device, which is told."""
    what = _KEYS.get(detail["slot_kind"])
    return None if what is None else KeyAdded(at, what)


def _decided(kind: EventKind, at: str, detail: Detail) -> Message | None:
    action = detail["action"]
    if detail["by"] == "operator":
        return OperatorDecided(at, _ASKED[action], _DECIDED[kind], detail.get("reason", ""))
    # What acts at once is told when it has acted; what the owner took back changes nothing.
    is_going = kind is EventKind.CONFIRMATION_GIVEN and action == "remove_slot"
    return KeyGoing(at) if is_going else None


TOLD: Mapping[EventKind, Told] = {
    EventKind.DEVICE_ENROLLED: Told(lambda at, _: DeviceConnected(at)),
    EventKind.DEVICE_REVOKED: Told(lambda at, _: DeviceDisconnected(at), same="revoked"),
    EventKind.SLOT_ADDED: Told(_key_added, same="slot"),
    EventKind.SLOT_REMOVED: Told(lambda at, _: KeyRemoved(at), same="slot"),
    EventKind.KIT_USED: Told(lambda at, _: KitUsed(at), same="slot"),
    EventKind.CONFIRMATION_ASKED: Told(
        lambda at, detail: ConfirmationAsked(at, _ASKED[detail["action"]]), same="subject"
    ),
    EventKind.CONFIRMATION_GIVEN: Told(
        lambda at, detail: _decided(EventKind.CONFIRMATION_GIVEN, at, detail), same="request"
    ),
    EventKind.CONFIRMATION_UNDONE: Told(
        lambda at, detail: _decided(EventKind.CONFIRMATION_UNDONE, at, detail), same="request"
    ),
}  # fmt: skip
"""Of all other events the owner reads on `/overview` alone."""


def moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
