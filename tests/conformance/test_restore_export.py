"""An export is restored by one file and public libraries; Muniment is kept from being imported."""

from __future__ import annotations

import ast
import os
import random
import runpy
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from muniment.model.entry import Entry, PageRef
from tests.golden import sample
from tests.golden.make import COMPRESSED, HERE, STORED
from tests.golden.sample import IMAGE, KIT, NANOSECOND, PASSPHRASE, SMALL, TEXT, Sample

Extended = Callable[[Path, Callable[[Entry, Entry], list[Entry]]], Sample]

RESTORER = Path(__file__).with_name("restore_export.py")
PUBLIC = {
    "argon2", "backports", "blake3", "compression", "cryptography", "msgpack", "msgspec", "zstandard",
}  # fmt: skip
BLOCKED = """
import runpy, sys
sys.modules["muniment"] = None
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(
    export: Path, target: Path, *options: str, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """The restorer in a process of its own, in which importing Muniment fails."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith("MUNIMENT")}
    return subprocess.run(
        [sys.executable, "-c", BLOCKED, str(RESTORER), str(export), str(target), *options],
        check=False, capture_output=True, text=True, input=stdin, env=keep | environment, timeout=60,
    )  # fmt: skip


@pytest.fixture(scope="module")
def restorer() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(RESTORER)))


@pytest.mark.parametrize("export", [STORED, COMPRESSED])
@pytest.mark.parametrize("secret", ["passphrase", "kit"])
def test_golden_export_is_restored(tmp_path: Path, export: str, secret: str) -> None:
    target = tmp_path / "target"
    if secret == "kit":
        done = run(HERE / export, target, stdin=KIT.text() + "\n")
    else:
        done = run(HERE / export, target, MUNIMENT_PASSPHRASE=PASSPHRASE)
    assert done.returncode == 3, done.stderr
    named = {line.split(":")[0] for line in done.stderr.splitlines()}
    assert named >= {f"home/ada/rare/{name}" for name in ("block", "character", "socket", "unread")}
    check_restored(target / "home" / "ada")


def check_restored(home: Path) -> None:
    """What `tests.golden.sample` says it holds."""
    assert (home / "readme.txt").read_bytes() == SMALL[b"readme.txt"]
    assert (home / os.fsdecode(b"\xff\xfe not UTF-8")).read_bytes() == SMALL[b"\xff\xfe not UTF-8"]
    assert (home / "notes").read_bytes() == TEXT
    assert (home / "notes").stat().st_ino == (home / "notes again").stat().st_ino
    assert (home / "empty").read_bytes() == b""
    image = b"".join(piece + (bytes(4096) if number % 10 == 9 else b"") for number, piece in enumerate(IMAGE))
    assert (home / "image").read_bytes() == image
    assert (home / "rare" / "sparse").read_bytes() == bytes(1 << 20) + TEXT + bytes(4096)
    assert os.readlink(home / "rare" / "link") == "../notes"
    assert stat.S_ISFIFO((home / "rare" / "pipe").lstat().st_mode)
    assert not os.path.lexists(home / "rare" / "block")
    many = {path.name: path.read_bytes() for path in (home / "many").iterdir()}
    assert many == {f"file-{number:04d}": b"content of file %d" % number for number in range(300)}
    assert (home / "notes").stat().st_mtime_ns == (home / "many").stat().st_mtime_ns == NANOSECOND
    assert home.stat().st_mtime_ns == -1
    assert stat.S_IMODE((home / "notes").stat().st_mode) == 0o640
    assert stat.S_IMODE((home / "rare").stat().st_mode) == 0o1777


def test_wrong_secrets_restore_nothing(tmp_path: Path) -> None:
    typo = KIT.text()[:-1] + ("0" if KIT.text()[-1] != "0" else "1")
    for environment in ({"MUNIMENT_PASSPHRASE": "wrong"}, {"MUNIMENT_RECOVERY_KIT": typo}):
        done = run(HERE / STORED, tmp_path / "target", **environment)
        assert (done.returncode, done.stdout) == (1, "")
        assert not (tmp_path / "target").exists()


