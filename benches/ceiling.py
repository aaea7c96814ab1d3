"""What this machine could do at best with large files: the same bytes, every step once, nothing else.

Chunk, name, seal, SHA-256 as the sender, SHA-256 as the receiver, synced write of 16 MiB objects; no
compression, no index, no HTTP, no database. Two workers, as there are two cores. Uses the same libraries
as the engine and none of its code.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pyfastcdc import FastCDC

MIB = 1 << 20
PACK = 16 * MIB


def _windows(files: list[Path]) -> Iterator[tuple[Path, int]]:
    for path in files:
        for offset in range(0, path.stat().st_size, PACK):
            yield path, offset


def _store(path: Path, offset: int, target: Path) -> int:
    """Carry one 16 MiB window of `path` all the way to the disk; its length."""
    buffer = bytearray(PACK)
    with open(path, "rb", buffering=0) as file:
        file.seek(offset)
        length = file.readinto(buffer) or 0
    chunker = FastCDC(avg_size=MIB, min_size=MIB // 4, max_size=4 * MIB, seed=1)
    cipher, key = AESGCM(bytes(32)), bytes(32)
    sealed = []
    for number, chunk in enumerate(chunker.cut_buf(memoryview(buffer)[:length])):
        blake3.blake3(chunk.data, key=key).digest(length=16)
        sealed.append(cipher.encrypt(number.to_bytes(12), chunk.data, None))
    pack = b"".join(sealed)
    sent, received = hashlib.sha256(pack).digest(), hashlib.sha256(pack).digest()
    assert sent == received
    descriptor = os.open(target / f"{path.name}-{offset}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, pack)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return length


def ceiling_seconds(files: list[Path], *, target: Path) -> float:
    """Seconds for all of `files`."""
    target.mkdir(parents=True)
    started = time.perf_counter()
    with ThreadPoolExecutor(2) as workers:
        windows = [workers.submit(_store, path, offset, target) for path, offset in _windows(files)]
        carried = sum(window.result() for window in windows)
    seconds = time.perf_counter() - started
    assert carried == sum(path.stat().st_size for path in files)
    return seconds
