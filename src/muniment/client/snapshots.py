"""Which snapshot is meant: `latest`, the beginning of an id, or a date."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from muniment.client.output import human_time
from muniment.client.state.known_heads import OpenedHead
from muniment.client.vault import OpenVault, open_heads
from muniment.model.errors import UnknownSnapshot, UsageError
from muniment.model.ids import DeviceId

_NAMED = re.compile(
    r"(?P<snapshot>latest|\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?)?|[0-9a-fA-F]{4,64})(?::(?P<path>.*))?",
    re.DOTALL,
)
_SHOWN_ID = 12


@dataclass(frozen=True, slots=True)
class SnapshotName:
    """`text` names a snapshot, `path` (with slashes, or None) something in it."""

    text: str
    path: bytes | None

    @classmethod
    def parse(cls, text: str) -> SnapshotName:
        match = _NAMED.fullmatch(text)
        if match is None:
            raise UsageError(
                f"{text!r} names no snapshot",
                advice="Say latest, a date like 2026-11-22, or the beginning of an id; then :PATH if wanted.",
            )
        path = match["path"]
        return cls(match["snapshot"], None if path is None else path.encode("utf-8", "surrogateescape"))


def list_snapshots(vault: OpenVault) -> list[OpenedHead]:
    """All snapshots that the vault shows, oldest first, every head opened and verified."""
    return list(open_heads(vault.keys, vault.server.snapshots(vault.vault)))


def choose_snapshot(snapshots: Sequence[OpenedHead], name: str, *, device: DeviceId | None) -> OpenedHead:
    """The snapshot that `name` means. `latest` and dates prefer this device's own, where it has any."""
    if not snapshots:
        raise UnknownSnapshot("the vault has no snapshot yet", advice="Run `muniment backup` first.")
    if name == "latest":
        return _newest(_own_complete(snapshots, device))
    if "-" in name:
        return _newest_until(_own_complete(snapshots, device), name)
    fitting = [opened for opened in snapshots if opened.snapshot.hex.startswith(name.lower())]
    if not fitting:
        raise UnknownSnapshot(
            f"no snapshot has an id that begins with {name}", advice="See `muniment snapshots`."
        )
    if len(fitting) > 1:
        both = " and ".join(f"{one.snapshot.hex[:_SHOWN_ID]} ({describe_time(one)})" for one in fitting[:2])
        raise UsageError(f"{name} could mean {both}", advice="Give more digits.")
    return fitting[0]


def device_label(vault: OpenVault, device: DeviceId) -> str:
    """The name that the authenticated slot list gives a device, else the beginning of its id."""
    for info in vault.slots.slots:
        if info.device == device.hex:
            return info.label
    return device.hex[:8]


def describe_time(opened: OpenedHead) -> str:
    return human_time(opened.head.started_ns / 1e9)


def _own_complete(snapshots: Sequence[OpenedHead], device: DeviceId | None) -> Sequence[OpenedHead]:
    """Of this device if it has any; complete ones if there are any."""
    own = [opened for opened in snapshots if opened.head.device == device] or snapshots
    return [opened for opened in own if not opened.head.partial] or own


def _newest(snapshots: Sequence[OpenedHead]) -> OpenedHead:
    return max(snapshots, key=lambda opened: (opened.received_at, opened.head.counter))


def _newest_until(snapshots: Sequence[OpenedHead], text: str) -> OpenedHead:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text} is no date") from None
    end = moment.astimezone() + timedelta(days=1 if len(text) == 10 else 0)
    before = [opened for opened in snapshots if opened.head.started_ns / 1e9 < end.timestamp()]
    if not before:
        oldest = min(snapshots, key=lambda opened: opened.head.started_ns)
        raise UnknownSnapshot(f"no snapshot is as old as {text}; the oldest is of {describe_time(oldest)}")
    return max(before, key=lambda opened: opened.head.started_ns)
