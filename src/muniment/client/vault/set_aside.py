"""Heads of other devices that do not open: left out and told, so that one device cannot lock the others out.

The server takes any bytes as a head from whoever has a device's token. docs/design/threat-model.md, "Heads
that do not open", says what may be set aside and what may not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from muniment.client.state.known_heads import OpenedHead
from muniment.client.telling.output import human_time, plural
from muniment.model.ids import DeviceId, SnapshotId


@dataclass(frozen=True, slots=True)
class SetAside:
    """A head as the server tells of it: nothing here was authenticated."""

    snapshot: SnapshotId
    device: DeviceId
    counter: int
    received_at: float
    why: str


@dataclass(frozen=True, slots=True)
class ShownHeads:
    """What the server showed: heads that opened, in its order, and those that did not."""

    opened: tuple[OpenedHead, ...]
    set_aside: tuple[SetAside, ...] = ()


def by_device(set_aside: Iterable[SetAside]) -> Mapping[DeviceId, list[SetAside]]:
    found: dict[DeviceId, list[SetAside]] = {}
    for one in set_aside:
        found.setdefault(one.device, []).append(one)
    return found


def describe_set_aside(label: str, of_device: list[SetAside]) -> str:
    """One line for all of one device, however many they are."""
    newest = max(of_device, key=lambda one: one.counter)
    count = plural(len(of_device), "snapshot")
    return (
        f"left out, for nobody can read it: {count} of the machine {label}, the "
        f"newest of {human_time(newest.received_at)} ({newest.snapshot.hex[:12]}): {newest.why}. If that "
        "machine was lost or stolen: `muniment devices revoke`; else ask the operator"
    )
