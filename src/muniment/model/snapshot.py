"""A snapshot's head: what a point-in-time tree says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from muniment.model.entry import PageRef
from muniment.model.ids import DeviceId, InstallationId, SetId, SnapshotId


@dataclass(frozen=True, slots=True)
class Counts:
    """What a run saw. Bytes are of file content, before dedup and compression."""

    files: int = 0
    directories: int = 0
    others: int = 0
    bytes: int = 0
    new_bytes: int = 0
    errors: int = 0


@dataclass(frozen=True, slots=True)
class SeenHead:
    """The newest head of another device that this device had seen: makes hiding one detectable."""

    device: DeviceId
    counter: int
    snapshot: SnapshotId


@dataclass(frozen=True, slots=True)
class FileSystemNote:
    """One file system met under the roots, by its per-run ordinal."""

    ordinal: int
    mount_point: bytes
    kind: str
    trust_inode: bool = True


@dataclass(frozen=True, slots=True)
class Head:
    """The sealed record of a snapshot. Times are nanoseconds since the epoch, from the client's clock.

    `counter` grows by one with each commit of the device; `parent` is the head this run compared with.
    `root` is None for an empty tree.
    """

    device: DeviceId
    installation: InstallationId
    counter: int
    set_id: SetId
    set_name: str
    started_ns: int
    ended_ns: int
    roots: tuple[bytes, ...]
    root: PageRef | None
    counts: Counts
    parent: SnapshotId | None
    slot_list_number: int
    slot_list_hash: bytes
    partial: bool = False
    seen: tuple[SeenHead, ...] = ()
    file_systems: tuple[FileSystemNote, ...] = ()
    excluded: tuple[str, ...] = ()
    host: str = ""
    client_version: str = ""
    extra: dict[str, str] = field(default_factory=dict)
