"""Targets that are full, read-only, occupied; snapshots that are not there; packs that are damaged."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.machine import Machine, Ran, differences
from tests.support.server import Served, server

__all__ = ["server"]


@pytest.fixture
def machine(server: Served, tmp_path: Path) -> Machine:
    return Machine(tmp_path / "home").connect(server.url, server.create_account())


@pytest.fixture
def tree(machine: Machine, tmp_path: Path) -> Path:
    """Backed up in two runs, each of a full pack, another of what is left, and one with the list of files."""
    top = tmp_path / "tree"
    for part in ("first", "second"):
        (top / part).mkdir(parents=True)
        for number in range(5):
            (top / part / f"file{number}").write_bytes(os.urandom(1_100_000))
        machine.done("backup", top)
    return top


_LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, resource.RLIM_INFINITY))
del sys.argv[:2]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
"""Runs the module that follows, in which no file grows past half a megabyte."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes where we may mount one, else a directory under a limit of file size."""
    place = tmp_path / "small"
    place.mkdir()
    if os.system(f"mount -t tmpfs -o size=2m tmpfs '{place}' 2>/dev/null") == 0:
        yield place
        os.system(f"umount '{place}'")
    else:
        yield place


def test_a_target_that_is_full(machine: Machine, tree: Path, small_disk: Path, tmp_path: Path) -> None:
    prefix: list[str] = []
    if not os.path.ismount(small_disk):
        prefix = [sys.executable, "-c", _LIMITED]
    cramped = Machine(machine.home, prefix=prefix)
    ran = cramped.run("restore", f"latest:{tree}", "--target", small_disk / "out")
    assert (ran.code, ran.result["error"]) == (1, "TargetFull"), ran.said
    assert "room" in ran.result["advice"]
    if os.path.ismount(small_disk):
        assert "the target has room for 2.0 MiB, and this may need 10.5 MiB" in ran.err, ran.said
    for path in (small_disk / "out").rglob("file*"):
        if path.is_file() and ".muniment-restore-" not in str(path):
            assert path.read_bytes() == (tree / path.parent.name / path.name).read_bytes()
    machine.done("restore", f"latest:{tree}", "--target", tmp_path / "roomy")
    assert differences(tree, tmp_path / "roomy" / tree.name) == []


@pytest.mark.parametrize("target", ["/proc/muniment", "/dev/null/below", "/sys/kernel/muniment"])
def test_a_target_that_cannot_be_written(machine: Machine, tree: Path, target: str) -> None:
    ran = machine.run("restore", "latest", "--target", target)
    assert ran.code == 1, ran.said
    assert target in ran.result["message"]
    assert ran.result["advice"]


def test_a_target_that_is_occupied(machine: Machine, tree: Path, tmp_path: Path) -> None:
    """What was there stays as it was, and is named; all else is restored."""
    inside = tmp_path / "out" / tree.name
    inside.mkdir(parents=True)
    (inside / "first").mkdir()
    (inside / "first" / "file1").write_text("mine")
    (inside / "second").write_text("a file where a directory belongs")
    ran = machine.run("restore", f"latest:{tree}", "--target", tmp_path / "out")
    assert ran.code == 3, ran.said
    assert (inside / "first" / "file1").read_text() == "mine"
    assert (inside / "second").read_text() == "a file where a directory belongs"
    named = named_in(ran)
    assert {tree / "first" / "file1", tree / "second"} <= named
    assert (inside / "first" / "file2").read_bytes() == (tree / "first" / "file2").read_bytes()
    (inside / "second").unlink()
    machine.done("restore", f"latest:{tree}", "--target", tmp_path / "out", "--overwrite", "always")
    assert differences(tree, inside) == []


def test_what_is_missing_is_told_before_what_is_there_in_part(machine: Machine, tmp_path: Path) -> None:
    top = tmp_path / "tree"
    (top / "last").mkdir(parents=True)
    (top / "last" / "file").write_text("content")
    for number in range(12):
        (top / f"powerful {number}").write_text("program")
        (top / f"powerful {number}").chmod(0o4755)
    machine.done("backup", top)
    whole = machine.told("restore", f"latest:{top}", "--target", tmp_path / "whole").expect(0).out
    assert whole.startswith("Everything is restored, except:\n")
    (tmp_path / "out" / "tree").mkdir(parents=True)
    (tmp_path / "out" / "tree" / "last").write_text("a file where a directory belongs")
    told = machine.told("restore", f"latest:{top}", "--target", tmp_path / "out").expect(3).out.splitlines()
    assert told[0] == "Restored, but 1 entry is missing:"
    assert f"{top}/last/file: could not be written" in told[1]
    assert sum("needs --special (its set-id bits)" in line for line in told) == 10
    assert "  … and 2 more; --json names all." in told
    assert told.count("--special makes devices, and gives back set-id bits and capabilities.") == 1


