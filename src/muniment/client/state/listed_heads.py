"""The history as this machine has listed it: heads from the first on, so that only newer ones are fetched.

A head is never removed, so what was listed and verified once stays true. Rows are sealed, as heads name sets,
roots and rules; each is bound to its place, and what follows a damaged row is fetched again.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from muniment.client.state.database import Database
from muniment.client.state.known_heads import OpenedHead
from muniment.crypto.keys import VaultKeys
from muniment.format.head import decode_head, encode_head
from muniment.model.errors import DamagedObject
from muniment.model.ids import SnapshotId

_OUTSIDE = struct.Struct(">32sd")  # snapshot id, when the server received it


class ListedHeads:
    """Heads in the server's order, oldest first."""

    def __init__(self, database: Database, keys: VaultKeys) -> None:
        self._database = database
        self._keys = keys.local_keys(b"heads")

    def all(self) -> list[OpenedHead]:
        """As many from the beginning as can be read."""
        with self._database.reading() as connection:
            rows = connection.execute("select place, record from listed_heads order by place").fetchall()
        heads: list[OpenedHead] = []
        for place, sealed in rows:
            head = self._open(place, sealed) if place == len(heads) else None
            if head is None:
                break
            heads.append(head)
        return heads

    def remember(self, heads: Sequence[OpenedHead], *, place: int) -> None:
        """`heads` are those from `place` on; `place` itself counts from 0."""
        if not heads:
            return
        with self._database.transaction() as connection:
            connection.execute("delete from listed_heads where place >= ?", (place,))
            connection.executemany(
                "insert into listed_heads values (?, ?)",
                [(number, self._seal(number, opened)) for number, opened in enumerate(heads, place)],
            )

    def _seal(self, place: int, opened: OpenedHead) -> bytes:
        record = _OUTSIDE.pack(opened.snapshot.raw, opened.received_at) + encode_head(opened.head)
        return self._keys.seal(record, aad=place.to_bytes(8))

    def _open(self, place: int, sealed: object) -> OpenedHead | None:
        if not isinstance(sealed, bytes):
            return None
        try:
            record = self._keys.open(sealed, aad=place.to_bytes(8))
            snapshot, received_at = _OUTSIDE.unpack_from(record)
            return OpenedHead(SnapshotId(snapshot), decode_head(record[_OUTSIDE.size :]), received_at)
        except (DamagedObject, struct.error):
            return None
