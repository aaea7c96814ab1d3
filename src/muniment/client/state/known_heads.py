"""The newest history this device has seen, and what contradicts it.

A server that shows an older head, another head of the same number, or none where there was one, has lost or
hidden history. A device that sees the vault for the first time cannot tell; `seen` heads inside the heads of
other devices, which are sealed, tell even then whatever those devices saw.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from muniment.client.state.database import Database, checked, unchecked
from muniment.client.state.page_cache import decode_packs, encode_packs
from muniment.model.errors import RollbackDetected
from muniment.model.ids import DeviceId, PackId, SetId, SnapshotId
from muniment.model.snapshot import Head, SeenHead

_ADVICE = (
    "Do not delete anything on this machine. Ask the operator whether the server was restored from an older "
    "backup; compare `muniment snapshots` on another device."
)
_RECORD = struct.Struct(">Q32s")


@dataclass(frozen=True, slots=True)
class OpenedHead:
    """A head whose seal was opened and whose outside agrees with its inside."""

    snapshot: SnapshotId
    head: Head
    received_at: float


class KnownHeads:
    """Newest (counter, snapshot) of each (device, set)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> Mapping[tuple[DeviceId, SetId], tuple[int, SnapshotId]]:
        with self._database.reading() as connection:
            rows = connection.execute("select device, set_id, record from heads").fetchall()
        known = {}
        for device, set_id, stored in rows:
            record = unchecked(stored, context=device + set_id)
            if record is not None:
                counter, snapshot = _RECORD.unpack(record)
                known[DeviceId(device), SetId(set_id)] = (counter, SnapshotId(snapshot))
        return known

    def check(
        self,
        shown: Sequence[OpenedHead],
        *,
        history: Callable[[SnapshotId], Iterable[OpenedHead]],
        seen: Mapping[tuple[DeviceId, SetId], tuple[int, SnapshotId]] | None = None,
    ) -> None:
        """Raise RollbackDetected where `shown`, the server's newest heads, contradicts what is known.

        `history` gives the heads received after a snapshot. Asked only when some head has moved on, to follow
        the parents from there back to the head known before: a fork also moves on. `seen` is what was known
        when the server was asked (default: what is known now).
        """
        newest = {(opened.head.device, opened.head.set_id): opened for opened in shown}
        for place, (counter, snapshot) in (self.all() if seen is None else seen).items():
            opened = newest.get(place)
            if opened is None:
                raise RollbackDetected(
                    "the server hides a snapshot that this device has seen", advice=_ADVICE
                )
            self._compare(opened, counter, snapshot)
            if opened.snapshot != snapshot:
                _follow_parents(opened, counter, snapshot, history(snapshot))
        check_testimony(shown)

    def remember(self, shown: Iterable[OpenedHead]) -> None:
        known = self.all()
        # Only what is newer: a run beside this one may have committed since `shown` was asked for.
        fresh = [
            opened
            for opened in shown
            if known.get((opened.head.device, opened.head.set_id), (-1,))[0] < opened.head.counter
        ]
        if not fresh:
            return
        with self._database.transaction() as connection:
            for opened in fresh:
                device, set_id = opened.head.device.raw, opened.head.set_id.raw
                record = _RECORD.pack(opened.head.counter, opened.snapshot.raw)
                connection.execute(
                    "insert or replace into heads values (?, ?, ?)",
                    (device, set_id, checked(record, context=device + set_id)),
                )

    def _compare(self, opened: OpenedHead, counter: int, snapshot: SnapshotId) -> None:
        if opened.head.counter < counter:
            raise RollbackDetected(
                f"the server shows snapshot number {opened.head.counter} of a device as its newest; "
                f"this device has seen number {counter}",
                advice=_ADVICE,
            )
        if opened.head.counter == counter and opened.snapshot != snapshot:
            raise RollbackDetected(
                f"the server shows another snapshot number {counter} than this device has seen",
                advice=_ADVICE,
            )

    # --- reference sets of own snapshots, as deltas start from them

    def reference_set(self, snapshot: SnapshotId) -> frozenset[PackId] | None:
        row = self._database.one("select packs from reference_sets where snapshot = ?", (snapshot.raw,))
        packs = unchecked(row[0], context=snapshot.raw) if row and isinstance(row[0], bytes) else None
        return None if packs is None else decode_packs(packs)

    def note_reference_set(
        self, snapshot: SnapshotId, packs: frozenset[PackId], *, instead_of: SnapshotId | None
    ) -> None:
        stored = checked(encode_packs(packs), context=snapshot.raw)
        with self._database.transaction() as connection:
            if instead_of is not None:
                connection.execute("delete from reference_sets where snapshot = ?", (instead_of.raw,))
            connection.execute("insert or replace into reference_sets values (?, ?)", (snapshot.raw, stored))


def _follow_parents(newest: OpenedHead, counter: int, known: SnapshotId, later: Iterable[OpenedHead]) -> None:
    by_id = {opened.snapshot: opened.head for opened in later}
    head = newest.head
    while head.parent != known:
        parent = by_id.get(head.parent) if head.parent else None
        if parent is None or parent.counter <= counter or parent.counter >= head.counter:
            raise RollbackDetected(
                "the server shows a history that lacks a snapshot this device has seen", advice=_ADVICE
            )
        head = parent


def check_testimony(shown: Sequence[OpenedHead]) -> None:
    """Raise RollbackDetected where a head says to have seen what `shown` lacks. Needs no memory: so a machine
    that meets the vault for the first time has at least this.
    """
    by_device: dict[DeviceId, OpenedHead] = {}
    for opened in shown:
        best = by_device.get(opened.head.device)
        if best is None or best.head.counter < opened.head.counter:
            by_device[opened.head.device] = opened
    for opened in shown:
        for seen in opened.head.seen:
            newest = by_device.get(seen.device)
            if newest is None or newest.head.counter < seen.counter:
                raise RollbackDetected(
                    "the server hides a snapshot that another device of this vault has seen",
                    advice=_ADVICE,
                )
            if newest.head.counter == seen.counter and newest.snapshot != seen.snapshot:
                raise RollbackDetected(
                    "the server shows this device another history than it showed to another device",
                    advice=_ADVICE,
                )


def testimony(shown: Iterable[OpenedHead], *, besides: DeviceId) -> tuple[SeenHead, ...]:
    """What a new head says it has seen: the newest head of every other device."""
    newest: dict[DeviceId, SeenHead] = {}
    for opened in shown:
        head = opened.head
        known = newest.get(head.device)
        if head.device != besides and (known is None or known.counter < head.counter):
            newest[head.device] = SeenHead(head.device, head.counter, opened.snapshot)
    return tuple(sorted(newest.values(), key=lambda seen: seen.device))
