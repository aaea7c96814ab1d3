"""Commits against a real server when what this machine remembers of its last one is wrong."""

from __future__ import annotations

import os
import sqlite3
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
