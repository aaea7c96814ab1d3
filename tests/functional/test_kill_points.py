"""`kill -9` of the machine's process before and after every port call of a backup and a restore; then again.

A point is killed at one moment after the other, with changes to the source in between, until a run gets
through. That one must end in a snapshot which restores to exactly what the source is, and no pack that the
server had stored may be sent again. `test_kill_points_server.py` does the same to the server.
"""

from __future__ import annotations

import inspect
import signal
from pathlib import Path

import pytest

from muniment.client.disk import posix, target
from muniment.client.spool import uploads
from muniment.client.state import chunk_index, page_cache
from muniment.client.transport import server as transport
from muniment.engine import ports
from tests.support.machine import differences
from tests.support.world import World, world, worlds

__all__ = ["world", "worlds"]

MOMENTS = ("before", "after")
CONTEXT = ("before", "inside", "after")
MERGES_WHAT_WAS_STAGED = "Database.transaction@_merge"
"""Needs a run before it that stored something new, and came to its end."""

BACKUP: dict[str, tuple[str, ...]] = {
    # the engine's ports towards the vault
    "Spool.send": MOMENTS,
    "Spool.drain": MOMENTS,
    "Spool.resume": MOMENTS,
    "Spool._upload": MOMENTS,
    "LocalChunkIndex.find": MOMENTS,
    "LocalPageCache.get": MOMENTS,
    "LocalPageCache.put": MOMENTS,
    "LocalPageCache.packs_of": MOMENTS,
    "LocalPageCache.note_packs": MOMENTS,
    # the spool and the local state
    "SpoolDirectory.write": MOMENTS,
    "SpoolDirectory.leftovers": MOMENTS,
    "LocalChunkIndex.add_pack": MOMENTS,
    "LocalChunkIndex.unknown_of": MOMENTS,
    "LocalChunkIndex.uncommitted": MOMENTS,
    "LocalChunkIndex.drop_packs": MOMENTS,
    "LocalChunkIndex.mark_committed": MOMENTS,
    "LocalPageCache.flush": MOMENTS,
    "LocalPageCache.drop_unused": MOMENTS,
    "KnownHeads.check": MOMENTS,
    "KnownHeads.remember": MOMENTS,
    "KnownHeads.reference_set": MOMENTS,
    "KnownHeads.note_reference_set": MOMENTS,
    "Database.transaction@put": CONTEXT,
    "Database.transaction@remember": CONTEXT,
    "Database.transaction@add_pack": CONTEXT,
    "Database.transaction@flush": CONTEXT,
    MERGES_WHAT_WAS_STAGED: CONTEXT,
    "Database.transaction@_settle": CONTEXT,
    "Database.transaction@drop_unused": CONTEXT,
    "Database.close": MOMENTS,
    # requests
    "Server.keys": MOMENTS,
    "Server.open_session": MOMENTS,
    "Server.put_pack": MOMENTS,
    "Server.commit": MOMENTS,
    "Server.report_run": MOMENTS,
    "Server.close_session": MOMENTS,
    # committing
    "Commits.commit": MOMENTS,
    "Commits._head": MOMENTS,
    "Commits._settle": MOMENTS,
    "write_private@_send": MOMENTS,
    # the disk that is read
    "PosixDisk.open_root": MOMENTS,
    "PosixDisk.mount_of": MOMENTS,
    "PosixDisk.owner": MOMENTS,
    "PosixDirectory.names": MOMENTS,
    "PosixDirectory.stats": MOMENTS,
    "PosixDirectory.xattrs": MOMENTS,
    "PosixDirectory.open_directory": MOMENTS,
    "PosixDirectory.open_file": MOMENTS,
    "PosixDirectory.close": MOMENTS,
    "PosixFile.read_into": MOMENTS,
    "PosixFile.stat": MOMENTS,
    "PosixFile.xattrs": MOMENTS,
    "PosixFile.close": MOMENTS,
}
"""Reached by every backup that has a parent and finds something changed."""

AFTER_LOSS: dict[str, tuple[str, ...]] = {
    "VaultPacks.read": MOMENTS,
    "SpoolDirectory.read": MOMENTS,
    "Server.read_pack": MOMENTS,
    "Server.snapshot_packs": MOMENTS,
    "LocalChunkIndex.add_foreign_pack": MOMENTS,
    "Database.transaction@add_foreign_pack": CONTEXT,
    "Database.put@installation": MOMENTS,
}
"""Reached where the local state was lost, and chunks and pages are learned from the vault."""

RESUMING: dict[str, tuple[str, ...]] = {"Server.known_packs": MOMENTS, "SpoolDirectory.leftovers": MOMENTS}
"""Reached where an earlier run left sealed packs behind."""