def test_target_must_be_empty(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    done = run(HERE / STORED, tmp_path, stdin=KIT.text())
    assert done.returncode == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_snapshot_is_chosen_by_the_beginning_of_its_id(tmp_path: Path) -> None:
    (head,) = (HERE / STORED / "heads").iterdir()
    done = run(HERE / STORED, tmp_path / "target", "--snapshot", head.name[:8], stdin=KIT.text())
    assert done.returncode == 3
    done = run(HERE / STORED, tmp_path / "other", "--snapshot", "00000000", stdin=KIT.text())
    assert done.returncode == 1


def test_restorer_imports_public_libraries_only() -> None:
    tree = ast.parse(RESTORER.read_text())
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    roots = {module.split(".")[0] for module in modules}
    assert roots - set(sys.stdlib_module_names) - PUBLIC == set()


@pytest.fixture
def extended(monkeypatch: pytest.MonkeyPatch) -> Extended:
    """Writes an export of the golden sample with more entries, made like a directory and a file of it."""

    def write(place: Path, more: Callable[[Entry, Entry], list[Entry]]) -> Sample:
        plain = sample.sample_entries

        def entries(packer: sample.Packer, image: PageRef) -> list[Entry]:
            found = plain(packer, image)
            directory = next(one for one in found if one.name == b"many")
            file = next(one for one in found if one.name == b"readme.txt")
            return sorted([*found, *more(directory, file)], key=lambda one: one.key)

        monkeypatch.setattr(sample, "sample_entries", entries)
        made = sample.make_snapshot("extended", compressor=sample.Stored(), counter=1, parent=None)
        for path, content in sample.export_files(made).items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_bytes(content)
        return made

    return write


UNREAD = {f"home/ada/rare/{name}" for name in ("block", "character", "socket", "unread")}
HOME = b"home\0ada\0"


def test_paths_longer_than_the_system_takes_are_restored(tmp_path: Path, extended: Extended) -> None:
    """Forty directories of 200 bytes each, one in the other, and what comes after them in key order."""
    names = [b"%02d" % depth + b"d" * 198 for depth in range(40)]

    def nested(directory: Entry, file: Entry) -> list[Entry]:
        made = []
        for depth, name in enumerate(names):
            above = HOME + b"".join(one + b"\0" for one in names[:depth])
            made.append(replace(directory, directory=above, name=name, mode=stat.S_IFDIR | 0o555))
            made.append(replace(file, directory=above, name=b"leaf"))
        first, group = HOME + b"".join(one + b"\0" for one in names), {"link_group": 77}
        made += [replace(file, directory=place, name=b"twin", **group) for place in (first, HOME + b"zz\0")]
        return [*made, replace(directory, directory=HOME, name=b"zz")]

    extended(tmp_path / "export", nested)
    done = run(tmp_path / "export", tmp_path / "target", stdin=KIT.text())
    assert done.returncode == 3, done.stderr
    assert {line.split(":")[0] for line in done.stderr.splitlines()} == UNREAD
    home = tmp_path / "target" / "home" / "ada"
    check_restored(home)
    at = os.open(home, os.O_RDONLY)
    for name in names:
        with open(os.open("leaf", os.O_RDONLY, dir_fd=at), "rb") as leaf:
            assert leaf.read() == SMALL[b"readme.txt"]
        at, above = os.open(name, os.O_RDONLY, dir_fd=at), at
        os.close(above)
        status = os.stat(at)
        assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o555, NANOSECOND)
    deep = os.stat("twin", dir_fd=at)
    os.close(at)
    assert deep.st_ino == (home / "zz" / "twin").stat().st_ino
    assert os.getxattr(home / "zz" / "twin", "user.large") == SMALL[b"attribute value"]


def test_a_lost_page_costs_what_it_names_alone(tmp_path: Path, extended: Extended) -> None:
    def many(directory: Entry, file: Entry) -> list[Entry]:
        more = [
            replace(file, directory=HOME + b"more\0", name=b"%05d" % n, large_xattrs=()) for n in range(5000)
        ]
        return [replace(directory, directory=HOME, name=b"more"), *more]

    made = extended(tmp_path / "export", many)
    assert made.head.root is not None
    assert made.head.root.level == 1
    leaf = sorted(made.pages.values(), key=lambda block: block.length)[-2]
    path = tmp_path / "export" / "packs" / leaf.pack_id.hex[:2] / leaf.pack_id.hex
    content = bytearray(path.read_bytes())
    content[leaf.offset + leaf.length // 2] ^= 1
    path.write_bytes(content)
    done = run(tmp_path / "export", tmp_path / "target", stdin=KIT.text())
    assert done.returncode == 3, done.stderr
    (said,) = [line for line in done.stderr.splitlines() if "are lost" in line]
    home = tmp_path / "target" / "home" / "ada"
    held = {str(one.relative_to(tmp_path / "target")) for one in home.rglob("*")}
    wanted = {os.fsdecode(one.path) for one in made.entries if one.directory.startswith(HOME)}
    missing = sorted(wanted - held - UNREAD)
    assert f"about {len(missing)} entries" in said
    assert said.split(":")[0] == missing[-1]
    # Times of directories come last of all, and came.
    assert home.stat().st_mtime_ns == -1


def test_what_cannot_be_made_costs_itself_alone(tmp_path: Path, extended: Extended) -> None:
    """A file where the tree has a directory, as no honest client writes it."""

    def blocked(directory: Entry, file: Entry) -> list[Entry]:
        below = [replace(file, directory=HOME + b"door\0", name=name) for name in (b"one", b"two")]
        return [replace(file, directory=HOME, name=b"door"), *below]

    extended(tmp_path / "export", blocked)
    done = run(tmp_path / "export", tmp_path / "target", stdin=KIT.text())
    assert done.returncode == 3, done.stderr
    named = {line.split(":")[0] for line in done.stderr.splitlines()}
    assert named == UNREAD | {"home/ada/door/one", "home/ada/door/two"}
    check_restored(tmp_path / "target" / "home" / "ada")


@pytest.mark.parametrize("seed", range(40))
def test_altered_export_restores_nothing_altered(
    tmp_path: Path, restorer: SimpleNamespace, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    """One bit flipped in any one file: the restore stops, or names what is damaged and restores the rest."""
    rng = random.Random(seed)
    export, target = tmp_path / "export", tmp_path / "target"
    shutil.copytree(HERE / STORED, export)
    files = sorted(path for path in export.rglob("*") if path.is_file() and path.name != "README.txt")
    victim = rng.choice(files)
    content = bytearray(victim.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    victim.write_bytes(content)
    try:
        restorer.restore_export(export, target, KIT.text(), None)
    except (restorer.Broken, OSError, KeyError, ValueError, TypeError):
        pass
    capsys.readouterr()
    for path in target.rglob("file-*"):
        assert path.read_bytes() == b"content of file %d" % int(path.name[5:])
    for name, right in (("notes", TEXT), ("readme.txt", SMALL[b"readme.txt"])):
        restored = target / "home" / "ada" / name
        assert not restored.exists() or restored.read_bytes() == right