@pytest.mark.parametrize("name", ["0123456789ab", "1999-12-31"])
def test_a_snapshot_that_is_not_there(machine: Machine, tree: Path, tmp_path: Path, name: str) -> None:
    ran = machine.run("restore", name, "--target", tmp_path / "out")
    assert (ran.code, ran.result["error"]) == (1, "UnknownSnapshot")
    assert name in ran.result["message"]
    assert "muniment snapshots" in ran.result["advice"]
    assert not (tmp_path / "out").exists()


def test_a_path_that_is_not_in_the_snapshot(machine: Machine, tree: Path, tmp_path: Path) -> None:
    ran = machine.run("restore", f"latest:{tree}/third", "--target", tmp_path / "out")
    assert ran.code in (1, 2), ran.said
    assert f"{tree}/third" in ran.result["message"]
    assert ran.result["advice"]


def named_in(ran: Ran, *, problem: str = "") -> set[Path]:
    """The paths that a restore reported, as they were when they were backed up."""
    return {
        Path(trouble["path"]) for trouble in ran.result["problems"] if problem in ("", trouble["problem"])
    }


def content_packs(server: Served) -> list[Path]:
    """The full one and the rest of the first run, then those of the second."""
    found = sorted((server.data / "objects").glob("*/packs/*/*"), key=lambda path: path.stat().st_mtime_ns)
    packs = [path for path in found if path.stat().st_size > 1_000_000]
    assert len(packs) == 4
    by_size = [sorted(run, key=lambda path: -path.stat().st_size) for run in (packs[:2], packs[2:])]
    return [*by_size[0], *by_size[1]]


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_pack_is_named_and_all_else_restored(
    server: Served, machine: Machine, tree: Path, tmp_path: Path, damage: str
) -> None:
    victim = content_packs(server)[0]
    content = bytearray(victim.read_bytes())
    victim.chmod(0o600)
    if damage == "gone":
        victim.unlink()
    elif damage == "cut":
        victim.write_bytes(content[:1_000_000])
    else:
        for at in range(100_000, len(content) - 100_000, 1000):
            content[at] ^= 1
        victim.write_bytes(content)
    for path in machine.state().glob("state.sqlite3*"):
        path.unlink()  # nothing may come from the cache
    out = tmp_path / "out"
    ran = machine.run("restore", f"latest:{tree}", "--target", out)
    assert ran.code == 5, ran.said
    assert ran.result["damaged_packs"], "the pack is named"
    lost = named_in(ran, problem="damaged")
    assert lost, "the files are named"
    whole = [path for path in tree.rglob("file*") if path not in lost]
    assert whole, "what is in other packs is restored"
    for path in whole:
        assert (out / tree.name / path.relative_to(tree)).read_bytes() == path.read_bytes()
    for path in lost:
        assert not (out / tree.name / path.relative_to(tree)).exists(), "never a wrong byte"
    verified = machine.run("verify", "--read-data", "latest")
    assert verified.code == 5, verified.said
    assert set(ran.result["damaged_packs"]) <= {damaged["pack"] for damaged in verified.result["damaged"]}


def test_a_snapshot_whose_list_of_files_is_lost_leads_to_another(
    server: Served, machine: Machine, tmp_path: Path
) -> None:
    top = tmp_path / "tree"
    top.mkdir()
    (top / "kept").write_bytes(os.urandom(200_000))
    first = machine.done("backup", top)["snapshot"]
    (top / "lost").write_bytes(os.urandom(2_000_000))
    machine.done("backup", top)
    packs = (server.data / "objects").glob("*/packs/*/*")
    max(packs, key=lambda path: path.stat().st_size).unlink()  # so small a run has all of it in one
    for path in machine.state().glob("state.sqlite3*"):
        path.unlink()
    ran = machine.run("restore", f"latest:{top}", "--target", tmp_path / "out")
    assert (ran.code, ran.result.get("error")) == (5, "DamagedObject"), ran.said
    assert "muniment snapshots" in ran.result["advice"]
    machine.done("restore", f"{first}:{top}", "--target", tmp_path / "out")
    assert (tmp_path / "out" / top.name / "kept").read_bytes() == (top / "kept").read_bytes()


def test_what_was_lost_and_is_still_here_is_stored_again(
    server: Served, machine: Machine, tree: Path, tmp_path: Path
) -> None:
    """A pack whose object went: the server notices when it is read, the next run stores its chunks anew."""
    content_packs(server)[0].unlink()
    assert machine.run("restore", "latest", "--target", tmp_path / "lost").code == 5
    ran = machine.run("backup")
    assert ran.code == 0, ran.said
    machine.done("restore", f"latest:{tree}", "--target", tmp_path / "out")
    assert differences(tree, tmp_path / "out" / tree.name) == []
