"""The benches against the real service and command line, on a small input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from benches.ceiling import ceiling_seconds
from benches.inputs import large_files, regular_files

ROOT = Path(__file__).parents[3]


def test_every_work_is_measured_on_both_sides(tmp_path: Path) -> None:
    results = tmp_path / "results"
    command = [sys.executable, "-m", "benches", "--scale", "smoke", "--rounds", "1"]
    done = subprocess.run(
        [*command, "--only", "muniment", "--results", results],
        cwd=ROOT,
        env=os.environ | {"BENCH_DIR": str(tmp_path / "bench")},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    samples = json.loads((results / "smoke.json").read_text(encoding="utf-8"))["samples"]
    ours = {sample["work"]: sample for sample in samples if sample["tool"] == "muniment"}
    assert set(ours) == {
        "first backup", "unchanged rescan", "1 % changed", "full restore", "one file of many", "stored bytes",
    }  # fmt: skip
    for work, sample in ours.items():
        if work == "stored bytes":
            assert sample["stored"] > 100_000
        else:
            cost = sample["cost"]
            assert cost["seconds"] > 0
            assert cost["peak"] > 10 << 20 < cost["server_peak"]
    assert not (tmp_path / "bench" / "work").exists()


def test_the_ceiling_carries_every_byte_to_disk(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    large_files(source, bytes_each=20 << 20)
    files = [Path(path) for path in regular_files(source)]
    assert ceiling_seconds(files, target=tmp_path / "sealed") > 0
    sealed = sum(path.stat().st_size for path in (tmp_path / "sealed").iterdir())
    assert sealed > sum(path.stat().st_size for path in files)
