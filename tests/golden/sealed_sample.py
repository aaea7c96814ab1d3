"""A small vault to look into: what the website's page about a sealed pack shows and gives away.

    python -m tests.golden.sealed_sample

writes it. The server cannot make such a thing, since it has no code that seals; so it is made here, the same
in every bit each time, and the website only shows bytes. Blocks are stored raw, so that only sealing keeps
the words from being found. The passphrase is published: anybody can open this one.
"""

from __future__ import annotations

import hashlib
import io
import json
import stat
import sys
import zipfile
from pathlib import Path

import msgspec

from muniment.crypto.slots import wrap_passphrase
from muniment.format.head import seal_head, snapshot_id
from muniment.format.pack import PackBuilder
from muniment.format.tree import TreeBuilder
from muniment.model.entry import Entry, Owner
from muniment.model.ids import DeviceId, InstallationId, PackId, SlotId
from muniment.model.packs import PackKind
from muniment.model.snapshot import Counts, FileSystemNote, Head
from muniment.wire.messages import SignedSlotList, SlotInfo, SlotList
from tests.golden.sample import KEYS, VAULT, Packer, Stored, stream

REPOSITORY = Path(__file__).resolve().parents[2]
WHERE = REPOSITORY / "src/muniment/server/site/sample"
RESTORER = REPOSITORY / "tests/conformance/restore_export.py"
PASSPHRASE = "plums ripen in the orchard wall"
DEVICE = DeviceId(hashlib.sha256(b"muniment sealed sample device").digest()[:16])
SLOT = SlotId(hashlib.sha256(b"muniment sealed sample slot").digest()[:16])
MADE_NS = 1_780_000_000_000_000_000
HOME = b"home\0you"
FILES = {
    "Documents/letter to the landlord.txt": (
        "Dear landlord,\n\nthe tap in the kitchen still drips, and the drip has become a small stream.\n"
        "I would be glad if somebody looked at it before the end of the month. I am at home on\n"
        "Tuesdays, and on Thursdays after five.\n\nAnd thank you for the new lock on the orchard gate.\n"
    ),
    "Documents/plum cake.txt": (
        "Plum cake, as it was always made here\n\n"
        "250 g flour, 125 g butter, 100 g sugar, 1 egg, half a spoon of baking powder, a pinch of salt.\n"
        "1 kg plums, the small late ones from the orchard wall.\n\n"
        "Knead, let rest for half an hour in the cold. Spread on the sheet, put the halved plums on it\n"
        "like roof tiles. 40 minutes at 190 degrees. Sugar only when it is on the table.\n"
    ),
    "Accounts/household.csv": (
        "month,rent,light,bread and milk,put aside\n"
        "January,640.00,58.20,212.75,150.00\n"
        "February,640.00,61.05,198.40,150.00\n"
        "March,640.00,49.90,205.10,120.00\n"
    ),
}  # fmt: skip
README = f"""A sealed vault of Muniment, to try out. Its passphrase is no secret:

    {PASSPHRASE}

export/           the vault as an operator holds it: not one readable word in it
restore_export.py opens it; one file, public libraries, no part of Muniment

    python3 -m venv opener && opener/bin/pip install argon2-cffi blake3 cryptography msgpack zstandard
    MUNIMENT_PASSPHRASE='{PASSPHRASE}' opener/bin/python restore_export.py export opened

Without the passphrase you are where the operator is.
"""


def entries(packer: Packer) -> list[Entry]:
    """The files and the directories above them, in key order."""
    me = Owner(1000, 1000, b"you", b"you")
    same = {"mtime_ns": MADE_NS, "ctime_ns": MADE_NS, "inode": 1}
    paths = [HOME + b"\0" + path.encode().replace(b"/", b"\0") for path in FILES]
    directories = {path.rpartition(b"\0")[0] for path in paths} | {HOME, b"home"}
    made = [Entry(*_split(path), stat.S_IFDIR | 0o755, size=0, owner=me, **same) for path in directories]
    for path, text in zip(paths, FILES.values(), strict=True):
        content = text.encode()
        made.append(
            Entry(
                *_split(path), stat.S_IFREG | 0o640, size=len(content), owner=me,
                extents=(packer.extent(content),), **same,
            )
        )  # fmt: skip
    return sorted(made, key=lambda entry: entry.key)


