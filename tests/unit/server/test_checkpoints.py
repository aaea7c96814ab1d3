"""Signed checkpoints: a published key and note of others, our own, and every byte of one altered."""

from __future__ import annotations

import pytest

from muniment.server.privacy.ledger.checkpoints import BadCheckpoint, LogKey, LogSigner
from muniment.server.privacy.ledger.merkle import leaf_hash

# Go's checksum database: its published key, and a tree head that it signed.
GO_KEY = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"


def test_a_published_key_parses() -> None:
    key = LogKey.parse(GO_KEY)
    assert key.name == "sum.golang.org"
    assert str(key) == GO_KEY


def test_a_checkpoint_opens_with_the_key_that_signed_it() -> None:
    signer = LogSigner.generate("example.org/log")
    note = signer.sign(size=7, root=leaf_hash(b"x"))
    checkpoint = LogKey.parse(str(signer.key)).open(note)
    assert (checkpoint.origin, checkpoint.size, checkpoint.root) == ("example.org/log", 7, leaf_hash(b"x"))
    assert LogSigner.parse(signer.encode()).sign(size=7, root=leaf_hash(b"x")) == note


def test_another_key_of_the_same_name_opens_nothing() -> None:
    note = LogSigner.generate("example.org/log").sign(size=7, root=leaf_hash(b"x"))
    with pytest.raises(BadCheckpoint):
        LogSigner.generate("example.org/log").key.open(note)


def test_no_altered_byte_opens() -> None:
    signer = LogSigner.generate("log")
    note = signer.sign(size=7, root=leaf_hash(b"x")).encode()
    for at in range(len(note)):
        for flip in (1, 32):
            altered = note[:at] + bytes([note[at] ^ flip]) + note[at + 1 :]
            with pytest.raises(BadCheckpoint):
                signer.key.open(altered.decode(errors="replace"))


def test_other_signers_lines_are_passed_over() -> None:
    signer = LogSigner.generate("log")
    note = signer.sign(size=1, root=leaf_hash(b""))
    other = LogSigner.generate("witness").sign(size=1, root=leaf_hash(b"")).splitlines()[-1]
    assert signer.key.open(f"{note}{other}\n").size == 1


def test_nothing_signs_under_a_name_with_spaces() -> None:
    with pytest.raises(ValueError):
        LogSigner.generate("a log")
