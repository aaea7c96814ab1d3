"""What somebody does on one machine, over a real server: back up, look, restore, verify."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.machine import Machine, differences
from tests.support.server import Served, shared_server

__all__ = ["shared_server"]


@pytest.fixture(scope="module")
def machine(shared_server: Served, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine whose default set holds a small tree, backed up once."""
    home = tmp_path_factory.mktemp("machine")
    return Machine(home / "home").connect(shared_server.url, shared_server.create_account("round@trip.org"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    (top / "documents" / "deep" / "deeper").mkdir(parents=True)
    (top / "empty").mkdir()
    (top / "documents" / "letter.txt").write_bytes(b"Dear reader,\n" * 50)
    (top / "documents" / "deep" / "deeper" / "note").write_bytes(os.urandom(100_000))
    (top / "large.bin").write_bytes(os.urandom(3_000_000))
    (top / "link").symlink_to("documents/letter.txt")
    os.link(top / "large.bin", top / "documents" / "same.bin")
    os.utime(top / "documents", ns=(1, 1_234_567_890_123_456_789))
    return top


@pytest.mark.clause("P12", aspect="allowed")
def test_backup_again_stores_nothing_and_restore_gives_everything_back(
    machine: Machine, tree: Path, tmp_path: Path
) -> None:
    first = machine.done("backup", tree, "--set", "again")
    assert {"snapshot", "files", "bytes", "new_bytes", "stored_bytes", "errors"} <= first.keys()
    assert first["files"] == 4
    assert first["errors"] == 0
    assert first["new_bytes"] >= 3_100_000
    second = machine.done("backup", "--set", "again")
    assert (second["new_bytes"], second["files"]) == (0, 4)
    assert second["snapshot"] != first["snapshot"]

    restored = machine.done("restore", second["snapshot"], "--target", tmp_path / "out")
    assert (restored["files"], restored["errors"]) == (4, 0)
    assert differences(tree, tmp_path / "out" / tree.relative_to("/")) == []
    same = tmp_path / "out" / tree.relative_to("/") / "documents" / "same.bin"
    assert same.stat().st_nlink == 2


def test_a_part_lands_by_its_last_component(machine: Machine, tree: Path, tmp_path: Path) -> None:
    machine.done("backup", tree, "--set", "part")
    machine.done("restore", f"latest:{tree}/documents", "--target", tmp_path / "out")
    assert differences(tree / "documents", tmp_path / "out" / "documents") == []
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["documents"]


def test_snapshots_tell_what_scripts_rely_on(machine: Machine, tree: Path) -> None:
    made = machine.done("backup", tree, "--set", "listed")
    listed = machine.done("snapshots", "--set", "listed")
    assert [one["id"] for one in listed] == [made["snapshot"]]
    one = listed[0]
    assert {"id", "device", "set", "time", "files", "bytes"} <= one.keys()
    assert (one["set"], one["files"], one["bytes"]) == ("listed", made["files"], made["bytes"])


def test_existing_files_stay_unless_asked(machine: Machine, tree: Path, tmp_path: Path) -> None:
    machine.done("backup", tree, "--set", "overwrite")
    target = tmp_path / "out"
    target.mkdir()
    mine = target / "letter.txt"
    name = f"latest:{tree}/documents/letter.txt"
    mine.write_text("mine")
    assert machine.done("restore", name, "--target", target)["kept"] == 1
    assert mine.read_text() == "mine"
    machine.done("restore", name, "--target", target, "--overwrite", "older")
    assert mine.read_text() == "mine"  # newer than the backup's
    os.utime(mine, (0, 0))
    machine.done("restore", name, "--target", target, "--overwrite", "older")
    assert mine.read_bytes() == (tree / "documents" / "letter.txt").read_bytes()
    mine.write_text("mine")
    machine.done("restore", name, "--target", target, "--overwrite", "always")
    assert mine.read_bytes() == (tree / "documents" / "letter.txt").read_bytes()


def test_dry_runs_change_nothing(machine: Machine, tree: Path, tmp_path: Path, shared_server: Served) -> None:
    machine.done("backup", tree, "--set", "dry")
    (tree / "new").write_bytes(os.urandom(50_000))
    (tree / "scrap.tmp").write_text("x")
    before = machine.done("stats")
    tried = machine.done("backup", "--set", "dry", "--dry-run", "--exclude", "*.tmp")
    assert tried["new_bytes"] == 50_000
    assert [item["rule"] for item in tried["excluded"]] == ["*.tmp"]
    after = machine.done("stats")
    assert (after["snapshots"], after["stored_bytes"]) == (before["snapshots"], before["stored_bytes"])

    planned = machine.done("restore", f"latest:{tree}", "--target", tmp_path / "never", "--dry-run")
    room = os.statvfs(tmp_path)
    assert planned["free_bytes"] == pytest.approx(room.f_bavail * room.f_frsize, rel=0.2)
    assert planned["files"] == 4
    assert planned["read_bytes"] > 3_000_000
    assert not (tmp_path / "never").exists()


def test_what_is_left_out_is_counted_by_rule(machine: Machine, tree: Path) -> None:
    (tree / "cache").mkdir()
    (tree / "cache" / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55")
    (tree / "cache" / "blob").write_bytes(b"x")
    (tree / "one.o").write_text("")
    (tree / "two.o").write_text("")
    made = machine.done("backup", tree, "--set", "rules", "--exclude", "*.o")
    assert made["excluded"]["*.o"] == 2
    assert made["excluded"]["CACHEDIR.TAG"] == 1
    names = {
        entry["path"] for entry in machine.done("ls", f"latest:{tree}", "--set", "rules", "-R")["entries"]
    }
    assert f"{tree}/cache" in names
    assert not {f"{tree}/cache/blob", f"{tree}/one.o"} & names


def test_ls_and_find(machine: Machine, tree: Path) -> None:
    machine.done("backup", tree, "--set", "look")
    listed = machine.done("ls", f"latest:{tree}", "--set", "look")["entries"]
    assert [Path(entry["path"]).name for entry in listed] == ["documents", "empty", "large.bin", "link"]
    by_name = {Path(entry["path"]).name: entry for entry in listed}
    assert by_name["large.bin"]["size"] == 3_000_000
    assert by_name["link"]["target"] == "documents/letter.txt"
    found = machine.done("find", "letter", "--set", "look")["matches"]
    assert [match["path"] for match in found] == [f"{tree}/documents/letter.txt"]
    assert machine.done("find", "nothing-is-called-this", "--set", "look")["matches"] == []
    missing = machine.run("ls", "latest:/not/here/", "--set", "look")
    assert (missing.code, missing.result["message"]) == (2, "the snapshot holds no /not/here")
    assert "muniment find" in missing.result["advice"]


def test_snapshots_are_named_by_latest_prefix_and_date(machine: Machine, tree: Path) -> None:
    made = machine.done("backup", tree, "--set", "named")
    for name in (made["snapshot"], made["snapshot"][:10], made["time"][:10]):
        assert machine.done("ls", f"{name}:{tree}", "--set", "named")["snapshot"] == made["snapshot"]
    unknown = machine.run("ls", "0000000000")
    assert (unknown.code, unknown.result["error"]) == (1, "UnknownSnapshot")
    early = machine.run("ls", "2001-01-01")
    assert (early.code, early.result["error"]) == (1, "UnknownSnapshot")
    nonsense = machine.run("restore", "the day before", "--target", tree)
    assert nonsense.code == 2


def test_verify_reads_everything(machine: Machine, tree: Path) -> None:
    made = machine.done("backup", tree, "--set", "verified")
    pages = machine.done("verify", made["snapshot"])
    assert (pages["snapshots"], pages["errors"]) == (1, 0)
    data = machine.done("verify", "--read-data", made["snapshot"])
    assert data["read_bytes"] > 3_000_000
    assert data["damaged"] == []


@pytest.fixture
def restless(tree: Path) -> Iterator[Path]:
    """A file that somebody keeps changing."""
    path = tree / "restless"
    path.write_bytes(os.urandom(40_000_000))
    over = threading.Event()

    def change() -> None:
        with path.open("r+b", buffering=0) as file:
            while not over.is_set():
                os.pwrite(file.fileno(), os.urandom(16), 20_000_000)

    thread = threading.Thread(target=change)
    thread.start()
    yield path
    over.set()
    thread.join()


def test_a_file_that_keeps_changing_is_named_and_the_exit_code_says_so(
    machine: Machine, restless: Path
) -> None:
    for _ in range(10):
        ran = machine.run("backup", restless.parent, "--set", "restless")
        if ran.code:
            break  # a busy disk may keep the writer waiting for all of a reading: then nothing changed
    assert ran.code == 3
    assert ran.result["errors"] == 1
    assert [problem["path"] for problem in ran.result["problems"]] == [str(restless)]
    assert ran.result["problems"][0]["problem"] == "changed"
    assert (
        machine.done("ls", f"latest:{restless}", "--set", "restless")["entries"][0]["flags"][-1] == "changed"
    )


def test_sets_are_remembered_shown_and_changed(machine: Machine, tree: Path) -> None:
    machine.done("backup", tree, "--set", "kept")
    assert machine.done("sets", "show", "kept")["roots"] == [str(tree)]
    added = machine.done("sets", "add", "kept", tree / "documents", "--exclude", "*.bak")
    assert added["roots"] == [str(tree), str(tree / "documents")]
    assert "*.bak" in added["exclude"]
    assert "lost+found/" in added["rules"]
    machine.done("sets", "include", "kept", "*.bak")
    machine.done("sets", "remove", "kept", tree / "documents")
    shown = machine.done("sets", "show", "kept")
    assert (shown["roots"], shown["exclude"]) == ([str(tree)], [])
    machine.done("sets", "remove", "kept")
    assert "kept" not in {one["name"] for one in machine.done("sets")}
    assert machine.run("backup", "--set", "kept").code == 2


def test_a_glance_at_other_paths_never_takes_the_default_sets_place(
    machine: Machine, tree: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    machine.done("backup", tree)
    assert machine.done("backup", tree)["set"] == "default"
    glance = machine.done("backup", other)
    assert glance["set"] != "default"
    assert machine.done("sets", "show", "default")["roots"] == [str(tree)]
    assert machine.done("backup")["set"] == "default"


def test_a_restore_says_what_else_latest_could_mean(machine: Machine, tree: Path, tmp_path: Path) -> None:
    first = machine.done("backup", tree, "--set", "first")["snapshot"]
    machine.done("backup", tree / "documents", "--set", "second")
    bare = Machine(tmp_path / "bare", environment={"MUNIMENT_RECOVERY_KIT": machine.kit})
    restored = bare.done("restore", "latest", "--target", tmp_path / "all")
    assert restored["set"] == "second"
    others = {(one["set"], one["id"]) for one in restored["passed_over"]}
    assert ("first", first) in others
    assert "second" not in {name for name, _ in others}
    told = bare.told("restore", "latest", "--target", str(tmp_path / "told"))
    assert f"set second of {restored['device']}" in told.out
    assert f"{first[:12]}  set first of {restored['device']}" in told.out
    settled = ["--set", "first", "--device", restored["device"], "--target", tmp_path / "one"]
    assert bare.done("restore", "latest", *settled)["passed_over"] == []
    assert bare.run("restore", "latest", "--device", "nobody's", "--target", tmp_path / "none").code == 1


def test_names_that_are_no_text_come_back(machine: Machine, tmp_path: Path) -> None:
    top = os.fsencode(tmp_path / "bytes")
    os.mkdir(top)
    with open(top + b"/\xff\xfe", "wb") as file:
        file.write(b"odd")
    with open(top + b"/two\nlines", "wb") as file:
        file.write(b"odder")
    machine.done("backup", tmp_path / "bytes", "--set", "bytes")
    machine.done("restore", f"latest:{tmp_path}/bytes", "--set", "bytes", "--target", tmp_path / "out")
    assert sorted(os.listdir(os.fsencode(tmp_path / "out" / "bytes"))) == [b"two\nlines", b"\xff\xfe"]


def test_status_gives_a_verdict(machine: Machine, tree: Path) -> None:
    machine.done("backup", tree, "--set", "standing")
    status = machine.run("status", "--check")
    assert status.code in (0, 3)
    standing = {one["name"]: one for one in status.result["sets"]}
    assert standing["standing"]["verdict"] == "unscheduled"
    assert status.result["stored_bytes"] > 0


def test_devices_and_events_tell_what_happened(machine: Machine, tree: Path) -> None:
    machine.done("backup", tree, "--set", "events")
    devices = machine.done("devices", "list")
    assert [(one["device"], one["this"]) for one in devices] == [(machine.device, True)]
    kinds = {event["kind"] for event in machine.done("events")}
    assert {"vault_created", "device_enrolled", "slot_added", "snapshot_committed", "run_reported"} <= kinds
