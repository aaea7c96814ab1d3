"""What is backed up: trees made from a seed, or unpacked from a package everyone can get.

Every input lives in its own directory below the bench directory and is made once; a stamp beside it
names the recipe.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SEED = 20261122
LINUX = Path("/usr/src/linux-source-6.1.tar.xz")
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Input:
    """`one` is the file that "one file of many" restores, relative to the root; `rounds` caps the rounds."""

    name: str
    title: str
    make: Callable[[Path], None]
    one: str
    rounds: int = 99

    def prepare(self, inputs: Path) -> Path:
        """The tree, made if its stamp does not say it is there."""
        root, stamp = inputs / self.name, inputs / f"{self.name}.stamp"
        recipe = hashlib.sha256(f"{self.name} {SEED} 3 {self.one}".encode()).hexdigest()
        if not stamp.exists() or stamp.read_text(encoding="ascii") != recipe:
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir(parents=True)
            self.make(root)
            os.sync()
            stamp.write_text(recipe, encoding="ascii")
        return root


def unpack_linux(root: Path) -> None:
    if not LINUX.exists():
        raise SystemExit(f"{LINUX} is missing; on Debian: apt-get install linux-source-6.1")
    subprocess.run(["tar", "-C", root, "--strip-components=1", "-xJf", LINUX], check=True)


WORDS = tuple(
    "".join(random.Random(SEED + n).choices("aeiourstlnmdkpbgfvh", k=3 + n % 7)).encode() for n in range(4096)
)


def text(chance: random.Random, size: int) -> bytes:
    """`size` bytes of words: compresses about as prose does."""
    return b" ".join(chance.choices(WORDS, k=size // 5 + 2))[:size]


def small_files(root: Path, *, count: int, per_directory: int) -> None:
    """Files of 0–4 KiB of text, about 1 KiB in the mean, each different."""
    chance = random.Random(SEED)
    pool = text(chance, 8 * MIB)
    for start in range(0, count, per_directory):
        place = root
        if per_directory < count:
            place = root / f"{start // per_directory // 100:02d}" / f"{start // per_directory:04d}"
            place.mkdir(parents=True)
        directory = os.open(place, os.O_DIRECTORY)
        try:
            for number in range(start, min(start + per_directory, count)):
                size = min(int(chance.expovariate(1 / 1000)), 4096)
                offset = chance.randrange(len(pool) - size)
                fd = os.open(f"f{number:07d}.txt", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=directory)
                os.write(fd, b"%d\n" % number + pool[offset : offset + size])
                os.close(fd)
        finally:
            os.close(directory)


def large_files(root: Path, *, bytes_each: int) -> None:
    """Two files of random bytes, two like disk images: zeros, repeated blocks, text and noise of 64 KiB."""
    chance = random.Random(SEED)
    for number in range(2):
        with (root / f"random-{number}.bin").open("wb") as out:
            for _ in range(bytes_each // MIB):
                out.write(chance.randbytes(MIB))
    block = 64 * 1024
    library = [text(chance, block) for _ in range(256)]
    for number in range(2):
        with (root / f"image-{number}.raw").open("wb") as out:
            for _ in range(bytes_each // block):
                draw = chance.random()
                if draw < 0.3:
                    out.write(bytes(block))
                elif draw < 0.4:
                    out.write(chance.choice(library))
                elif draw < 0.75:
                    out.write(text(chance, block))
                else:
                    out.write(chance.randbytes(block))


def _smoke(root: Path) -> None:
    small_files(root, count=400, per_directory=40)


def _many(root: Path) -> None:
    small_files(root, count=1_000_000, per_directory=1_000)


def _flat(root: Path) -> None:
    small_files(root, count=1_000_000, per_directory=1_000_000)


def _large(root: Path) -> None:
    large_files(root, bytes_each=1 << 30)


SMOKE = Input("smoke", "400 small files", _smoke, "00/0005/f0000201.txt")
LINUX_TREE = Input("linux", "Linux 6.1 source tree", unpack_linux, "kernel/sched/core.c")
MANY = Input("many", "1 M small files in 1,000 directories", _many, "05/0500/f0500500.txt", rounds=1)
FLAT = Input("flat", "1 M small files in one directory", _flat, "f0500500.txt", rounds=1)
LARGE = Input("large", "4 GiB in four files, random and image-like", _large, "image-1.raw", rounds=2)

SCALES: dict[str, tuple[Input, ...]] = {
    "smoke": (SMOKE,),
    "standard": (LINUX_TREE,),
    "large": (LINUX_TREE, MANY, FLAT, LARGE),
}


def regular_files(root: Path) -> list[str]:
    """All regular files, sorted, so that the seed picks the same ones everywhere."""
    found = []
    for directory, directories, names in os.walk(root):
        directories.sort()
        found += [path for name in sorted(names) if not os.path.islink(path := os.path.join(directory, name))]
    return found


@contextmanager
def one_percent_changed(root: Path, *, round_number: int) -> Iterator[int]:
    """Within, one file in a hundred differs (or, of few large files, one byte range in a hundred).

    Yields the number of places written. Afterwards contents and times are what they were.
    """
    chance = random.Random(SEED + round_number)
    files = [path for path in regular_files(root) if os.path.getsize(path)]
    if len(files) >= 100:
        chosen = chance.sample(files, len(files) // 100)
        places = [(path, chance.randrange(os.path.getsize(path)), 64) for path in chosen]
    else:
        places = [
            (path, chance.randrange(os.path.getsize(path) - MIB), MIB)
            for path in files
            for _ in range(os.path.getsize(path) // MIB // 100)
        ]
    kept = [(path, at, *_overwrite(path, at, chance.randbytes(size))) for path, at, size in places]
    try:
        yield len(places)
    finally:
        for path, offset, before, status in reversed(kept):
            os.truncate(path, status.st_size)
            _overwrite(path, offset, before)
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _overwrite(path: str, offset: int, content: bytes) -> tuple[bytes, os.stat_result]:
    """Write `content` at `offset`; what was there before, and the file's status."""
    with open(path, "r+b") as file:
        status = os.fstat(file.fileno())
        file.seek(offset)
        before = file.read(len(content))
        file.seek(offset)
        file.write(content)
    return before, status


def warm(root: Path) -> None:
    """Read everything once, so that every tool finds the page cache equally warm."""
    for path in regular_files(root):
        with open(path, "rb", buffering=0) as file:
            while file.read(MIB):
                pass
