"""Local files as an object store: the shared contract, and what only files can get wrong."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from muniment.server.store.local import LocalObjects
from muniment.server.store.port import ObjectStore, StorageFailed, StorageFull
from tests.conformance.object_store_contract import ObjectStoreContract, key


class TestLocalObjects(ObjectStoreContract):
    @pytest.fixture
    def objects(self, tmp_path: Path) -> ObjectStore:
        return LocalObjects(tmp_path / "objects")


def _files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_objects_are_private(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path / "objects")
    name = key()
    objects.put(name, b"sealed")
    assert (tmp_path / "objects" / name).stat().st_mode & 0o777 == 0o600


def test_everything_is_synced_before_publish_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File first, then every directory from the new name up to one that was there before."""
    objects = LocalObjects(tmp_path / "objects")
    synced: list[str] = []
    linked_after: list[int] = []
    real_fsync, real_link = os.fsync, os.link

    def note(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real_fsync(descriptor)

    def link(source: Path, target: Path) -> None:
        linked_after.append(len(synced))
        real_link(source, target)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(os, "link", link)
    name = key()
    objects.put(name, b"x" * 100)
    target = tmp_path / "objects" / name
    assert "/.incoming/" in synced[0], "the file's content first"
    assert str(target.parent) == synced[-1], "the new name last"
    assert linked_after == [len(synced) - 1]
    for parent in (tmp_path / "objects", target.parents[2], target.parents[1]):
        assert str(parent) in synced


def test_directories_met_for_the_first_time_are_synced_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process killed between making a directory and syncing it leaves one that only seems to be there."""
    name = key()
    LocalObjects(tmp_path / "objects").put(name, b"first process")
    synced: list[str] = []
    real_fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    again = LocalObjects(tmp_path / "objects")
    again.sync(name)
    target = tmp_path / "objects" / name
    assert {str(part) for part in (target, *target.parents)} & set(synced) >= {
        str(part) for part in (target, *list(target.parents)[:5])
    }


@pytest.mark.parametrize("step", ["link", "sync"])
def test_a_folder_that_is_removed_under_a_writer_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    objects = LocalObjects(tmp_path / "objects")
    name = key()
    real_link = os.link
    beside = [step]

    def link(source: Path, target: Path) -> None:
        if step == "sync":
            real_link(source, target)
        if beside:
            beside.pop()
            objects.remove_all(name.partition("/")[0])
        if step == "link":
            real_link(source, target)

    monkeypatch.setattr(os, "link", link)
    objects.put(name, b"sealed")
    assert not beside
    assert [stored.key for stored in objects.list("")] == [name]


def test_leftovers_of_a_killed_process_are_cleared(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path / "objects")
    writer = objects.begin(key(), size=100)
    writer.write([b"half"])
    again = LocalObjects(tmp_path / "objects")
    again.clear_incoming()
    assert _files(tmp_path) == []
    writer.discard()


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EIO, StorageFailed)],
)
@pytest.mark.parametrize("call", ["writev", "fsync", "link", "posix_fallocate"])
def test_a_failing_call_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, error: type[Exception]
) -> None:
    objects = LocalObjects(tmp_path / "objects")
    objects.put(key(), b"the directories exist")
    before = _files(tmp_path)

    def fail(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(error):
        objects.put(key(), b"x" * 1000)
    assert _files(tmp_path) == before


def test_what_is_kept_of_the_disk_is_for_small_things(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = LocalObjects(tmp_path / "objects", reserve=1000)
    disk = os.statvfs(tmp_path)
    free = SimpleNamespace(f_blocks=disk.f_blocks, f_frsize=1, f_bavail=5000)
    monkeypatch.setattr(os, "statvfs", lambda path: free)
    objects.begin(key(), size=4000).discard()
    with pytest.raises(StorageFull):
        objects.begin(key(), size=4001)
    objects.put(key(), b"x" * 4001)
    objects.probe()
    free.f_bavail = 999
    with pytest.raises(StorageFull):
        objects.probe()
    free.f_blocks = 10_000  # of a small disk a twentieth
    objects.begin(key(), size=499).discard()


def test_a_full_file_system_refuses_before_anything_is_written(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path / "objects")
    with pytest.raises(StorageFull):
        objects.begin(key(), size=1 << 60)
    assert _files(tmp_path) == []


def test_many_are_deleted_with_one_sync_for_each_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = LocalObjects(tmp_path / "objects")
    going, staying = (
        [f"vault/{kind}/{number}" for kind in ("heads", "sets") for number in "123"],
        "vault/sets/4",
    )
    for name in (*going, staying):
        objects.put(name, b"x")
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda one: synced.append(os.readlink(f"/proc/self/fd/{one}")))
    objects.delete_all([*going, "vault/heads/never"])
    assert [found.key for found in objects.list("vault/")] == [staying]
    assert sorted(synced) == [str(tmp_path / "objects/vault" / kind) for kind in ("heads", "sets")]
