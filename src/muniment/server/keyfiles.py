"""Keys that a server makes once and keeps for life, as files in its data directory."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def create_once(path: Path, content: bytes) -> None:
    """Durable and complete, or not there: written beside, synced, linked; whoever is first wins."""
    # Not by the number of the process: in a container every one has the same, and finds what a kill left.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
    finally:
        temporary.unlink()
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
