"""`muniment-ledger-verify`: checks, without any server, what the ledger gave to people and onlookers.

    muniment-ledger-verify [--key KEY] FILE…

A FILE is a bundle or a receipt (JSON), an export (`/ledger/entries`, pages put one behind the other), a proof
that the ledger was only continued (`/ledger/proof?since=…`), or a checkpoint (`/ledger/checkpoint`). All that
are given have to be of one log and to fit each other. Exits with 0 when everything is proven, 1 when
something is not, 2 when a file cannot be read.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from muniment.server.privacy.ledger.checkpoints import BadCheckpoint, LogKey
from muniment.server.privacy.ledger.verification import (
    EXPORT,
    NotProven,
    key_in,
    verify_checkpoint,
    verify_document,
    verify_export,
)

_PROVEN, _NOT_PROVEN, _UNREADABLE = 0, 1, 2


@dataclass
class Given:
    """The files by what they are."""

    notes: dict[Path, str] = field(default_factory=dict)
    documents: dict[Path, Any] = field(default_factory=dict)
    exports: list[Path] = field(default_factory=list)

    @classmethod
    def read(cls, paths: Sequence[Path]) -> Given:
        """OSError and ValueError where a file cannot be read."""
        given = cls()
        for path in paths:
            with path.open("rb") as file:
                first = file.readline()
                if not first.startswith(b"{"):
                    given.notes[path] = (first + file.read()).decode()
                elif EXPORT.encode() in first:
                    given.exports.append(path)
                else:
                    given.documents[path] = json.loads(first + file.read())
        return given

    def key(self, named: str | None) -> LogKey:
        """The key that was named, or else the one that the first file brings. Raises NotProven."""
        if named is not None:
            return LogKey.parse(named)
        for document in self.documents.values():
            return key_in(document)
        for path in self.exports:
            with path.open("rb") as file:
                return key_in(json.loads(file.readline()))
        raise NotProven("checkpoints alone do not say whose they are: name the log's key with --key")

    def verdicts(self, key: LogKey) -> Iterator[tuple[Path, str]]:
        """What holds, file by file. Raises NotProven at the first that does not."""
        notes = list(self.notes.values())
        for path, note in self.notes.items():
            checkpoint = verify_checkpoint(note, key=key)
            yield path, f"{checkpoint.size} entries, signed by {key.name}"
        for path, document in self.documents.items():
            for verdict in verify_document(document, checkpoints=notes, key=key):
                yield path, verdict
        for path in self.exports:
            with path.open("rb") as file:
                yield path, verify_export(file, checkpoints=notes, key=key)


def run(arguments: Sequence[str] | None = None) -> None:
    """The program."""
    parser = argparse.ArgumentParser(
        prog="muniment-ledger-verify",
        description="Check, without any server, what the ledger gave you.",
        epilog="Without --key the key comes from the files: then they fit each other, whoever signed them.",
    )
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path)
    parser.add_argument("--key", help="the log's public key, as published at /ledger/key")
    options = parser.parse_args(arguments)
    try:
        given = Given.read(options.files)
        key = given.key(options.key)
        for path, verdict in given.verdicts(key):
            print(f"{path}: {verdict}")
    except (NotProven, BadCheckpoint) as error:
        print(f"NOT PROVEN: {error}", file=sys.stderr)
        raise SystemExit(_NOT_PROVEN) from None
    except (OSError, ValueError) as error:
        print(f"cannot be read: {error}", file=sys.stderr)
        raise SystemExit(_UNREADABLE) from None
    print(
        f"Proven. Key: {key}{'' if options.key else ' (as the files say; compare it with the published one)'}"
    )
    raise SystemExit(_PROVEN)


if __name__ == "__main__":
    run()
