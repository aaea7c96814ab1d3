"""`kill -9` of the server before, inside and after every step it takes; then it is started again.

The machine's run goes on by itself once the server is back, or fails and is repeated. Either way it ends in a
snapshot that restores to the source; no pack is taken in twice, and nothing half-done is left.
"""

from __future__ import annotations

import ast
import inspect
import signal
import subprocess
import time
from pathlib import Path

import pytest

from muniment.server.store import local, port
from tests.support.world import World, world, worlds

__all__ = ["world", "worlds"]

MOMENTS = ("before", "after")
CONTEXT = ("before", "inside", "after")

BACKUP: dict[str, tuple[str, ...]] = {
    # receiving a pack
    "begin_receipt": MOMENTS,
    "writing@_open_receipt": CONTEXT,
    "LocalObjects.begin@_open_receipt": MOMENTS,
    "Receipt.append": MOMENTS,
    "LocalWriter.write@append": MOMENTS,
    "Receipt.finish": MOMENTS,
    "LocalWriter.publish@finish": MOMENTS,
    "LocalWriter.discard@publish": MOMENTS,
    "writing@_make_live": CONTEXT,
    # committing
    "writing@commit_snapshot": CONTEXT,
    "LocalObjects.put": MOMENTS,
    "LocalObjects.begin@put": MOMENTS,
    "LocalWriter.write@put": MOMENTS,
    "LocalWriter.publish@put": MOMENTS,
    # around it
    "writing@open_session": CONTEXT,
    "writing@close_session": CONTEXT,
    "writing@report_run": CONTEXT,
    "LocalObjects.open": MOMENTS,
    "LocalReader.read": MOMENTS,
    "LocalReader.close": MOMENTS,
}
"""Reached by every backup of something changed."""

LEAVING: dict[str, tuple[str, ...]] = {
    "Receipt.abandon": MOMENTS,
    "LocalObjects.delete@give_up_upload": MOMENTS,
    "writing@give_up_upload": CONTEXT,
    "known_packs": MOMENTS,
}
"""Reached where a machine dies while it sends, and another run follows."""

STARTING: dict[str, tuple[str, ...]] = {
    "LocalObjects.clear_incoming": MOMENTS,
    "LocalObjects.delete@give_up_upload": MOMENTS,
    "writing@give_up_upload": CONTEXT,
}
"""Reached when the server starts after it was killed with uploads under way."""

REPEATED: dict[str, tuple[str, ...]] = {"LocalObjects.sync": MOMENTS}
"""Reached where a commit is repeated whose objects were stored by a server that was killed."""

CONNECT: dict[str, tuple[str, ...]] = {
    "writing@enrol_device": CONTEXT,
    "writing@create_vault": CONTEXT,
    "writing@put_slot": CONTEXT,
    "writing@put_slot_list": CONTEXT,
    "writing@register_kit": CONTEXT,
}

NOT_KILLED = {
    "LocalObjects.list": "reads; nothing of the service calls it yet",
    "LocalObjects.probe": "writes and removes one file, which the next start clears",
    "writing@settle_confirmations": "one transaction that any later request repeats",
    "writing@ask_confirmation": "one transaction, asked by a person who asks again",
    "writing@confirm": "run by the operator's command, not by the server",
    "writing@refuse": "run by the operator's command, not by the server",
    "writing@withdraw_newest_list": "run by the operator's command, not by the server",
    "LocalObjects.delete_all": "part of closing a vault, see the next lines",
    "LocalObjects.remove_all": "part of closing a vault, see the next line",
    "writing@_begin": "closing a vault: tests/unit/server/test_closing.py stops it at every step",
    "writing@_delete_batch": "closing a vault, as above",
    "writing@_finish": "closing a vault, as above",
    "writing@discard": "removes what a refused request stored; what stays goes when the vault is closed",
    "writing@revoke_own_device": "one transaction, asked on the website by a person who asks again",
    "writing@set_allowance": "run by the operator's command, not by the server",
    "writing@open_kit_session": "one transaction; a repeat makes another token",
    "writing@quarantine_pack": "one transaction that any later read repeats",
    "writing@heartbeat": "one transaction that the next heartbeat repeats",
    "writing@_remove_replaced": "one transaction that the next round repeats",
}
"""Steps without a kill in these tables, and why."""