def _split(path: bytes) -> tuple[bytes, bytes]:
    directory, found, name = path.rpartition(b"\0")
    return (directory + b"\0" if found else b""), name


def export() -> dict[str, bytes]:
    """Path → bytes, as docs/design/export.md says: one snapshot in one pack."""
    packer = Packer("sealed sample", Stored())
    source = stream("sealed sample pack")
    builder = PackBuilder(KEYS, PackKind.MIXED, PackId(source.randbytes(16)), randomness=source.randbytes)
    packer.add(builder, [text.encode() for text in FILES.values()])
    tree = TreeBuilder(KEYS, packer.store_pages(builder))
    for entry in entries(packer):
        tree.add(entry)
    root = tree.finish()
    packer.close(builder)
    slot = wrap_passphrase(KEYS, SLOT, PASSPHRASE, randomness=stream("sealed sample slot").randbytes)
    slots = _slot_list(slot)
    sealed = seal_head(KEYS, _head(root, slots=slots), randomness=stream("sealed sample head").randbytes)
    snapshot = snapshot_id(sealed)
    about = {"format": 1, "vault": VAULT.hex, "server": "", "exported_at": "2026-05-28T20:26:40Z"}
    signed = SignedSlotList(body=slots, mac=KEYS.mac(slots, epoch=KEYS.newest_epoch))
    return {
        "vault.json": json.dumps(about, indent=1, sort_keys=True).encode() + b"\n",
        "slots/list": msgspec.msgpack.encode(signed),
        f"slots/{SLOT}": slot,
        f"heads/{snapshot}": sealed,
        f"sets/{snapshot}": b"".join(sorted(pack.raw for pack in packer.packs)),
        **{f"packs/{pack.hex[:2]}/{pack}": content for pack, content in packer.packs.items()},
    }


def _slot_list(slot: bytes) -> bytes:
    info = SlotInfo(
        slot=SLOT.hex, kind="passphrase", label="passphrase", device=None, added_by=DEVICE.hex,
        added_at=MADE_NS / 1e9, digest=hashlib.sha256(slot).digest(), epoch=KEYS.newest_epoch,
    )  # fmt: skip
    return msgspec.msgpack.encode(SlotList(vault=VAULT.hex, number=1, previous=b"", slots=[info]))


def _head(root: object, *, slots: bytes) -> Head:
    return Head(
        device=DEVICE,
        installation=InstallationId(DEVICE.raw),
        counter=1,
        set_id=KEYS.set_id(DEVICE, "home"),
        set_name="home",
        started_ns=MADE_NS,
        ended_ns=MADE_NS + 10**9,
        roots=(b"/home/you",),
        root=root,  # type: ignore[arg-type]
        counts=Counts(files=len(FILES), bytes=sum(len(text.encode()) for text in FILES.values())),
        parent=None,
        slot_list_number=1,
        slot_list_hash=hashlib.sha256(slots).digest(),
        seen=(),
        file_systems=(FileSystemNote(0, b"/", "ext4"),),
        excluded=(),
        host="laptop",
        client_version="0",
    )


def archive(files: dict[str, bytes]) -> bytes:
    """A ZIP, stored, whose bytes depend on nothing but `files`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for path, content in sorted(files.items()):
            packed.writestr(zipfile.ZipInfo(f"sealed-sample/{path}", (2026, 5, 28, 20, 26, 40)), content)
    return buffer.getvalue()


def made() -> dict[str, bytes]:
    """File name below `WHERE` → what must be in it, bit for bit."""
    exported = export()
    inside = {f"export/{path}": content for path, content in exported.items()}
    inside |= {"README.txt": README.encode(), "restore_export.py": RESTORER.read_bytes()}
    (pack,) = ((path, content) for path, content in exported.items() if path.startswith("packs/"))
    owner = {"passphrase": PASSPHRASE, "pack": pack[0].rpartition("/")[2], "files": FILES}
    return {
        "sealed-sample.zip": archive(inside),
        "pack.bin": pack[1],
        "owner.json": json.dumps(owner, indent=1).encode() + b"\n",
    }


def main() -> int:
    WHERE.mkdir(parents=True, exist_ok=True)
    for name, content in made().items():
        (WHERE / name).write_bytes(content)
        print(f"{len(content):8}  {(WHERE / name).relative_to(REPOSITORY)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
