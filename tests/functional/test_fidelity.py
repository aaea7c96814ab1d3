"""The zoo through the real commands and a real server: every byte and attribute comes back."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from tests.support.compare import Leniency, differences
from tests.support.machine import Machine
from tests.support.server import Served, shared_server
from tests.support.zoo import ZooNotPossible, build_zoo, set_id_files

__all__ = ["shared_server"]

SOCKETS = Leniency(missing=frozenset({stat.S_IFSOCK}))


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("zoo") / "animals"
    root.mkdir()
    build_zoo(bytes(root))
    return root


@pytest.fixture
def machine(shared_server: Served, tmp_path: Path) -> Machine:
    return Machine(tmp_path / "home").connect(shared_server.url, shared_server.create_account())


def test_the_zoo_comes_back_and_again_after_it_changed(machine: Machine, zoo: Path, tmp_path: Path) -> None:
    special = set_id_files(bytes(zoo))
    first = machine.done("backup", zoo)
    assert first["errors"] == 0
    parent = zoo.parent.relative_to("/")
    machine.done("restore", first["snapshot"], "--target", tmp_path / "one", "--special")
    assert differences(bytes(zoo.parent), bytes(tmp_path / "one" / parent), allow=SOCKETS) == []

    (zoo / "sizes" / "text").unlink()
    (zoo / "names" / "plain").write_text("rewritten")
    os.rename(zoo / "hard" / "first", zoo / "hard" / "renamed")
    os.chmod(zoo / "modes", 0o701)
    os.utime(zoo / "links", ns=(5, 5))
    (zoo / "new").mkdir()
    os.symlink("plain", zoo / "names" / "added")
    second = machine.done("backup")
    assert second["new_bytes"] <= len("rewritten")
    machine.done("restore", "latest", "--target", tmp_path / "two", "--special")
    assert differences(bytes(zoo.parent), bytes(tmp_path / "two" / parent), allow=SOCKETS) == []
    # The older snapshot is as it was, whatever happened since.
    machine.done("restore", first["snapshot"], "--target", tmp_path / "three", "--special")
    assert differences(bytes(tmp_path / "one" / parent), bytes(tmp_path / "three" / parent)) == []

    # Without --special everything but power comes back.
    machine.done("restore", f"latest:{zoo}", "--target", tmp_path / "four")
    without = tmp_path / "four" / zoo.name
    for path in special:
        assert not os.stat(without / os.fsdecode(path)).st_mode & 0o6000
    devices = frozenset({stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK})
    assert differences(bytes(zoo), bytes(without), allow=Leniency(set_id=True, missing=devices)) == []


def test_a_zoo_without_attributes_is_not_taken_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(os, "setxattr", refuse)
    with pytest.raises(ZooNotPossible, match="extended attributes"):
        build_zoo(bytes(tmp_path))