def await_death(world: World, point: str, *, seconds: float = 120) -> None:
    """Wait until the server has died at the point."""
    process = world.served.process
    assert process is not None
    try:
        assert process.wait(seconds) == -signal.SIGKILL
    except subprocess.TimeoutExpired:
        raise AssertionError(f"{point} was not reached") from None
    assert not world.server_order.exists()


def come_back(world: World) -> None:
    world.served.start(port=world.served.port)


def order(world: World, moment: str, point: str) -> None:
    world.server_order.write_text(f"{moment} 1 {point}")


@pytest.mark.parametrize("point", BACKUP)
def test_server_killed_during_backup_at(world: World, point: str) -> None:
    """The machine waits for the server and goes on."""
    with world.fault():
        for moment in BACKUP[point]:
            world.change_source()
            order(world, moment, point)
            running = world.machine.begin("backup")
            await_death(world, point)
            come_back(world)
            ran = world.machine.end(running)
            assert ran.code == 0, ran.said
        world.assert_sound(ran.result["snapshot"])
        assert world.received_twice() == []


@pytest.mark.parametrize("point", ["Receipt.finish", "writing@_make_live", "writing@commit_snapshot"])
def test_impatient_backup_fails_clearly_and_is_repeated(world: World, point: str) -> None:
    with world.fault():
        for moment in MOMENTS:
            world.change_source()
            order(world, moment, point)
            ran = world.machine.run("backup", more={"MUNIMENT_PATIENCE": "0.3"})
            await_death(world, point)
            assert ran.code == 1, ran.said
            assert ran.result["error"] == "ServerUnreachable"
            assert world.served.url in ran.said
            assert "again" in ran.result["advice"]
            come_back(world)
        ran = world.back_up()
        assert ran.code == 0, ran.said
        world.assert_sound(ran.result["snapshot"])
        assert world.received_twice() == []
        assert world.offered_again() == []


@pytest.mark.parametrize("point", LEAVING)
def test_server_killed_while_a_machine_leaves_at(world: World, point: str) -> None:
    with world.fault():
        for moment in LEAVING[point]:
            world.change_source()
            if point != "known_packs":
                order(world, moment, point)
            # Dripping makes sure that the machine dies in the middle of a pack.
            running = world.machine.begin("backup", "--limit-up", "64")
            _await_upload(world)
            running.kill()
            world.machine.end(running)
            if point == "known_packs":
                order(world, moment, point)
                running = world.machine.begin("backup")
            await_death(world, point)
            come_back(world)
            if point == "known_packs":
                assert world.machine.end(running).code == 0
        ran = world.back_up()
        assert ran.code == 0, ran.said
        world.assert_sound(ran.result["snapshot"])
        assert world.received_twice() == []


def _await_upload(world: World) -> None:
    """Until a pack is on its way in, by the server's own record."""
    end = time.monotonic() + 60
    before = len(world.records())
    while len(world.records()) <= before:
        assert time.monotonic() < end, "nothing was sent"
        time.sleep(0.01)
    time.sleep(0.05)


@pytest.mark.parametrize("point", STARTING)
def test_server_killed_while_it_starts_at(world: World, point: str) -> None:
    with world.fault():
        for moment in STARTING[point]:
            world.change_source()
            order(world, "before", "Receipt.finish")
            running = world.machine.begin("backup", more={"MUNIMENT_PATIENCE": "0"})
            await_death(world, "Receipt.finish")
            world.machine.end(running)
            order(world, moment, point)
            with pytest.raises(AssertionError, match="did not start"):
                come_back(world)
            assert not world.server_order.exists()
            come_back(world)
        ran = world.back_up()
        assert ran.code == 0, ran.said
        world.assert_sound(ran.result["snapshot"])
        assert world.received_twice() == []


