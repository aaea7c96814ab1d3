"""The zoo through the real commands and a real server: every byte and attribute comes back."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.support.compare import Leniency, differences
from tests.support.machine import Machine
from tests.support.server import Served, shared_server
from tests.support.zoo import Zoo, build_zoo, set_id_files

__all__ = ["shared_server"]

SOCKETS = Leniency(missing=frozenset({stat.S_IFSOCK}))


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    root = tmp_path_factory.mktemp("zoo") / "animals"
    root.mkdir()
    return build_zoo(bytes(root))


@pytest.fixture
def machine(shared_server: Served, tmp_path: Path) -> Machine:
    return Machine(tmp_path / "home").connect(shared_server.url, shared_server.create_account())


def test_the_zoo_comes_back_and_again_after_it_changed(machine: Machine, zoo: Zoo, tmp_path: Path) -> None:
    root = Path(os.fsdecode(zoo.root))
    special = set_id_files(zoo.root)
    first = machine.done("backup", root)
    assert first["errors"] == 0
    parent = root.parent.relative_to("/")
    machine.done("restore", first["snapshot"], "--target", tmp_path / "one", "--special")
    assert differences(bytes(root.parent), bytes(tmp_path / "one" / parent), allow=SOCKETS) == []

    (root / "sizes" / "text").unlink()
    (root / "names" / "plain").write_text("rewritten")
    os.rename(root / "hard" / "first", root / "hard" / "renamed")
    os.chmod(root / "modes", 0o701)
    os.utime(root / "links", ns=(5, 5))
    (root / "new").mkdir()
    os.symlink("plain", root / "names" / "added")
    second = machine.done("backup")
    assert second["new_bytes"] <= len("rewritten")
    machine.done("restore", "latest", "--target", tmp_path / "two", "--special")
    assert differences(bytes(root.parent), bytes(tmp_path / "two" / parent), allow=SOCKETS) == []
    # The older snapshot is as it was, whatever happened since.
    machine.done("restore", first["snapshot"], "--target", tmp_path / "three", "--special")
    assert differences(bytes(tmp_path / "one" / parent), bytes(tmp_path / "three" / parent)) == []

    # Without --special everything but power comes back.
    machine.done("restore", f"latest:{root}", "--target", tmp_path / "four")
    without = tmp_path / "four" / root.name
    for path in special:
        assert not os.stat(without / os.fsdecode(path)).st_mode & 0o6000
    devices = frozenset({stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK})
    assert differences(zoo.root, bytes(without), allow=Leniency(set_id=True, missing=devices)) == []