RESTORE: dict[str, tuple[str, ...]] = {
    "VaultPacks.read": MOMENTS,
    "Server.read_pack": MOMENTS,
    "Server.snapshots": MOMENTS,
    "LocalPageCache.get": MOMENTS,
    "PosixTarget.directory": MOMENTS,
    "PosixTarget.publish": MOMENTS,
    "PosixTarget.close": MOMENTS,
    "PosixTargetDirectory.existing": MOMENTS,
    "PosixTargetDirectory.make_directory": MOMENTS,
    "PosixTargetDirectory.put_file": MOMENTS,
    "PosixTargetDirectory.put_link": MOMENTS,
    "PosixTargetDirectory.put_special": MOMENTS,
    "PosixTargetDirectory.put_hard_link": MOMENTS,
    "PosixTargetDirectory.stage_file": MOMENTS,
    "PosixTargetDirectory.set_metadata": MOMENTS,
    "PosixStagedFile.write": MOMENTS,
    "PosixStagedFile.finish": MOMENTS,
}

CONNECT: dict[str, tuple[str, ...]] = {
    "Server.info": MOMENTS,
    "Server.enrol": MOMENTS,
    "write_private@keep": MOMENTS,
    "write_private@save": MOMENTS,
    "Server.create_vault": MOMENTS,
    "Server.put_slot": MOMENTS,
    "Server.put_slot_list": MOMENTS,
    "Server.register_kit": MOMENTS,
    "Database.put@remember_slots": MOMENTS,
}

NOT_KILLED = {
    "PosixTarget.existing": "only looks, and only where files may not be overwritten",
    "PosixFile.data_ranges": "first backups only: `test_first_backup_…`",
    "PosixDirectory.read_unchanged": "first backups only: `test_first_backup_…`",
    "PosixDirectory.read_link": "first backups only: `test_first_backup_…`",
    "PosixDirectory.stat": "asked only about names that a race made doubtful",
    "PosixDirectory.stat_self": "asked only about roots of file systems",
    "PosixStagedFile.discard": "only where content is damaged; removes what close removes",
    "Server.with_token": "asks nothing",
    "Server.close": "asks nothing",
    "Server.heartbeat": "a thread of its own; says what any request says",
    "Server.kit_session": "reads; `test_cli_keys.py`",
    "Server.devices": "reads",
    "Server.confirmations": "reads",
    "Server.events": "reads",
    "Server.ask_confirmation": "one request without any state on the machine",
}
"""Port methods without a kill in these tables, and why."""


def kill(world: World, moment: str, point: str, *command: str | Path, nth: int = 1) -> None:
    """Run the command, which dies at the point."""
    world.machine_order.write_text(f"{moment} {nth} {point}")
    ran = world.machine.run(*command)
    assert not world.machine_order.exists(), f"{point} was not reached: {ran.said}"
    assert ran.code == -signal.SIGKILL


def end_well(world: World) -> None:
    """The run after all the kills."""
    before = world.snapshots()
    ran = world.back_up()
    assert ran.code == 0, ran.said
    assert world.snapshots() == before + 1
    world.assert_sound(ran.result["snapshot"])
    assert world.received_twice() == []
    assert world.offered_again() == []
    assert not list(world.machine.state().glob("spool/*/*")), "the spool is empty after a good run"


@pytest.mark.parametrize("point", BACKUP)
def test_backup_killed_at(world: World, point: str) -> None:
    with world.fault():
        if point == MERGES_WHAT_WAS_STAGED:
            world.change_source()
            assert world.back_up().code == 0
        for moment in BACKUP[point]:
            world.change_source()
            kill(world, moment, point, "backup")
        end_well(world)


@pytest.mark.parametrize("nth", [2, 3])
@pytest.mark.parametrize(
    "point", ["Spool.send", "Server.put_pack", "LocalChunkIndex.add_pack", "SpoolDirectory.write"]
)
def test_backup_killed_in_the_middle_at(world: World, point: str, nth: int) -> None:
    with world.fault():
        world.change_source()
        kill(world, "after", point, "backup", nth=nth)
        end_well(world)


@pytest.mark.parametrize("point", AFTER_LOSS)
def test_backup_after_lost_state_killed_at(world: World, point: str) -> None:
    with world.fault():
        for moment in AFTER_LOSS[point]:
            (world.machine.state() / "state.sqlite3").unlink()
            world.change_source()
            kill(world, moment, point, "backup")
        end_well(world)


@pytest.mark.parametrize("point", RESUMING)
def test_resuming_backup_killed_at(world: World, point: str) -> None:
    with world.fault():
        for moment in RESUMING[point]:
            world.change_source()
            kill(world, "before", "Server.put_pack", "backup")
            kill(world, moment, point, "backup")
        end_well(world)


