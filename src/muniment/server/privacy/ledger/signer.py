"""The ledger's signing key: a file beside the server's identity, used for checkpoints and nothing else."""

from __future__ import annotations

import secrets
from functools import cache
from pathlib import Path

from muniment.server.keyfiles import create_once
from muniment.server.privacy.ledger.checkpoints import LogSigner


@cache
def signer_in(path: Path, *, region: str) -> LogSigner:
    """The key in the file, made when there is none; the name it was made under stays for life.

    The name says the region and is otherwise random: two deployments never sign under the same one.
    """
    if not path.exists():
        made = LogSigner.generate(f"muniment/{region}/{secrets.token_hex(8)}")
        create_once(path, f"{made.encode()}\n".encode())
    return LogSigner.parse(path.read_text(encoding="utf-8"))
