"""The format stands still: what is written today equals the golden files, and they can all be read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from muniment.crypto.codes import RecoveryKit
from muniment.crypto.keys import VaultKeys
from muniment.crypto.slots import unwrap_device, unwrap_kit, unwrap_passphrase
from muniment.format.head import open_head
from muniment.format.pack import check_pack, decode_index_copy, open_block, read_index
from muniment.format.tree import TreeReader
from muniment.model.entry import PageRef
from muniment.model.ids import PackId, SlotId, SnapshotId, VaultId
from muniment.model.packs import BlockRole
from tests.golden.make import COMPRESSED, HERE, STORED, cut_points, reproducible_files
from tests.golden.sample import DEVICE_PRIVATE, KEYS, KIT, PASSPHRASE, SLOTS, TEXT, VAULT


@pytest.fixture(scope="module")
def made() -> dict[str, bytes]:
    return reproducible_files()


@pytest.mark.parametrize("part", [STORED, "index-pack.bin", "vectors.json", "chunker.json"])
def test_what_is_written_today_equals_the_golden_files(made: dict[str, bytes], part: str) -> None:
    files = {path: content for path, content in made.items() if path.startswith(part)}
    assert files
    for path, content in files.items():
        assert (HERE / path).read_bytes() == content, path


def test_no_golden_file_is_left_over(made: dict[str, bytes]) -> None:
    on_disk = {str(path.relative_to(HERE)) for path in (HERE / STORED).rglob("*") if path.is_file()}
    assert on_disk == {path for path in made if path.startswith(STORED)}


@pytest.mark.parametrize("export", [STORED, COMPRESSED])
def test_golden_vault_is_read(export: str) -> None:
    keys = opened_by_kit(HERE / export)
    (head_path,) = (HERE / export / "heads").iterdir()
    head = open_head(keys, head_path.read_bytes(), SnapshotId.parse(head_path.name))
    packs = golden_packs(HERE / export, keys)

    def load(ref: PageRef) -> bytes:
        block = ref.block
        sealed = packs[block.pack_id][block.offset : block.offset + block.length]
        return bytes(open_block(sealed, block, BlockRole.PAGE, keys))

    reader = TreeReader(keys, load)
    entries = {entry.path: entry for entry in reader.entries(head.root)}
    assert len(entries) == head.root.entries if head.root else False
    assert entries[b"home/ada/notes"].size == len(TEXT)
    assert entries[b"home/ada/rare/link"].link_target == b"../notes"
    image = entries[b"home/ada/image"]
    assert sum(extent.length for extent in reader.extents(image)) == image.size


def opened_by_kit(export: Path) -> VaultKeys:
    vault = VaultId.parse(json.loads((export / "vault.json").read_text())["vault"])
    wrapped = (export / "slots" / SLOTS["kit"].hex).read_bytes()
    keys = unwrap_kit(wrapped, vault=vault, slot=SLOTS["kit"], code=RecoveryKit.parse(KIT.text()).code)
    assert keys == KEYS
    return keys


def golden_packs(export: Path, keys: VaultKeys) -> dict[PackId, bytes]:
    packs = {PackId.parse(path.name): path.read_bytes() for path in export.glob("packs/*/*")}
    for pack, content in packs.items():
        check_pack(keys, content, pack_id=pack)
    (reference_set,) = (path.read_bytes() for path in (export / "sets").iterdir())
    assert reference_set == b"".join(sorted(pack.raw for pack in packs))
    return packs


@pytest.mark.parametrize("export", [STORED, COMPRESSED])
def test_golden_slots_open(export: str) -> None:
    slots = {path.name: path.read_bytes() for path in (HERE / export / "slots").iterdir()}

    def wrapped(kind: str) -> dict[str, VaultId | SlotId | bytes]:
        return {"wrapped": slots[SLOTS[kind].hex], "vault": VAULT, "slot": SLOTS[kind]}

    assert unwrap_passphrase(**wrapped("passphrase"), passphrase=PASSPHRASE) == KEYS  # type: ignore[arg-type]
    assert unwrap_kit(**wrapped("kit"), code=KIT.code) == KEYS  # type: ignore[arg-type]
    assert unwrap_device(**wrapped("device"), private_key=DEVICE_PRIVATE) == KEYS  # type: ignore[arg-type]
    signed = msgspec.msgpack.decode(slots["list"])
    KEYS.verify_mac(signed["body"], signed["mac"], epoch=KEYS.newest_epoch)


def test_golden_index_pack_covers_the_packs() -> None:
    content = (HERE / "index-pack.bin").read_bytes()
    packs = golden_packs(HERE / STORED, KEYS)
    for block in check_pack(KEYS, content).blocks:
        address = block.address
        sealed = content[address.offset : address.offset + address.length]
        copy = decode_index_copy(open_block(sealed, address, BlockRole.INDEX_COPY, KEYS))
        assert copy == read_index(KEYS, packs.pop(copy.pack_id))
    assert not packs


def test_compressed_golden_packs_are_compressed() -> None:
    """Else nothing here would read a zstd frame."""
    sizes = [
        sum(sum(block.lengths) for block in index.blocks) - sum(b.address.length for b in index.blocks)
        for index in (check_pack(KEYS, path.read_bytes()) for path in (HERE / COMPRESSED).glob("packs/*/*"))
    ]
    assert max(sizes) > 10_000


def test_cut_points_depend_on_the_vault() -> None:
    golden = json.loads((HERE / "chunker.json").read_text())["lengths"]
    assert cut_points() == (HERE / "chunker.json").read_text()
    assert {name: sum(lengths) for name, lengths in golden.items()} == dict.fromkeys(golden, 12 << 20) | {
        "repeating": 700_001 * 18
    }
    assert all(256 << 10 <= length <= 4 << 20 for length in golden["noise"][:-1])


def test_generator_refuses_to_overwrite(tmp_path: Path) -> None:
    """A changed golden file is reported and left alone; only --overwrite replaces it."""
    root = HERE.parent.parent
    copy = tmp_path / "tests" / "golden"
    shutil.copytree(HERE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    victim = copy / "chunker.json"
    right = victim.read_bytes()
    victim.write_bytes(b"altered")

    def run(*options: str) -> int:
        command = [sys.executable, "-m", "tests.golden.make", *options]
        return subprocess.run(
            command,
            cwd=tmp_path,
            check=False,
            capture_output=True,
            timeout=120,
            env={"PYTHONPATH": str(root / "src")},
        ).returncode

    assert run() == 1
    assert victim.read_bytes() == b"altered"
    assert run("--overwrite") == 0
    assert victim.read_bytes() == right
    assert run() == 0
