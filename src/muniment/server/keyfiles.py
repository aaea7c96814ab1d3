"""Small files in the data directory that are whole or not there: keys made once and kept for life, and what
takes the place of the one before.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path


def create_once(path: Path, content: bytes) -> None:
    """Durable and complete, or not there: written beside, synced, linked; whoever is first wins."""

    def link(temporary: Path) -> None:
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)

    _put(path, content, link)


def put_whole(path: Path, content: bytes) -> None:
    """Durable and complete in the place of what was there, which stays whole until then."""
    _put(path, content, lambda temporary: temporary.replace(path))


def _put(path: Path, content: bytes, move: Callable[[Path], object]) -> None:
    # Not by the number of the process: in a container every one has the same, and finds what a kill left.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        move(temporary)
    finally:
        temporary.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def site_secret(data: Path) -> str:
    """What signs sessions and links, and seals second factors. Kept in `data`; where that is not there yet,
    nothing can be signed that would have to last, and any secret will do.
    """
    if not data.is_dir():
        return secrets.token_urlsafe(48)
    path = data / "site.key"
    if not path.exists():
        create_once(path, secrets.token_urlsafe(48).encode())
    return path.read_text(encoding="ascii")
