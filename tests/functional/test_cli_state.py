"""Local state deleted, corrupted, copied; a run killed while it sends; two runs at once."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.killing import INTERRUPT
from tests.support.machine import Machine, differences
from tests.support.server import Served, server, shared_server, wait_until

__all__ = ["server", "shared_server"]


@pytest.fixture
def email() -> str:
    return f"{os.urandom(6).hex()}@state.org"


@pytest.fixture
def machine(shared_server: Served, tmp_path: Path, email: str) -> Machine:
    return Machine(tmp_path / "home").connect(shared_server.url, shared_server.create_account(email))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    top.mkdir()
    for number in range(20):
        (top / f"file {number}").write_bytes(os.urandom(60_000))
    return top


def restored_is_whole(machine: Machine, tree: Path, target: Path) -> bool:
    machine.done("restore", f"latest:{tree}", "--target", target)
    return differences(tree, target / tree.name) == []


def test_deleted_state_is_learned_again_and_nothing_is_stored_twice(
    machine: Machine, tree: Path, tmp_path: Path
) -> None:
    first = machine.done("backup", tree)
    shutil.rmtree(machine.state())
    (tree / "one more").write_bytes(os.urandom(5_000))
    again = machine.done("backup")
    assert again["new_bytes"] == 5_000
    assert again["files"] == first["files"] + 1
    newest = machine.done("snapshots")[-1]
    assert newest["parent"] == first["snapshot"]
    assert restored_is_whole(machine, tree, tmp_path / "out")


@pytest.mark.parametrize("damage", ["garbage", "cut", "empty", "flipped"])
def test_corrupted_state_is_set_aside(machine: Machine, tree: Path, tmp_path: Path, damage: str) -> None:
    machine.done("backup", tree)
    path = machine.state() / "state.sqlite3"
    content = path.read_bytes()
    spoiled = {
        "garbage": os.urandom(len(content)),
        "cut": content[: len(content) // 2],
        "empty": b"",
        "flipped": bytes(byte ^ 0x55 for byte in content[:8192]) + content[8192:],
    }[damage]
    path.write_bytes(spoiled)
    (tree / "file 3").write_bytes(b"changed")
    again = machine.done("backup")
    assert again["errors"] == 0
    assert restored_is_whole(machine, tree, tmp_path / "out")


def test_a_copied_state_begins_a_new_installation_and_the_other_must_enrol_anew(
    machine: Machine, shared_server: Served, tree: Path, tmp_path: Path, email: str
) -> None:
    machine.done("backup", tree)
    twin = Machine(tmp_path / "copy", vault=machine.vault)
    shutil.copytree(machine.home, twin.home)
    copied = twin.run("backup", more={"MUNIMENT_HOME": str(twin.home)})
    assert copied.code == 0
    assert "new installation" in copied.err
    original = machine.run("backup")
    assert (original.code, original.result["error"]) == (5, "DeviceCloned")
    assert "enrol" in original.result["advice"].lower()

    machine.connect(shared_server.url, shared_server.enrol(email), "--name", "the original")
    assert machine.done("backup")["new_bytes"] == 0
    assert twin.run("backup").code == 0
    assert {one["device"] for one in machine.done("snapshots")} >= {"the original"}


def put_requests(served: Served) -> list[int]:
    """Bytes received by each accepted PUT of a pack, from the server's own log."""
    lines = [
        line for line in served.log.read_text().splitlines() if "PUT /vaults/{vault}/packs/{pack}" in line
    ]
    accepted = [line for line in lines if re.search(r'"status": 200\b', line)]
    return [int(re.search(r'"received": (\d+)', line)[1]) for line in accepted]  # type: ignore[index]


def test_a_killed_run_resumes_without_sending_a_pack_twice(server: Served, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "home").connect(server.url, server.create_account())
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(12):
        (tree / f"file {number}").write_bytes(os.urandom(4_000_000))
    process = machine.begin("backup", tree, "--limit-up", "4096")
    spool = machine.state() / "spool"
    wait_until(lambda: len(list(spool.glob("*/*.pack"))) >= 3, seconds=60)
    process.send_signal(signal.SIGKILL)
    machine.end(process)
    left = {path.name for path in spool.glob("*/*.pack")}
    assert len(left) >= 2

    ran = machine.done("backup")
    assert ran["resumed_packs"] >= 1
    assert list(spool.glob("*/*.pack")) == []
    sizes = put_requests(server)
    content = sum(path.stat().st_size for path in tree.iterdir())
    assert sum(sizes) < 1.1 * content + 2_000_000, sizes
    assert restored_is_whole(machine, tree, tmp_path / "out")