@pytest.mark.parametrize(
    "point",
    [
        "PosixFile.data_ranges",
        "PosixDirectory.read_link",
        "PosixDirectory.read_unchanged",
        "PosixFile.read_into",
    ],
)
def test_first_backup_killed_at(world: World, point: str) -> None:
    name = point.replace(".", "-").lower()
    with world.fault():
        for moment in MOMENTS:
            kill(world, moment, point, "backup", "--set", name, world.source)
        ran = world.machine.run("backup", "--set", name)
        assert ran.code == 0, ran.said
        world.assert_sound(ran.result["snapshot"])
        assert world.received_twice() == []
        assert world.offered_again() == []


@pytest.mark.parametrize("point", RESTORE)
def test_restore_killed_at(world: World, point: str, tmp_path: Path) -> None:
    """Whatever is there to be seen is whole; a further run completes it."""
    restore = ("restore", "latest", "--target", tmp_path / "target", "--overwrite", "always")
    with world.fault():
        world.change_source()
        assert world.back_up().code == 0
        for moment in RESTORE[point]:
            kill(world, moment, point, *restore)
            assert_nothing_by_halves(world.source, tmp_path / "target")
        result = world.machine.done(*restore)
        assert result["errors"] == 0
        assert differences(world.source, tmp_path / "target" / world.source.relative_to("/")) == []
        assert_no_leftovers(tmp_path / "target")


@pytest.mark.parametrize("point", CONNECT)
def test_connect_killed_at(world: World, point: str, tmp_path: Path) -> None:
    """The code still works, or a new one does; the half-made vault stays empty and in nobody's way."""
    served, machine = world.served, world.machine
    with world.fault():
        for moment in CONNECT[point]:
            email = f"{moment}-{point}@example.org".lower().replace("_", "-")
            fresh = type(machine)(tmp_path / moment, nursery=machine.nursery, environment=machine.environment)
            code = served.create_account(email)
            world.machine_order.write_text(f"{moment} 1 {point}")
            ran = fresh.run("connect", served.url, "--code", code)
            assert ran.code == -signal.SIGKILL, ran.said
            again = fresh.run("connect", served.url, "--code", code)
            if again.code != 0:
                assert again.code == 4, again.said
                assert "muniment admin enrol" in again.said
                code = served.admin("enrol", email, "--new-vault")["code"]
                again = fresh.run("connect", served.url, "--code", code)
            assert again.code == 0, again.said
            ran = fresh.run("backup", world.source / "notes")
            assert ran.code == 0, ran.said
            target = tmp_path / f"{moment}-restored"
            assert fresh.done("restore", "latest", "--target", target)["errors"] == 0
            notes = world.source / "notes"
            assert differences(notes, target / notes.relative_to("/")) == []


def assert_nothing_by_halves(source: Path, target: Path) -> None:
    """Every regular file of the target is the source's, byte for byte."""
    for path in target.rglob("*"):
        if path.is_file() and not path.is_symlink() and not _is_staging(path, target):
            original = Path("/") / path.relative_to(target)
            assert path.read_bytes() == original.read_bytes(), f"{path} is not whole"


def assert_no_leftovers(target: Path) -> None:
    assert [path for path in target.rglob("*") if _is_staging(path, target)] == []


def _is_staging(path: Path, target: Path) -> bool:
    return any(part.startswith(".muniment") for part in path.relative_to(target).parts)


# --- the tables name every port


def _methods(subject: type) -> set[str]:
    return {
        name
        for name, value in vars(subject).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }


ADAPTERS = {
    ports.PackSink: uploads.Spool,
    ports.BlockSource: uploads.VaultPacks,
    ports.ChunkIndex: chunk_index.LocalChunkIndex,
    ports.PageCache: page_cache.LocalPageCache,
    ports.SourceDisk: posix.PosixDisk,
    ports.Directory: posix.PosixDirectory,
    ports.OpenFile: posix.PosixFile,
    ports.TargetDisk: target.PosixTarget,
    ports.TargetDirectory: target.PosixTargetDirectory,
    ports.StagedFile: target.PosixStagedFile,
}
NO_OUTSIDE = {ports.Clock, ports.Progress, ports.Excludes}
"""Ports that change nothing and ask nothing outside the process."""


def test_every_port_call_has_its_kill_points() -> None:
    tables = (BACKUP, AFTER_LOSS, RESUMING, RESTORE, CONNECT)
    killed = {point.partition("@")[0] for table in tables for point in table}
    protocols = {
        value
        for value in vars(ports).values()
        if inspect.isclass(value) and getattr(value, "_is_protocol", False)
    }
    assert protocols - NO_OUTSIDE == ADAPTERS.keys() | ({ports.Protocol} & protocols)
    wanted = {f"{adapter.__name__}.{name}" for port, adapter in ADAPTERS.items() for name in _methods(port)}
    wanted |= {f"Server.{name}" for name in _methods(transport.Server)}
    assert wanted - killed - NOT_KILLED.keys() == set()
    assert NOT_KILLED.keys() & killed == set()
    assert NOT_KILLED.keys() <= wanted
    assert sum(len(table[point]) for table in tables for point in table) >= 40
