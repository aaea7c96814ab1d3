"""Sealing, opening, hashing and compressing leave the interpreter to others while they work.

The pipeline's speed on several cores rests on it, and a library can lose it with an upgrade (cryptography
before 50 held the lock in AES-GCM). Asserted without measuring time: with a switch interval far longer than
the call, a Python thread can only count on while another is inside the call if that call let go of the lock.
"""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from muniment.crypto.digests import chunk_id
from muniment.crypto.keys import VaultKeys
from muniment.format.block import Compressor, _decompress
from muniment.model.ids import PackId, VaultId

KEYS = VaultKeys(VaultId(b"v" * 16), {0: b"\1" * 32})
TEXT = b"".join(b"line %d of a file that compresses\n" % number for number in range(40_000))[: 1 << 20]
LARGE = TEXT * 8
# The very object that seals packs; each call below is one single step into a library, because every step
# that lets go of the lock (os.urandom does) would speak for the others.
AEAD = KEYS.pack_keys(PackId(b"p" * 16), epoch=0)._aead
NONCE = bytes(12)
SEALED = AEAD.encrypt(NONCE, LARGE, b"")
OUT = bytearray(len(SEALED))
COMPRESSOR = Compressor()
COMPRESSED = memoryview(bytes(COMPRESSOR.encode([TEXT * 4])))[1:]


def hold_the_lock() -> None:
    """The control: as long a call as the others, which keeps the lock throughout."""
    sum(range(3_000_000))


CALLS: dict[str, Callable[[], object]] = {
    "seal": lambda: AEAD.encrypt(NONCE, LARGE, b""),
    "seal into a buffer": lambda: AEAD.encrypt_into(NONCE, LARGE, b"", OUT),
    "open": lambda: AEAD.decrypt(NONCE, SEALED, b""),
    "name a chunk": lambda: chunk_id(KEYS, LARGE),
    "hash a pack": lambda: hashlib.sha256(LARGE),
    "compress": lambda: COMPRESSOR._compress(TEXT * 4, 4 * len(TEXT)),
    "decompress": lambda: _decompress(COMPRESSED, 4 << 20),
}


@pytest.fixture(autouse=True)
def _no_forced_switches() -> Iterator[None]:
    """The lock changes hands only when a thread lets go of it by itself."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(60)
    yield
    sys.setswitchinterval(before)


def counted_during(call: Callable[[], object]) -> int:
    """How far another thread counts while this one is inside `call`."""
    counted = 0
    go, stop = threading.Event(), threading.Event()

    def count() -> None:
        nonlocal counted
        go.wait()
        while not stop.is_set():
            counted += 1
            # Lets the caller back in as soon as its call is done, instead of after the switch interval.
            stop.wait(0)
            threading.Event().wait(0.00005)

    thread = threading.Thread(target=count)
    thread.start()
    # Setting the event makes the other runnable, but it cannot run before this thread lets go of the lock.
    go.set()
    before = counted
    call()
    during = counted - before
    stop.set()
    thread.join()
    return during


@pytest.mark.parametrize("name", CALLS)
def test_another_thread_runs_during(name: str) -> None:
    # A busy machine may wake the other thread too late for a call of a millisecond: tried until it was not.
    assert any(counted_during(CALLS[name]) for _ in range(500))


def test_control_that_keeps_the_lock_is_told_apart() -> None:
    assert not any(counted_during(hold_the_lock) for _ in range(20))
