"""Writes the golden files. Refuses to replace any that differs unless told to: `python -m tests.golden.make`.

A golden file that must change means that the format changed: `docs/design/format.md` changes in the same
commit, and once there is a release, the version does too.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from blake3 import blake3

from muniment.crypto.keys import VaultKeys
from muniment.engine.chunking import Cutter
from muniment.format.block import Compressor
from muniment.model.ids import VaultId
from tests.golden.sample import Sample, Stored, export_files, index_pack, make_snapshot
from tests.golden.vectors import vectors

HERE = Path(__file__).parent
STORED = "export-stored"
COMPRESSED = "export-compressed"
CUT_KEYS = VaultKeys(VaultId(bytes(16)), {0: bytes(range(32))})


def stored_sample() -> Sample:
    return make_snapshot("stored", compressor=Stored(), counter=1, parent=None)


def compressed_sample() -> Sample:
    """With the zstd of this machine: its bytes may differ elsewhere, what they hold may not."""
    return make_snapshot("compressed", compressor=Compressor(), counter=2, parent=stored_sample().snapshot)


def cut_inputs() -> dict[str, bytes]:
    """12 MiB each: bytes that look random, bytes that repeat, and nothing but zeros."""
    noise = blake3(b"muniment golden chunker input").digest(length=12 << 20)
    return {"noise": noise, "repeating": noise[:700_001] * 18, "zeros": bytes(12 << 20)}


def cut_points() -> str:
    """Where the chunker cuts: the contract that deduplication between versions rests on."""
    cutter = Cutter(CUT_KEYS)
    cuts = {name: cutter.cut(memoryview(data)) for name, data in cut_inputs().items()}
    return json.dumps({"vault_key": bytes(range(32)).hex(), "lengths": cuts}, indent=1) + "\n"


def reproducible_files() -> dict[str, bytes]:
    """Path below this directory → what must be there, bit for bit."""
    sample = stored_sample()
    files = {f"{STORED}/{path}": content for path, content in export_files(sample).items()}
    files["index-pack.bin"] = index_pack(sample)
    files["vectors.json"] = vectors(sample).encode()
    files["chunker.json"] = cut_points().encode()
    return files


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--overwrite", action="store_true", help="replace golden files that differ")
    arguments = parser.parse_args()
    files = reproducible_files()
    if not (HERE / COMPRESSED).exists() or arguments.overwrite:
        files |= {f"{COMPRESSED}/{path}": c for path, c in export_files(compressed_sample()).items()}
    different = [path for path, content in files.items() if _differs(HERE / path, content)]
    if different and not arguments.overwrite:
        print("These golden files differ; --overwrite replaces them:", *different, sep="\n  ")
        return 1
    if any(path.startswith(COMPRESSED) for path in files):
        shutil.rmtree(HERE / COMPRESSED, ignore_errors=True)
    for path, content in files.items():
        (HERE / path).parent.mkdir(parents=True, exist_ok=True)
        (HERE / path).write_bytes(content)
    print(f"{len(files)} golden files are as they should be")
    return 0


def _differs(path: Path, content: bytes) -> bool:
    return path.exists() and path.read_bytes() != content


if __name__ == "__main__":
    sys.exit(main())
