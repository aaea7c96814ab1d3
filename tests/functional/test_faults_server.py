"""A server that is away, halted, out of room, over its allowance; a machine that is shut out; two at once."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.killing import INTERRUPT, SMALL_PACKS
from tests.support.machine import Machine, differences
from tests.support.server import Served, server, wait_until

__all__ = ["server"]

EMAIL = "owner@example.org"


@pytest.fixture
def machine(server: Served, tmp_path: Path) -> Machine:
    return Machine(tmp_path / "home").connect(server.url, server.create_account(EMAIL))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    top.mkdir()
    for number in range(10):
        (top / f"file{number}").write_bytes(os.urandom(700_000))
    then = time.time() - 3600
    for path in top.iterdir():
        os.utime(path, (then, then))
    return top


def in_small_packs(machine: Machine, order: Path, more: Mapping[str, str] | None = None) -> Machine:
    """The machine, whose runs close packs early and obey an order as `tests.support.killing` says."""
    prefix = [sys.executable, "-m", "tests.support.killing", str(order), "--"]
    environment = {SMALL_PACKS: "1", **(more or {})}
    return Machine(machine.home, prefix=prefix, environment=environment, vault=machine.vault)


def assert_good_run(machine: Machine, tree: Path, target: Path) -> None:
    machine.done("backup")
    machine.done("restore", f"latest:{tree}", "--target", target)
    assert differences(tree, target / tree.name) == []


def test_a_server_that_is_away(server: Served, machine: Machine, tree: Path, tmp_path: Path) -> None:
    with server.absent():
        ran = machine.run("backup", tree, more={"MUNIMENT_PATIENCE": "1"})
    assert (ran.code, ran.result["error"]) == (1, "ServerUnreachable")
    assert f"{server.url} cannot be reached" in ran.result["message"]
    assert "again" in ran.result["advice"]
    assert_good_run(machine, tree, tmp_path / "out")


def test_a_server_that_takes_connections_and_says_nothing(machine: Machine, tree: Path) -> None:
    """The wait is bounded by the patience given, not by the network's."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        running = machine.begin("backup", tree, "--server", url)
        silent.settimeout(60)
        connection, _ = silent.accept()
        with connection:
            assert connection.recv(1)  # the machine has started up, asked, and waits
            running.send_signal(signal.SIGINT)
            begun = time.monotonic()
            time.sleep(0.3)
            running.send_signal(signal.SIGINT)
            ran = machine.end(running)
            took = time.monotonic() - begun
    assert ran.code == 130, ran.said
    assert took < 5


def test_a_server_that_halts_for_a_while(
    server: Served, machine: Machine, tree: Path, tmp_path: Path
) -> None:
    running = machine.begin("backup", tree, "--limit-up", "4096")
    time.sleep(0.8)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        time.sleep(2)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert machine.end(running).code == 0
    assert_good_run(machine, tree, tmp_path / "out")


def test_a_server_out_of_room(server: Served, machine: Machine, tree: Path, tmp_path: Path) -> None:
    soft, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (1 << 20, hard))
    ran = machine.run("backup", tree, more={"MUNIMENT_PATIENCE": "1"})
    assert (ran.code, ran.result["error"]) == (1, "ServerUnreachable")
    assert "room" in ran.said
    assert "operator" in ran.result["advice"]
    assert machine.done("snapshots") == []
    assert [
        path for path in (server.data / "objects").glob("*/packs/*/*") if path.stat().st_size > 1 << 20
    ] == []
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (soft, hard))
    assert_good_run(machine, tree, tmp_path / "out")


def test_a_vault_over_its_allowance(server: Served, machine: Machine, tree: Path, tmp_path: Path) -> None:
    server.admin("set-allowance", EMAIL, str(3 << 20))
    ran = machine.run("backup", tree)
    assert (ran.code, ran.result["error"]) == (4, "VaultFull")
    assert "allowance" in ran.result["message"]
    assert "larger allowance" in ran.result["advice"]
    assert machine.done("snapshots") == []
    server.admin("set-allowance", EMAIL, str(1 << 30))
    assert_good_run(machine, tree, tmp_path / "out")


def test_a_machine_revoked_in_the_middle_of_a_run(
    server: Served, machine: Machine, tree: Path, tmp_path: Path
) -> None:
    other = Machine(tmp_path / "other").connect(server.url, server.enrol(EMAIL), "--name", "other")
    running = in_small_packs(machine, tmp_path / "none").begin("backup", tree, "--limit-up", "256")
    asked = other.run("devices", "revoke", machine.device)
    assert asked.code == 4, asked.said
    (pending,) = server.admin("confirm")["requests"]
    server.confirm(pending["request"])
    ran = machine.end(running)
    assert (ran.code, ran.result["error"]) == (4, "NotGranted"), ran.said
    assert "revoked" in ran.said
    assert "muniment admin enrol" in ran.result["advice"]
    assert machine.run("snapshots").code == 4
    assert other.done("snapshots") == []
    other.done("backup", tree)
    assert_good_run(other, tree, tmp_path / "out")


def test_two_machines_at_once_into_one_vault(
    server: Served, machine: Machine, tree: Path, tmp_path: Path
) -> None:
    """Both hold much the same; each is whole, and neither waits for the other or undoes it."""
    other = Machine(tmp_path / "other").connect(server.url, server.enrol(EMAIL), "--name", "other")
    mine = tmp_path / "mine"
    mine.mkdir()
    for path in tree.iterdir():
        (mine / path.name).write_bytes(path.read_bytes())
    (mine / "own").write_bytes(os.urandom(500_000))
    for changed in range(3):
        (tree / "both").write_bytes(os.urandom(50_000 + changed))
        (mine / "own").write_bytes(os.urandom(50_000 + changed))
        running = [machine.begin("backup", tree), other.begin("backup", mine)]
        ran = [machine.end(running[0]), other.end(running[1])]
        assert [one.code for one in ran] == [0, 0], [one.said for one in ran]
    assert len(machine.done("snapshots")) == 6
    for which, source in ((machine, tree), (other, mine)):
        target = tmp_path / f"of {source.name}"
        newest = which.done("backup")["snapshot"]
        machine.done("restore", f"{newest}:{source}", "--target", target)
        assert differences(source, target / source.name) == []
    assert machine.done("verify", "--read-data")["errors"] == 0


def test_stopped_on_a_slow_line(server: Served, machine: Machine, tree: Path, tmp_path: Path) -> None:
    """Ctrl-C does not wait until all that is sealed is sent; the next run sends what this one sealed."""
    for number in range(80):
        (tree / f"small {number}").write_bytes(os.urandom(100_000))
    order = tmp_path / "order"
    order.write_text("after 20 Spool.send")
    running = in_small_packs(machine, order, {INTERRUPT: "1"}).begin("backup", tree, "--limit-up", "256")
    wait_until(lambda: not order.exists())
    begun = time.monotonic()
    ran = machine.end(running)
    assert ran.code == 130, ran.said
    assert time.monotonic() - begun < 25, "all of it would take another 40 seconds"
    assert "again" in ran.result["advice"]
    left = {path.name for path in machine.state().glob("spool/*/*.pack")}
    assert left
    done = machine.done("backup")
    assert done["resumed_packs"] == len(left)
    assert_good_run(machine, tree, tmp_path / "out")