@pytest.mark.parametrize("point", REPEATED)
def test_server_killed_while_a_commit_is_repeated_at(world: World, point: str) -> None:
    with world.fault():
        for moment in REPEATED[point]:
            world.change_source()
            order(world, "inside", "writing@commit_snapshot")
            running = world.machine.begin("backup")
            await_death(world, "writing@commit_snapshot")
            order(world, moment, point)
            come_back(world)
            await_death(world, point)
            come_back(world)
            ran = world.machine.end(running)
            assert ran.code == 0, ran.said
        world.assert_sound(ran.result["snapshot"])
        assert world.received_twice() == []


@pytest.mark.parametrize("point", CONNECT)
def test_server_killed_during_connect_at(world: World, point: str, tmp_path: Path) -> None:
    """The machine repeats its request, and gets one device and one vault out of one code."""
    with world.fault():
        for moment in CONNECT[point]:
            email = f"{moment}-{point}@example.org".replace("@", "-", 1).replace("_", "-")
            code = world.served.create_account(email)
            vaults, devices = (world.rows(f"select count(*) from {t}")[0][0] for t in _TABLES)
            fresh = type(world.machine)(tmp_path / moment, nursery=world.machine.nursery)
            order(world, moment, point)
            running = fresh.begin("connect", world.served.url, "--code", code)
            await_death(world, point)
            come_back(world)
            ran = fresh.end(running)
            assert ran.code == 0, ran.said
            assert [world.rows(f"select count(*) from {t}")[0][0] for t in _TABLES] == [
                vaults + 1,
                devices + 1,
            ]
            assert fresh.run("backup", world.source / "notes").code == 0


_TABLES = ("vaults_vault", "accounts_device")


def test_server_asked_to_stop_during_upload(world: World) -> None:
    """SIGTERM: it ends within seconds, says nothing was stored that was not, and the run goes on after."""
    with world.fault():
        world.change_source()
        running = world.machine.begin("backup", "--limit-up", "256")
        _await_upload(world)
        begun = time.monotonic()
        assert world.served.stop() == 0
        assert time.monotonic() - begun < 5, "one second's grace, and what a busy machine adds"
        come_back(world)
        ran = world.machine.end(running)
        assert ran.code == 0, ran.said
        world.assert_sound(ran.result["snapshot"])
        assert world.received_twice() == []


# --- the tables name every step


def _methods(subject: type) -> set[str]:
    return {
        name
        for name, value in vars(subject).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }


def _transactions() -> set[str]:
    """The functions that hold a `with writing()`, of all that machines and their operator ask for.

    What people do on pages is one transaction each, without a file beside it: tests/unit/server has those.
    """
    found = set()
    server = Path(local.__file__).parents[1]
    for path in (path for part in ("vaults", "store", "dataplane") for path in (server / part).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and any(
                isinstance(inner, ast.With) and "writing()" in ast.unparse(inner.items[0])
                for inner in ast.walk(node)
            ):
                found.add(f"writing@{node.name}")
    return found


def test_every_step_of_the_server_has_its_kill_points() -> None:
    tables = (BACKUP, LEAVING, STARTING, REPEATED, CONNECT)
    killed = {point for table in tables for point in table}
    whole = {point.partition("@")[0] for point in killed}
    adapters = {
        port.ObjectStore: local.LocalObjects,
        port.ObjectWriter: local.LocalWriter,
        port.ObjectReader: local.LocalReader,
    }
    wanted = {f"{adapter.__name__}.{name}" for asked, adapter in adapters.items() for name in _methods(asked)}
    assert wanted - whole - NOT_KILLED.keys() == set()
    assert _transactions() - killed - NOT_KILLED.keys() == set()
    assert NOT_KILLED.keys() - wanted - _transactions() == set()
    assert sum(len(table[point]) for table in tables for point in table) >= 40
