"""What program this is: one hash over its files, which the committed proof names.

Known without git, and the same for an installed package. It says that somebody changed the program since it
was proven, a later release or whoever runs this server; who would hide that can change this file, too.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path

_APART = "proof.json"
"""Written last, about all the others."""


@cache
def program_digest() -> str:
    """SHA-256 over names and contents of all that is installed; read once in a process."""
    return digest_of(Path(str(files("muniment"))))


def digest_of(root: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.name == _APART or "__pycache__" in path.parts or not path.is_file():
            continue
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        found.update(f"{content} {path.relative_to(root).as_posix()}\n".encode())
    return found.hexdigest()
