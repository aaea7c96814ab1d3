"""The quickstart is run as `make quickstart` runs it, and fails where it should."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
NOBODY = 65534
WRITTEN = (".venv", ".quickstart")
"""All that `make quickstart` may write, below the checkout."""
HANDED_ON = ("PIP_", "UV_", "SSL_CERT_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
"""Beginnings of the variables that say where this machine gets packages from."""


def quickstart(files: Path, place: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "muniment.main.quickstart", "--files", str(files), "--place", str(place)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    files = tmp_path / "files"
    (files / "cache").mkdir(parents=True)
    (files / "cache" / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n")
    (files / "cache" / "left out").write_text("nobody needs this back")
    (files / "letter").write_text("Dear Ada, " * 500)
    (files / ".quickstart").mkdir()
    (files / ".quickstart" / "left out").touch()
    return files


def test_a_whole_life_of_a_backup(files: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    done = quickstart(files, place)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("All alike") == 2
    assert "no trace" in done.stdout
    restored = place / "restored" / "files" / files.relative_to("/")
    assert (restored / "letter").read_text() == "Dear Ada, " * 500
    assert not (restored / ".quickstart").exists()
    again = quickstart(files, place)
    assert again.returncode == 0, again.stdout + again.stderr


def test_somebody_elses_directory_is_not_touched(files: Path) -> None:
    done = quickstart(files, files)
    assert done.returncode == 1
    assert "no quickstart wrote" in done.stderr
    assert (files / "letter").exists()


# --- as a stranger has it: a fresh checkout, no rights, the system's Python


@dataclass(frozen=True)
class Stranger:
    """Someone with a home, a checkout in it, and no rights beyond.

    `user` is None where we have no such rights ourselves, and run it as we are.
    """

    home: Path
    user: int | None

    @property
    def checkout(self) -> Path:
        return self.home / "muniment"

    def make(self, target: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", target], cwd=self.checkout, env=self._environment(), capture_output=True, text=True,
            check=False, timeout=280, user=self.user, group=self.user,
            extra_groups=None if self.user is None else [],
        )  # fmt: skip

    def _environment(self) -> Mapping[str, str]:
        kept = {name: value for name, value in os.environ.items() if name.upper().startswith(HANDED_ON)}
        who = {"HOME": str(self.home), "USER": "stranger", "LOGNAME": "stranger"}
        return kept | who | {"TMPDIR": str(self.home / "tmp"), "PATH": "/usr/bin:/bin:/usr/local/bin"}

    def belongings(self) -> dict[str, tuple[int, int, int]]:
        """Everything in the home but what the quickstart may write: type and rights, size, time."""
        found = {}
        for directory, directories, names in os.walk(self.home):
            if Path(directory) == self.checkout:
                directories[:] = [name for name in directories if name not in WRITTEN]
            for name in (*directories, *names):
                path = Path(directory, name)
                status = path.lstat()
                of_file = (status.st_size, status.st_mtime_ns) if name in names else (0, 0)
                found[str(path.relative_to(self.home))] = (status.st_mode, *of_file)
        return found


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    """In a directory of its own, for others may not enter pytest's."""
    is_root = os.geteuid() == 0
    with tempfile.TemporaryDirectory(prefix="stranger-") as directory:
        stranger = Stranger(Path(directory), NOBODY if is_root else None)
        (stranger.home / "tmp").mkdir()
        copy_tracked(stranger.checkout)
        if is_root:
            subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", stranger.home], check=True)
        yield stranger


def copy_tracked(checkout: Path) -> None:
    """What a clone would hold, were everything committed."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (REPOSITORY / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, checkout / name)


def of_nobody() -> set[Path]:
    """What the user that strangers are has left in places open to all."""
    found: set[Path] = set()
    for place in ("/tmp", "/var/tmp", "/dev/shm"):
        listed = ["find", place, "-mindepth", "1", "-maxdepth", "1", "-uid", str(NOBODY), "-print0"]
        names = subprocess.run(listed, capture_output=True, check=False).stdout.split(b"\0")
        found.update(Path(os.fsdecode(name)) for name in names if name)
    return found


def test_a_stranger_without_rights_runs_it_and_nothing_else_is_written(stranger: Stranger) -> None:
    before, around = stranger.belongings(), of_nobody()
    done = stranger.make("quickstart")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("All alike") == 2
    assert "changed while" not in done.stdout
    assert stranger.belongings() == before
    if stranger.user is not None:
        assert of_nobody() == around
    assert all((stranger.checkout / name).is_dir() for name in WRITTEN)
