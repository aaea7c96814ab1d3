"""A sealed pack to look into: real bytes, as an operator holds them, beside what their owner sees.

The sample is made by `tests/golden/sealed_sample.py` with the code that seals, which the server lacks. It
ships with the release, passphrase included, so that anybody can check what the page says.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

ROW = 16
ROWS = 16
LABEL = 32
"""Bytes at the front that are not sealed: magic, version, kind, key epoch, the pack's own id."""
LONGEST_WORD = 100
_PRINTABLE = range(0x20, 0x7F)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a hex dump: `label` is the part that is not sealed."""

    offset: str
    label: str
    sealed: str
    text: str


@dataclass(frozen=True, slots=True)
class OwnersFile:
    path: str
    text: str

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def opening(self) -> str:
        """The first two paragraphs, each on one line."""
        return "\n\n".join(part.replace("\n", " ") for part in self.text.split("\n\n")[:2])

    @property
    def size(self) -> int:
        return len(self.text.encode())


@dataclass(frozen=True, slots=True)
class Found:
    """How often `word` occurs, in either case, in the owner's files and in the pack."""

    word: str
    in_files: int
    in_pack: int


@dataclass(frozen=True, slots=True)
class Sample:
    """`pack` is what the operator holds; `files` is what the owner sees."""

    pack: bytes
    pack_id: str
    passphrase: str
    files: tuple[OwnersFile, ...]

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.pack).hexdigest()

    @property
    def last_offset(self) -> int:
        return len(self.pack) - ROW * ROWS

    def rows(self, *, at: int) -> Iterator[Row]:
        """Sixteen lines from the one that holds byte `at`, or the last sixteen."""
        first = max(0, min(at, self.last_offset)) // ROW * ROW
        for offset in range(first, first + ROW * ROWS, ROW):
            line = self.pack[offset : offset + ROW]
            shown = line.hex(" ")
            text = "".join(chr(byte) if byte in _PRINTABLE else "·" for byte in line)
            is_label = offset < LABEL
            yield Row(f"{offset:05x}", shown if is_label else "", "" if is_label else shown, text)

    def look_for(self, word: str) -> Found:
        """Count `word`, its first hundred characters, in the clear and in the sealed bytes."""
        wanted = word.strip()[:LONGEST_WORD].encode().lower()
        if not wanted:
            return Found("", 0, 0)
        clear = "\n".join(f"{file.path}\n{file.text}" for file in self.files).encode().lower()
        return Found(wanted.decode(errors="ignore"), clear.count(wanted), self.pack.lower().count(wanted))

    def byte_counts(self) -> tuple[int, int]:
        """How often the rarest and the commonest byte value occur after the label."""
        counts = Counter(self.pack[LABEL:])
        return min(counts[value] for value in range(256)), max(counts.values())


@cache
def sample() -> Sample:
    """The one that ships with this release."""
    owner: Mapping[str, object] = json.loads(_resource("owner.json"))
    texts = owner["files"]
    assert isinstance(texts, dict)
    return Sample(
        pack=_resource("pack.bin"),
        pack_id=str(owner["pack"]),
        passphrase=str(owner["passphrase"]),
        files=tuple(OwnersFile(path, text) for path, text in texts.items()),
    )


@cache
def sample_archive() -> bytes:
    """The whole sealed vault with a program that opens it, as a ZIP."""
    return _resource("sealed-sample.zip")


def _resource(name: str) -> bytes:
    return files("muniment.server.site").joinpath("sample", name).read_bytes()
