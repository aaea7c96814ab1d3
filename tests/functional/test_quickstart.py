"""The quickstart is run as `make quickstart` runs it, and fails where it should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


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
