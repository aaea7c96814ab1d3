"""Which snapshot is meant: `latest`, the beginning of an id, or a date."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from muniment.client.state.known_heads import OpenedHead
from muniment.client.state.listed_heads import ListedHeads
from muniment.client.telling.output import human_time
from muniment.client.vault.history import check_history
from muniment.client.vault.opening import OpenVault, heads_after
from muniment.client.vault.set_aside import SetAside, by_device, describe_set_aside
from muniment.model.errors import DamagedObject, UnknownSnapshot, UsageError
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


@dataclass(frozen=True, slots=True)
class Listing:
    """Snapshots oldest first, and the heads that were left out because they do not open."""

    snapshots: list[OpenedHead]
    set_aside: tuple[SetAside, ...] = ()


def list_snapshots(vault: OpenVault) -> Listing:
    """All snapshots of the vault, oldest first, every head opened and verified, none missing.

    Those that this machine has listed before come from its own memory, so a server asked again can neither
    take them back nor is it asked whether it still has them: `list_snapshots_anew` asks.
    """
    if vault.database is None:
        return list_snapshots_anew(vault)
    memory = ListedHeads(vault.database, vault.keys)
    known = memory.all()
    fresh = heads_after(vault.server, vault.keys, known[-1].snapshot if known else None, own=vault.device)
    listed = [*known, *fresh.opened]
    check_history(listed, newest=vault.heads, set_aside=fresh.set_aside)
    if not fresh.set_aside:
        # Else those before it would be asked for no more, and it could not be told that one was among them.
        memory.remember(fresh.opened, place=len(known))
    return Listing(listed, fresh.set_aside)


def list_snapshots_anew(vault: OpenVault) -> Listing:
    """The same, as the server shows all of it now. RollbackDetected also where it hides what was listed."""
    known = ListedHeads(vault.database, vault.keys).all() if vault.database else []
    shown = heads_after(vault.server, vault.keys, None, own=vault.device)
    listed = list(shown.opened)
    check_history(listed, newest=[*vault.heads, *known], set_aside=shown.set_aside)
    return Listing(listed, shown.set_aside)


def narrow_down(vault: OpenVault, listing: Listing, *, set_name: str = "", device: str = "") -> Listing:
    """Those of a set, and of a device, which is its name or the beginning of its id. Empty: of any."""
    fitting = [
        opened
        for opened in listing.snapshots
        if set_name in ("", opened.head.set_name)
        and (
            device in ("", device_label(vault, opened.head.device))
            or opened.head.device.hex.startswith(device.lower())
        )
    ]
    # What was set aside may be of any set; `choose_snapshot` looks at its device.
    return Listing(fitting, listing.set_aside)


def choose_snapshot(listing: Listing, name: SnapshotName, *, device: DeviceId | None) -> OpenedHead:
    """The snapshot that `name` means.

    `latest` and dates prefer this device's own snapshots where it has any, complete ones, and those whose
    roots have to do with the path asked for. DamagedObject where a later one of the same device, which may be
    the one that is meant, was set aside.
    """
    chosen = _choose(listing, name, device=device)
    if _names_a_time(name):
        end = None if name.text == "latest" else _end_of(name.text)
        for aside in listing.set_aside:
            later = aside.device == chosen.head.device and aside.counter > chosen.head.counter
            if later and (end is None or aside.received_at < end):
                raise DamagedObject(
                    f"snapshot {aside.snapshot.hex[:_SHOWN_ID]}",
                    why=f"{aside.why}; it is later than the last of its machine that can be read",
                    advice="To go on without it, name the last one that can be read, of "
                    f"{describe_time(chosen)}, by its id: {chosen.snapshot.hex[:_SHOWN_ID]}.",
                )
    return chosen


def _choose(listing: Listing, name: SnapshotName, *, device: DeviceId | None) -> OpenedHead:
    snapshots = listing.snapshots
    if not snapshots:
        raise UnknownSnapshot(
            "the vault has no such snapshot yet",
            advice="`muniment snapshots` shows what there is, `muniment backup PATH` makes one.",
        )
    if name.text == "latest":
        return _newest(_likely(snapshots, name, device))
    if _names_a_time(name):
        return _newest_until(_likely(snapshots, name, device), name.text)
    fitting = [opened for opened in snapshots if opened.snapshot.hex.startswith(name.text.lower())]
    if not fitting:
        for aside in listing.set_aside:
            if aside.snapshot.hex.startswith(name.text.lower()):
                raise DamagedObject(f"snapshot {aside.snapshot.hex[:_SHOWN_ID]}", why=aside.why)
        raise UnknownSnapshot(
            f"no snapshot has an id that begins with {name.text}", advice="See `muniment snapshots`."
        )
    if len(fitting) > 1:
        both = " and ".join(f"{one.snapshot.hex[:_SHOWN_ID]} ({describe_time(one)})" for one in fitting[:2])
        raise UsageError(f"{name.text} could mean {both}", advice="Give more digits.")
    return fitting[0]


def passed_over(
    listing: Listing, name: SnapshotName, chosen: OpenedHead, *, device: DeviceId | None
) -> list[OpenedHead]:
    """Of sets and devices that `name` could have meant as well, the newest snapshot each."""
    if not _names_a_time(name):
        return []
    newest: dict[tuple[DeviceId, str], OpenedHead] = {}
    for opened in _likely(listing.snapshots, name, device):
        newest[opened.head.device, opened.head.set_name] = opened
    newest.pop((chosen.head.device, chosen.head.set_name), None)
    return list(newest.values())


def device_label(vault: OpenVault, device: DeviceId) -> str:
    """The name that the authenticated slot list gives a device, else the beginning of its id."""
    for info in vault.slots.slots:
        if info.device == device.hex:
            return info.label
    return device.hex[:8]


def set_aside_lines(vault: OpenVault, set_aside: Iterable[SetAside]) -> list[str]:
    """What to tell of heads that were left out: a line for each machine."""
    return [
        describe_set_aside(device_label(vault, device), of_device)
        for device, of_device in by_device(set_aside).items()
    ]


def describe_time(opened: OpenedHead) -> str:
    return human_time(opened.head.started_ns / 1e9)


def _likely(
    snapshots: Sequence[OpenedHead], name: SnapshotName, device: DeviceId | None
) -> Sequence[OpenedHead]:
    """Each preference holds where it leaves anything to choose from."""
    own = [opened for opened in snapshots if opened.head.device == device] or snapshots
    complete = [opened for opened in own if not opened.head.partial] or own
    return [opened for opened in complete if _may_hold(opened, name.path)] or complete


def _may_hold(opened: OpenedHead, path: bytes | None) -> bool:
    wanted = b"/" + (path or b"").strip(b"/")
    roots = [b"/" + root.strip(b"/") for root in opened.head.roots]
    return any(_is_below(wanted, root) or _is_below(root, wanted) for root in roots)


def _is_below(path: bytes, directory: bytes) -> bool:
    return (path + b"/").startswith(directory.rstrip(b"/") + b"/")


def _newest(snapshots: Sequence[OpenedHead]) -> OpenedHead:
    return max(snapshots, key=lambda opened: (opened.received_at, opened.head.counter))


def _names_a_time(name: SnapshotName) -> bool:
    return name.text == "latest" or "-" in name.text


def _end_of(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text} is no date") from None
    return (moment.astimezone() + timedelta(days=1 if len(text) == 10 else 0)).timestamp()


def _newest_until(snapshots: Sequence[OpenedHead], text: str) -> OpenedHead:
    end = _end_of(text)
    before = [opened for opened in snapshots if opened.head.started_ns / 1e9 < end]
    if not before:
        oldest = min(snapshots, key=lambda opened: opened.head.started_ns)
        raise UnknownSnapshot(
            f"no snapshot is as old as {text}; the oldest is of {describe_time(oldest)}",
            advice="See `muniment snapshots`.",
        )
    return max(before, key=lambda opened: opened.head.started_ns)
