"""What the website shows of a sealed pack is true: the same bytes, opened by the program it gives away."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from muniment.server.site.sealed import LABEL, ROW, ROWS, sample, sample_archive
from tests.golden.sealed_sample import FILES, WHERE, made


def test_the_sample_is_what_its_maker_makes() -> None:
    for name, content in made().items():
        assert (WHERE / name).read_bytes() == content, name


def test_what_visitors_download_opens_to_what_the_page_shows(tmp_path: Path) -> None:
    zipfile.ZipFile(io.BytesIO(sample_archive())).extractall(tmp_path)
    unpacked = tmp_path / "sealed-sample"
    done = subprocess.run(
        [sys.executable, "restore_export.py", "export", "opened"],
        cwd=unpacked, capture_output=True, text=True, timeout=60, check=False,
        env=os.environ | {"MUNIMENT_PASSPHRASE": sample().passphrase},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    home = unpacked / "opened/home/you"
    opened = {
        path.relative_to(home).as_posix(): path.read_text() for path in home.rglob("*") if path.is_file()
    }
    assert opened == FILES == {file.path: file.text for file in sample().files}
    stored = unpacked / f"export/packs/{sample().pack_id[:2]}/{sample().pack_id}"
    assert stored.read_bytes() == sample().pack
    assert sample().passphrase in (unpacked / "README.txt").read_text()


def test_no_word_of_the_files_is_in_anything_an_operator_holds() -> None:
    archive = zipfile.ZipFile(io.BytesIO(sample_archive()))
    held = [archive.read(name).lower() for name in archive.namelist() if "/export/" in name]
    words = {
        word.lower() for path, text in FILES.items() for word in f"{path} {text}".split() if len(word) > 4
    }
    assert len(words) > 50
    assert not {word for word in words for content in held if word.encode() in content}


def test_a_word_is_looked_for_in_both() -> None:
    found = sample().look_for(" Kitchen ")
    assert (found.word, found.in_files, found.in_pack) == ("kitchen", 1, 0)
    assert sample().look_for("MUNIPACK").in_pack == 1
    assert sample().look_for("").word == ""
    assert len(sample().look_for("x" * 5000).word) == 100


def test_the_dump_shows_the_bytes_there_are() -> None:
    for at in (0, 17, len(sample().pack) // 2, len(sample().pack) - 1, 10**8):
        rows = list(sample().rows(at=at))
        assert len(rows) == ROWS
        first = int(rows[0].offset, 16)
        shown = bytes.fromhex("".join((row.label or row.sealed).replace(" ", "") for row in rows))
        assert shown == sample().pack[first : first + ROW * ROWS]
        assert first <= min(at, len(sample().pack) - 1) < first + ROW * ROWS
        assert all(bool(row.label) == (int(row.offset, 16) < LABEL) for row in rows)
    assert json.loads((WHERE / "owner.json").read_text())["pack"] == sample().pack[16:32].hex()
