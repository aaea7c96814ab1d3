"""Commits against a real server when what this machine remembers of its last one is wrong."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from muniment.client.state.database import Database, machine_identity
from muniment.client.state.known_heads import KnownHeads
from muniment.model.ids import PackId, SnapshotId
from tests.support.machine import Machine, differences
from tests.support.server import Served, shared_server

__all__ = ["shared_server"]


@pytest.fixture
def machine(shared_server: Served, tmp_path: Path) -> Machine:
    code = shared_server.create_account(f"{os.urandom(6).hex()}@commits.org")
    return Machine(tmp_path / "home").connect(shared_server.url, code)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    top.mkdir()
    for number in range(5):
        (top / f"file {number}").write_bytes(os.urandom(30_000))
    return top


@pytest.mark.parametrize("memory", ["wrong", "lost"])
def test_a_reference_set_remembered_wrongly_is_replaced(
    machine: Machine, tree: Path, tmp_path: Path, memory: str
) -> None:
    made = machine.done("backup", tree)
    path = machine.state() / "state.sqlite3"
    if memory == "wrong":
        database = Database(path, machine=machine_identity())
        strangers = frozenset({PackId.random(), PackId.random()})
        KnownHeads(database).note_reference_set(
            SnapshotId.parse(made["snapshot"]), strangers, instead_of=None
        )
        database.close()
    else:
        connection = sqlite3.connect(path)
        connection.execute("delete from reference_sets")
        connection.commit()
        connection.close()
    (tree / "file 2").write_bytes(b"changed")
    again = machine.done("backup")
    assert again["new_bytes"] == 7
    machine.done("restore", f"latest:{tree}", "--target", tmp_path / "out")
    assert differences(tree, tmp_path / "out" / "tree") == []
    assert machine.done("verify", "--read-data")["errors"] == 0


def test_what_a_killed_run_of_another_set_sealed_is_sent_not_read_again(
    shared_server: Served, machine: Machine, tree: Path, tmp_path: Path
) -> None:
    """The index is one for all sets: the second run finds in it what the first had only sealed."""
    order = tmp_path / "order"
    order.write_text("before 1 Spool._upload")
    killed = replace(machine, prefix=(sys.executable, "-m", "tests.support.killing", str(order), "--"))
    assert killed.run("backup", tree, "--set", "first").code == -signal.SIGKILL
    spools = machine.state() / "spool"
    sealed = set(spools.glob("*/*.pack"))
    assert sealed

    copied = tmp_path / "copied"
    shutil.copytree(tree, copied)
    made = machine.done("backup", copied, "--set", "second")
    assert made["warnings"] == []
    assert made["resumed_packs"] == 0
    assert made["stored_bytes"] < 100_000 < made["bytes"]  # pages alone
    assert machine.done("verify", "--read-data")["errors"] == 0
    machine.done("restore", f"latest:{copied}", "--target", tmp_path / "out")
    assert differences(tree, tmp_path / "out" / "copied") == []

    # The set that was killed goes on, and finds its pack where it should be.
    again = machine.done("backup", "--set", "first")
    assert again["resumed_packs"] < len(sealed)
    assert list(spools.glob("*/*.pack")) == []
    assert machine.done("verify", "--read-data")["errors"] == 0