def test_ctrl_c_keeps_what_is_sealed_and_says_how_to_go_on(server: Served, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "home").connect(server.url, server.create_account())
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(30):
        (tree / f"file {number:02}").write_bytes(os.urandom(4_000_000))
    order = tmp_path / "order"
    order.write_text("after 1 Spool.send")
    prefix = [sys.executable, "-m", "tests.support.killing", str(order), "--"]
    environment = {INTERRUPT: "1"}
    stopped = Machine(machine.home, prefix=prefix, environment=environment, vault=machine.vault)
    ran = stopped.run("backup", tree)
    assert not order.exists()
    assert ran.code == 130, ran.said
    assert "again" in ran.result["advice"]
    partial = [one for one in machine.done("snapshots") if one["partial"]]
    assert len(partial) == 1

    done = machine.done("backup")
    assert 0 < done["new_bytes"] < 30 * 4_000_000
    assert restored_is_whole(machine, tree, tmp_path / "out")
    assert not machine.done("snapshots")[-1]["partial"]


def test_two_runs_of_one_set_at_once(machine: Machine, tree: Path) -> None:
    (tree / "large").write_bytes(os.urandom(6_000_000))
    slow = machine.begin("backup", tree, "--limit-up", "1024")
    wait_until(lambda: list((machine.state() / "locks").glob("*")), seconds=30)
    time.sleep(0.5)
    second = machine.run("backup", tree)
    assert (second.code, second.result["error"]) == (1, "AlreadyRunning")
    assert machine.end(slow).code == 0


def test_two_sets_at_once_are_both_committed(machine: Machine, tree: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "large").write_bytes(os.urandom(3_000_000))
    runs = [machine.begin("backup", tree, "--set", "one"), machine.begin("backup", other, "--set", "two")]
    assert [machine.end(run).code for run in runs] == [0, 0]
    assert {one["set"] for one in machine.done("snapshots")} == {"one", "two"}


def test_changes_of_the_configuration_at_once_are_all_kept(machine: Machine, tree: Path) -> None:
    machine.done("backup", tree)
    names = [f"set-{number}" for number in range(6)]
    with ThreadPoolExecutor(len(names)) as pool:
        for done in [pool.submit(machine.done, "sets", "add", name, tree) for name in names]:
            done.result()
    assert {one["name"] for one in machine.done("sets", "list")} == {"default", *names}


def test_trying_out_remembers_no_set(machine: Machine, tree: Path) -> None:
    machine.done("backup", tree, "--dry-run")
    assert machine.done("sets", "list") == []


@pytest.mark.parametrize("what", ["state.sqlite3", "spool", "locks"])
def test_state_that_cannot_be_used_is_named(machine: Machine, tree: Path, what: str) -> None:
    first = machine.done("backup", tree)
    place = machine.state() / what
    kept = place.rename(machine.state() / "aside")
    if kept.is_dir():
        place.touch()
    else:
        place.mkdir()
    (tree / "new").write_bytes(os.urandom(5_000))
    refused = machine.run("backup")
    assert refused.code == 1
    assert "should not have happened" not in refused.result["message"]
    assert "written" in refused.result["advice"]
    place.unlink() if kept.is_dir() else place.rmdir()
    kept.rename(place)
    assert machine.done("backup")["files"] == first["files"] + 1


def test_packs_lost_by_the_server_are_read_and_stored_again(
    server: Served, tree: Path, tmp_path: Path
) -> None:
    machine = Machine(tmp_path / "home").connect(server.url, server.create_account())
    machine.done("backup", tree)
    stored = (server.data / "objects").rglob("*")
    packs = [path for path in stored if path.is_file() and path.stat().st_size > 1_000_000]
    for path in packs:
        path.unlink()
    verified = machine.run("verify", "--read-data")
    assert verified.code == 5
    assert verified.result["damaged"]
    (tree / "new").write_bytes(b"new")
    again = machine.run("backup")
    assert again.code == 0, again.said
    assert restored_is_whole(machine, tree, tmp_path / "out")
    assert machine.done("verify", "--read-data", "latest")["errors"] == 0
