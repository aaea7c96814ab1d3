"""A vault with a past, for attacks on it: two machines, four snapshots, two lists of key slots.

Made once per module; a test works on copies of the machines and looks through a proxy of its own, so what the
real server holds stays as it is.
"""

from __future__ import annotations

import os
import random
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from muniment.client.vault.opening import unwrap_any
from muniment.crypto.codes import RecoveryKit
from muniment.crypto.keys import VaultKeys
from muniment.model.ids import VaultId
from muniment.wire import messages as wire
from tests.support.machine import Machine
from tests.support.raw_device import ask, send
from tests.support.server import Served


@dataclass
class AttackedVault:
    """`alice` made the vault and has seen everything.

    `shown`: what the server said to `GET keys` at each stage. `stranger` has a vault of its own.
    """

    served: Served
    tree: Path
    alice: Machine
    bob: Machine
    stranger: Machine
    kit: str
    vault: VaultId
    keys: VaultKeys
    snapshots: dict[str, str] = field(default_factory=dict)
    codes: list[str] = field(default_factory=list)
    """Enrolment codes for further machines of the vault: made at once, for each would cost a process."""
    shown: dict[str, wire.VaultKeys] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.served.url

    def says(self, machine: Machine) -> wire.VaultKeys:
        """What the server really says to a machine now."""
        path = f"/vaults/{machine.connection.vault}/keys"
        return ask(self.url, "GET", path, wire.VaultKeys, token=machine.secrets.token)

    def history(self, machine: Machine) -> list[wire.HeadRecord]:
        path = f"/vaults/{machine.connection.vault}/snapshots"
        return ask(self.url, "GET", path, wire.SnapshotPage, token=machine.secrets.token).snapshots

    def packs_of(self, snapshot: str, *, machine: Machine | None = None) -> list[wire.PackInfo]:
        who = machine or self.alice
        path = f"/vaults/{who.connection.vault}/snapshots/{snapshot}/packs"
        return ask(self.url, "GET", path, wire.SnapshotPacks, token=who.secrets.token).packs

    def pack(self, pack: str, *, machine: Machine | None = None) -> bytes:
        """The stored bytes, as the server has them."""
        who = machine or self.alice
        path = f"/vaults/{who.connection.vault}/packs/{pack}"
        status, content, _ = send(self.url, "GET", path, token=who.secrets.token)
        assert status == 200
        return content


_MAKE_CODES = """
import sys
from pathlib import Path
from muniment.main.serve import load_embedded
from muniment.server.config import ServerConfig
from muniment.server.privacy.purposes import Purpose, afresh
config = ServerConfig(data=Path(sys.argv[1]))
operator = load_embedded("Operator", config).at(config)
with afresh(Purpose.SIGN_IN, Purpose.BACKUP, Purpose.SECURITY):
    for _ in range(int(sys.argv[2])):
        print(operator.enrol("owner@example.org", vault=None, new_vault=False))
"""


def make_codes(served: Served, count: int) -> list[str]:
    """What `muniment admin enrol` prints, many times."""
    command = [sys.executable, "-c", _MAKE_CODES, str(served.data), str(count)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.split()


def make_tree(root: Path) -> None:
    """Enough for several leaves, an interior page, chunks, an extent tree; the same bytes every time."""
    rng = random.Random(7)
    for number in range(420):
        path = root / f"many/{number % 7}/file-{number:04d}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"line %d\n" % number * rng.randrange(1, 40))
    (root / "rest").mkdir()
    (root / "rest/large").write_bytes(rng.randbytes(6 << 20))
    with (root / "sparse").open("wb") as file:
        for piece in range(90):
            file.seek(piece * 131_072)
            file.write(rng.randbytes(4096))
    (root / "link").symlink_to("many/1/file-0001.txt")
    (root / "many/2").chmod(0o750)
    (root / "empty").mkdir()
    for path in sorted(root.rglob("*"), reverse=True):
        if not path.is_symlink():
            os.utime(path, ns=(1_600_000_000_123_456_789, 1_600_000_000_123_456_789))


def make_attacked(base: Path) -> AttackedVault:
    served = Served(base / "server").start()
    try:
        return _furnish(served, base)
    except BaseException:
        served.close()
        raise


def _furnish(served: Served, base: Path) -> AttackedVault:
    tree = base / "tree"
    make_tree(tree)
    alice, bob, stranger = (Machine(base / name) for name in ("alice", "bob", "stranger"))
    connected = alice.join(served.url, served.create_account(), "--name", "alice").expect(0).result
    kit = RecoveryKit.parse(connected["recovery_kit"])
    vault = VaultId.parse(connected["vault"])
    first = ask(served.url, "GET", f"/vaults/{vault}/keys", wire.VaultKeys, token=alice.secrets.token)
    keys = unwrap_any(first, vault, kit=kit)
    world = AttackedVault(served, tree, alice, bob, stranger, connected["recovery_kit"], vault, keys)
    world.shown["new"] = first
    world.snapshots["alice-1"] = alice.muniment("backup", tree).expect(0).result["snapshot"]
    world.shown["one"] = world.says(alice)
    bob.join(served.url, served.enrol(), "--name", "bob").expect(0)
    (base / "of-bob").mkdir()
    (base / "of-bob/note").write_text("bob was here")
    world.snapshots["bob-1"] = bob.muniment("backup", base / "of-bob").expect(0).result["snapshot"]
    world.shown["two"] = world.says(alice)
    (tree / "many/0/new.txt").write_text("new in the second run")
    world.snapshots["alice-2"] = alice.muniment("backup", tree).expect(0).result["snapshot"]
    (base / "of-bob/note").write_text("bob was here, and saw alice")
    world.snapshots["bob-2"] = bob.muniment("backup", base / "of-bob").expect(0).result["snapshot"]
    alice.muniment("snapshots").expect(0)
    bob.muniment("snapshots").expect(0)
    stranger.join(served.url, served.create_account("stranger@example.org")).expect(0)
    stranger.muniment("backup", tree / "many/3").expect(0)
    world.shown["now"] = world.says(alice)
    world.codes = make_codes(served, 60)
    return world


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackedVault]:
    made = make_attacked(tmp_path_factory.mktemp("attacked"))
    try:
        yield made
    finally:
        made.served.close()


# --- what came out


def whatever_is_there_is_true(source: Path, target: Path, *, directories: bool = True) -> set[Path]:
    """Compare all in `target` (full paths below it) with the original; returns the files found whole.

    Something may be missing. Nothing may be other than it was: bytes, type, mode, time, link target. Without
    `directories`, a directory whose own entry was lost may have been made for what lies in it.
    """
    files: set[Path] = set()
    for path in sorted(target.rglob("*")):
        original = Path("/") / path.relative_to(target)
        if original in source.parents:
            continue
        assert original.is_relative_to(source), f"{path} was never backed up"
        was, found = original.lstat(), path.lstat()
        assert stat.S_IFMT(was.st_mode) == stat.S_IFMT(found.st_mode), path
        if path.is_symlink():
            assert path.readlink() == original.readlink()
            continue
        if path.is_file():
            files.add(original)
            assert path.read_bytes() == original.read_bytes(), path
        if path.is_file() or directories:
            assert (was.st_mode, was.st_mtime_ns) == (found.st_mode, found.st_mtime_ns), path
    return files


def files_of(source: Path) -> set[Path]:
    return {path for path in source.rglob("*") if path.is_file() and not path.is_symlink()}
