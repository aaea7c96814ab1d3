"""Whether a list of snapshots is whole: a head is never removed, so one that is missing is being hidden.

Heads are sealed, so what they say of one another can be believed: each device numbers its own from 1 without
gaps, names the parent it compared with, and the newest heads of other devices that it had seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from muniment.client.state.known_heads import OpenedHead
from muniment.client.vault.set_aside import SetAside
from muniment.model.errors import RollbackDetected
from muniment.model.ids import DeviceId


def check_history(
    listed: Sequence[OpenedHead], *, newest: Iterable[OpenedHead], set_aside: Sequence[SetAside] = ()
) -> None:
    """Raise RollbackDetected unless `listed` holds `newest`, and every snapshot that its heads speak of.

    `set_aside` fills its places in the numbering and is a snapshot that a device may have gone on from; that
    another head has seen one of them is as if it were hidden.
    """
    numbers: dict[DeviceId, set[int]] = {}
    places = [(opened.head.device, opened.head.counter) for opened in listed]
    for device, counter in [*places, *((aside.device, aside.counter) for aside in set_aside)]:
        of_device = numbers.setdefault(device, set())
        if counter in of_device:
            raise _hidden(f"shows two snapshots number {counter} of one device")
        of_device.add(counter)
    for of_device in numbers.values():
        # Distinct numbers of which none is below 1 are 1 to n exactly when the greatest is their count.
        if min(of_device) < 1 or max(of_device) != len(of_device):
            raise _hidden("leaves out a snapshot between others of its device")
    shown = {opened.snapshot for opened in listed}
    unread = {aside.snapshot for aside in set_aside}
    for opened in listed:
        spoken_of = {seen.snapshot for seen in opened.head.seen}
        if opened.head.parent is not None and opened.head.parent not in unread:
            spoken_of.add(opened.head.parent)
        if not spoken_of <= shown:
            raise _hidden("leaves out a snapshot that a later one was made after")
    if not {opened.snapshot for opened in newest} <= shown:
        raise _hidden("leaves out a snapshot that it showed before")


def _hidden(what: str) -> RollbackDetected:
    return RollbackDetected(
        f"the server's list of snapshots {what}",
        advice="Nothing was lost on this machine. Ask the operator whether the server was restored from an "
        "older backup; compare `muniment snapshots` on another machine.",
    )
