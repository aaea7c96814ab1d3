"""Nothing of content, names, set names or sizes reaches the server: not disk, database, logs, nor the wire.

Markers that occur nowhere else are put wherever a person's data is; then everything that the operator could
see is searched for them, raw and in the encodings in which things travel.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from backports import zstd

from tests.support.evil import Evil
from tests.support.machine import Machine
from tests.support.server import Served

MARKERS = {
    "content": b"kontent-Quokka-5551",
    "tail": b"tail-Ocelot-5552",
    "name": b"name-Axolotl-5553",
    "directory": b"dir-Pangolin-5554",
    "set": b"set-Tarsier-5555",
    "attribute": b"attr-Narwhal-5556",
    "attribute-name": b"user.aname-Dugong-5557",
    "target": b"target-Okapi-5558",
    "excluded": b"excl-Quetzal-5559",
    "unreadable": b"unread-Fossa-5560",
    "vanished": b"vanish-Saola-5561",
    "rule": b"rule-Zorilla-5562",
}
SIZE = 7_123_457
"""Of one file: its digits, and what it is in the usual encodings, are searched too."""


def encodings(marker: bytes) -> Iterator[tuple[str, bytes]]:
    """The forms in which a marker could be lying about. Base64 at each of the three alignments."""
    yield "raw", marker
    yield "hex", marker.hex().encode()
    yield "HEX", marker.hex().upper().encode()
    yield "utf-16", marker.decode().encode("utf-16-le")
    yield "reversed", marker[::-1]
    for shift in range(3):
        padded = base64.b64encode(bytes(shift) + marker)
        # Without the symbols that also depend on what stands before and after.
        yield f"base64+{shift}", padded[4 if shift else 0 : len(padded) // 4 * 4 - 4]
        safe = base64.urlsafe_b64encode(bytes(shift) + marker)
        yield f"base64url+{shift}", safe[4 if shift else 0 : len(safe) // 4 * 4 - 4]


def sizes() -> Iterator[tuple[str, bytes]]:
    yield "digits", str(SIZE).encode()
    yield "hex", f"{SIZE:08x}".encode()
    # Four bytes alone occur in sealed megabytes by chance; MessagePack puts a fifth before them.
    yield "MessagePack", b"\xce" + SIZE.to_bytes(4)
    for shape in ("<Q", ">Q"):
        yield shape, struct.pack(shape, SIZE)


WANTED = [
    *((f"{name} ({form})", needle) for name, marker in MARKERS.items() for form, needle in encodings(marker)),
    *((f"size ({form})", needle) for form, needle in sizes()),
]


def unpacked(content: bytes) -> Iterator[bytes]:
    """The content, and whatever zstd, gzip or base64 makes of parts of it."""
    yield content
    at = content.find(b"\x28\xb5\x2f\xfd")
    while at >= 0:
        with contextlib.suppress(zstd.ZstdError):
            yield zstd.ZstdDecompressor().decompress(content[at:], max_length=32 << 20)
        at = content.find(b"\x28\xb5\x2f\xfd", at + 1)
    at = content.find(b"\x1f\x8b\x08")
    while at >= 0:
        with contextlib.suppress(zlib.error):
            yield zlib.decompressobj(31).decompress(content[at:], 32 << 20)
        at = content.find(b"\x1f\x8b\x08", at + 1)


def search(places: Iterable[tuple[str, bytes]]) -> list[str]:
    """Where which marker lies, in which form."""
    found = []
    for place, content in places:
        for form in unpacked(content):
            found += [f"{what} in {place}" for what, needle in WANTED if needle in form]
    return found


@dataclass
class Lived:
    """A server after a machine has done all it does, and what went over the wire."""

    served: Served
    wire: list[tuple[str, bytes]]
    failed: list[str]
    """Commands that should have worked. What they left behind is searched all the same."""

    def places(self) -> Iterator[tuple[str, bytes]]:
        yield from self.wire
        for path in sorted(self.served.data.rglob("*")):
            yield str(path.relative_to(self.served.data)) + " (path)", os.fsencode(path)
            if path.is_file():
                yield str(path.relative_to(self.served.data)), path.read_bytes()
        yield "log", self.served.log.read_bytes()


def text(name: str) -> str:
    return MARKERS[name].decode()


def make_source(root: Path) -> None:
    inner = root / text("directory")
    inner.mkdir(parents=True)
    (inner / text("name")).write_bytes(MARKERS["content"] * 50 + os.urandom(1000) + MARKERS["tail"])
    (inner / "link").symlink_to(text("target"))
    (inner / "sized").write_bytes(MARKERS["content"] + bytes(SIZE - len(MARKERS["content"])))
    (inner / "noise").write_bytes(os.urandom(300_000))  # a pack above the least size
    (root / text("excluded")).write_bytes(MARKERS["content"])
    with contextlib.suppress(OSError):
        os.setxattr(inner / text("name"), MARKERS["attribute-name"], MARKERS["attribute"])


def recorded(evil: Evil) -> list[tuple[str, bytes]]:
    """Both directions, headers and bodies; the JSON of bodies also with its base64 undone."""
    lines: list[tuple[str, bytes]] = []
    for number, one in enumerate(evil.log):
        place = f"request {number} ({one.route})"
        lines.append((place + " line", f"{one.method} {one.target} {one.headers}".encode()))
        lines.append((place + " body", one.body))
        lines.append((place + " reply", f"{one.reply_headers}".encode() + one.content))
        for body in (one.body, one.content):
            with contextlib.suppress(ValueError):
                lines += [(place + " value", value) for value in decoded(json.loads(body))]
    return lines


def decoded(value: object) -> Iterator[bytes]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield str(name).encode()
            yield from decoded(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from decoded(inner)
    elif isinstance(value, str):
        with contextlib.suppress(ValueError):
            yield base64.b64decode(value, validate=True)
    elif isinstance(value, int):
        yield str(value).encode()


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    base = tmp_path_factory.mktemp("canaries")
    source = base / "home"
    make_source(source)
    served = Served(base / "server").start()
    try:
        with Evil(served.url) as evil:
            failed = live(Machine(base / "machine"), source, served, evil, base)
            wire = recorded(evil)
        served.stop()
        yield Lived(served, wire, failed)
    finally:
        served.close()


def live(machine: Machine, source: Path, served: Served, evil: Evil, base: Path) -> list[str]:
    """All that a machine does: also what goes wrong, for errors are where things leak. Returns what failed
    and should not have.
    """
    failed: list[str] = []

    def works(who: Machine, *words: object, server: str = "") -> None:
        done = who.muniment(*words, server=server)
        if done.code != 0:
            failed.append(f"{words} ended with {done.code}: {done.said[-800:]}")

    url = evil.url
    kit = machine.join(url, served.create_account()).expect(0).result["recovery_kit"]
    works(machine, "backup", source, "--exclude", text("excluded"), "--exclude", text("rule"))
    named = ["--set", text("set")]
    works(machine, "backup", source, *named)
    inner = source / text("directory")
    (inner / text("vanished")).symlink_to("gone")
    (inner / text("unreadable")).write_bytes(MARKERS["content"])
    (inner / text("unreadable")).chmod(0)
    with (inner / text("name")).open("ab") as file:
        file.write(MARKERS["tail"])
    machine.muniment("backup", source, *named)
    machine.muniment("backup", source / text("vanished") / "nothing")
    works(machine, "snapshots")
    machine.muniment("ls", f"latest:{inner}", *named)
    machine.muniment("find", text("name"))
    works(machine, "restore", "latest", "--target", base / "all")
    works(machine, "restore", f"latest:{inner / text('name')}", "--target", base / "one")
    machine.muniment("restore", f"latest:/{text('vanished')}", "--target", base / "none")
    works(machine, "verify", "--read-data")
    machine.muniment("stats")
    machine.muniment("status")
    bare = Machine(base / "bare")
    works(bare, "--kit", kit, "restore", "latest", "--target", base / "bare-all", server=url)
    evil.usurp("commit", lambda exchange: exchange.refuse("internal", status=500))
    machine.muniment("backup", source, *named, MUNIMENT_PATIENCE="0")
    evil.usurp("put_pack", lambda exchange: exchange.refuse("vault_full", status=507, short_by=1))
    (inner / "more").write_bytes(os.urandom(500) + MARKERS["content"])
    machine.muniment("backup", source, *named, MUNIMENT_PATIENCE="0")
    return failed


@pytest.mark.clause("P7")
@pytest.mark.clause("P12", aspect="off")
def test_nothing_is_found(lived: Lived) -> None:
    places = list(lived.places())
    kinds = {place.split(" ")[0].split("/")[0] for place, _ in places}
    assert {"request", "objects", "muniment.sqlite3", "log"} <= kinds
    assert sum(len(content) for _, content in places) > 1 << 20
    assert {"packs", "heads", "sets", "slots"} <= {
        part for place, _ in places if place.startswith("objects/") for part in place.split("/")
    }
    assert search(places) == []


@pytest.mark.clause("P12", aspect="beyond")
def test_sizes_of_packs_tell_little(lived: Lived) -> None:
    """Only so many leading bits of a size are not zero that it tells a power of two or a twelfth of it."""
    stored = (lived.served.data / "objects").rglob("*")
    packs = [path for path in stored if path.is_file() and "packs" in path.parts]
    sizes = [path.stat().st_size for path in packs]
    assert len(sizes) > 2
    assert max(sizes) > 64 << 10
    assert all(size >= 64 << 10 for size in sizes)
    assert all(size & (size - 1) == 0 for size in sizes if size <= 4 << 20)
    assert all((size >> (size.bit_length() - 5)) << (size.bit_length() - 5) == size for size in sizes)


def test_routes_were_all_walked(lived: Lived) -> None:
    """The search means something only if what could leak was sent."""
    assert lived.failed == []
    walked = {place.partition("(")[2].partition(")")[0] for place, _ in lived.wire}
    needed = {"put_pack", "commit", "report_run", "put_slot", "put_slot_list", "get_pack", "open_session"}
    assert needed <= walked


@pytest.mark.parametrize("name", MARKERS)
def test_planted_canary_is_found(name: str, lived: Lived) -> None:
    """A harness that cannot fail proves nothing: each marker, leaked in each way, is seen."""
    marker = MARKERS[name]
    leaks = {
        "raw": b"{" + marker + b"}",
        "hex": b"x" + marker.hex().encode(),
        "utf-16": marker.decode().encode("utf-16-le"),
        "zstd": b"some header" + zstd.compress(b"before" + marker + b"after"),
        **{f"base64 at {shift}": base64.b64encode(b"p" * shift + marker + b"after") for shift in range(5)},
    }
    for way, content in leaks.items():
        assert any(found.startswith(name) for found in search([("leak", content)])), way


def test_leaky_request_is_found(lived: Lived, tmp_path: Path) -> None:
    """The same, through the machinery: a machine's name is not sealed, and so is seen everywhere."""
    served = Served(tmp_path / "server").start()
    try:
        with Evil(served.url) as evil:
            machine = Machine(tmp_path / "machine")
            machine.join(evil.url, served.create_account(), "--name", text("name")).expect(0)
            leaked = Lived(served, recorded(evil), [])
        served.stop()
        found = search(leaked.places())
    finally:
        served.close()
    assert any("in request" in one for one in found)
    assert any("muniment.sqlite3" in one for one in found)


def test_size_is_found_where_it_leaks() -> None:
    assert search([("leak", json.dumps({"length": SIZE}).encode())])
    assert search([("leak", struct.pack("<Q", SIZE))])
