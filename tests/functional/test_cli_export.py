"""An export over the command line, restored by one file that knows nothing of Muniment."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.machine import PASSPHRASE, Machine, differences
from tests.support.server import Served, shared_server

__all__ = ["shared_server"]

RESTORER = Path(__file__).parents[1] / "conformance" / "restore_export.py"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("export") / "tree"
    (top / "deep" / "deeper").mkdir(parents=True)
    (top / "deep" / "small").write_bytes(b"small " * 100)
    (top / "large").write_bytes(os.urandom(3_000_000))
    (top / "link").symlink_to("deep/small")
    return top


@pytest.fixture(scope="module")
def machine(shared_server: Served, tree: Path) -> Machine:
    machine = Machine(tree.parent / "home").connect(
        shared_server.url, shared_server.create_account("ex@port.org")
    )
    machine.done("backup", tree)
    return machine


def restored(place: Path, target: Path, secrets: dict[str, str]) -> Path:
    """What the stand-alone restorer makes of an export, in a process that cannot import muniment."""
    program = (
        f"import sys, runpy; sys.modules['muniment'] = None; sys.argv = {['x', str(place), str(target)]!r};"
    )
    done = subprocess.run(
        [sys.executable, "-c", program + f"runpy.run_path({str(RESTORER)!r}, run_name='__main__')"],
        env={"PATH": os.environ["PATH"], **secrets},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return target


@pytest.mark.parametrize("secret", ["passphrase", "kit"])
def test_an_export_is_restored_without_muniment(
    machine: Machine, tree: Path, tmp_path: Path, secret: str
) -> None:
    exported = machine.done("export", tmp_path / "export")
    assert exported["fetched"] == exported["packs"] > 0
    secrets = {"MUNIMENT_PASSPHRASE": PASSPHRASE} if secret == "passphrase" else {}
    secrets |= {"MUNIMENT_RECOVERY_KIT": machine.kit} if secret == "kit" else {}
    target = restored(tmp_path / "export", tmp_path / "out", secrets)
    assert differences(tree, target / tree.relative_to("/")) == []


def test_an_export_says_what_it_is_and_goes_on_where_it_stopped(machine: Machine, tmp_path: Path) -> None:
    place = tmp_path / "export"
    machine.done("export", place)
    about = json.loads((place / "vault.json").read_text())
    assert (about["format"], about["vault"]) == (1, machine.vault)
    packs = sorted((place / "packs").rglob("*/*"))
    packs[0].write_bytes(b"torn")
    packs[-1].unlink()
    again = machine.done("export", place)
    assert 1 <= again["fetched"] <= 2
    assert machine.done("export", place)["fetched"] == 0


def test_a_kit_exports_too_and_nothing_is_readable(machine: Machine, tree: Path, tmp_path: Path) -> None:
    bare = Machine(tmp_path / "bare", environment={"MUNIMENT_RECOVERY_KIT": machine.kit})
    bare.done("export", tmp_path / "export")
    words = (b"small small", str(tree).encode(), b"deeper")
    for path in (tmp_path / "export").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(word in content for word in words), path
    target = restored(tmp_path / "export", tmp_path / "out", {"MUNIMENT_RECOVERY_KIT": machine.kit})
    assert differences(tree, target / tree.relative_to("/")) == []


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Machine, Path, Served]]:
    """A vault with a pack of data, and one of pages, from each of three runs."""
    place = tmp_path_factory.mktemp("grown")
    served = Served(place / "server").start()
    try:
        machine = Machine(place / "home").connect(served.url, served.create_account("grown@example.org"))
        tree = place / "tree"
        tree.mkdir()
        for number in range(3):
            (tree / f"file{number}").write_bytes(os.urandom(100_000 + number))
            machine.done("backup", tree)
        yield machine, tree, served
    finally:
        served.close()


def pack_of_data(served: Served) -> Path:
    """Where the server keeps what the first run stored. Later ones wrote all pages anew."""
    packs = [path for path in (served.data / "objects").rglob("*") if path.is_file()]
    of_data = (path for path in packs if path.stat().st_size > 100_000)
    return min(of_data, key=lambda pack: pack.stat().st_mtime_ns)


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_damaged_pack_costs_what_needs_it_alone(
    grown: tuple[Machine, Path, Served], tmp_path: Path, is_gone: bool
) -> None:
    machine, tree, served = grown
    machine.done("export", tmp_path / "whole")
    packs = {path.name for path in (tmp_path / "whole" / "packs").rglob("*/*")}
    victim = pack_of_data(served)
    sound = victim.read_bytes()
    place = tmp_path / "export"
    try:
        if is_gone:
            victim.unlink()
        else:
            victim.write_bytes(sound[:50_000] + b"overwrit" + sound[50_008:])
        ran = machine.run("export", place)
    finally:
        victim.write_bytes(sound)
    assert (ran.code, len(ran.result["damaged"])) == (5, 1), ran.said
    damaged = ran.result["damaged"][0]
    assert {path.name for path in (place / "packs").rglob("*/*")} == (packs - {damaged}) | (
        set() if is_gone else {f"{damaged}.damaged"}
    )
    assert len(list((place / "heads").iterdir())) == len(list((place / "sets").iterdir())) == 3
    assert (place / "vault.json").exists()

    lost = restored_but(place, tmp_path / "out")
    assert len(lost) == 1
    for file in tree.iterdir():
        twin = tmp_path / "out" / file.relative_to("/")
        assert twin.exists() != (str(file.relative_to("/")) in lost)
        assert not twin.exists() or twin.read_bytes() == file.read_bytes()

    assert machine.done("export", place)["damaged"] == []
    assert {path.name for path in (place / "packs").rglob("*/*")} == packs


def test_the_best_copy_of_a_damaged_pack_is_kept(grown: tuple[Machine, Path, Served], tmp_path: Path) -> None:
    """Whatever the server gives later, and whatever became of the copy that was whole."""
    machine, _, served = grown
    victim = pack_of_data(served)
    sound = victim.read_bytes()
    bruised = sound[:50_000] + b"overwrit" + sound[50_008:]
    early, late = tmp_path / "early", tmp_path / "late"
    machine.done("export", late)
    try:
        victim.write_bytes(bruised)
        damaged = machine.run("export", early).result["damaged"][0]
        victim.write_bytes(bytes(len(sound)))
        assert machine.run("export", early).code == 5
        (late / "packs" / damaged[:2] / damaged).write_bytes(bruised)
        victim.unlink()
        assert machine.run("export", late).code == 5
    finally:
        victim.write_bytes(sound)
    for place in (early, late):
        assert (place / "packs" / damaged[:2] / f"{damaged}.damaged").read_bytes() == bruised


def test_damaged_packs_are_named_to_people(grown: tuple[Machine, Path, Served], tmp_path: Path) -> None:
    machine, _, served = grown
    victim = pack_of_data(served)
    sound = victim.read_bytes()
    victim.write_bytes(bytes(len(sound)))
    try:
        damaged = machine.run("export", tmp_path / "export").result["damaged"]
        said = machine.told("export", tmp_path / "export")
    finally:
        victim.write_bytes(sound)
    assert said.code == 5
    assert len(damaged) == 1
    assert damaged[0] in said.out


def restored_but(place: Path, target: Path) -> set[str]:
    """The paths that the stand-alone restorer names as lost."""
    done = subprocess.run(
        [sys.executable, RESTORER, place, target],
        env={"PATH": os.environ["PATH"], "MUNIMENT_PASSPHRASE": PASSPHRASE},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 3, done.stderr
    return {line.split(":")[0] for line in done.stderr.splitlines()}


def test_an_export_is_for_its_owner_alone(machine: Machine, tmp_path: Path) -> None:
    """Whatever the umask: the slot of a passphrase can be guessed at without the server."""
    place = tmp_path / "export"
    before = os.umask(0)
    try:
        machine.done("export", place)
        (place / "slots" / "list").chmod(0o644)
        machine.done("export", place)
    finally:
        os.umask(before)
    paths = [place, *place.rglob("*")]
    assert any(path.parent.name == "slots" for path in paths)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in paths}
    assert {path for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)} == set()


def test_packs_that_one_reply_does_not_name_are_asked_for_in_pages(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    served = Served(tmp_path / "server", config={"pack_page": 1}).start()
    try:
        machine = Machine(tmp_path / "home").connect(served.url, served.create_account("pages@example.org"))
        for number in range(3):
            (tree / f"file{number}").write_bytes(os.urandom(100_000))
            machine.done("backup", tree)
        machine.done("verify", "--read-data")
        exported = machine.done("export", tmp_path / "export")
    finally:
        served.close()
    assert exported["packs"] >= 3
    target = restored(tmp_path / "export", tmp_path / "out", {"MUNIMENT_PASSPHRASE": PASSPHRASE})
    assert differences(tree, target / tree.relative_to("/")) == []
